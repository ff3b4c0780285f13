"""A training audits its data first, and lets no split part what the audit found to belong together."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import polars as pl
import pytest
from PIL import ImageOps

from fovea.data.manifest import Manifest
from fovea.workflows import auditing, training

from .conftest import recipe as quick_recipe
from .pictures import Told, clouds, put


def bursts(root: Path) -> Path:
    """Twelve scenes, each photographed three times over, in two classes and no splits."""
    for number in range(12):
        shot = clouds(number)
        folder = root / ("cat" if number % 2 else "dog")
        put(folder / f"{number} a.jpg", shot)
        put(folder / f"{number} b.jpg", shot.crop((4, 3, 92, 77)))
        put(folder / f"{number} c.jpg", ImageOps.mirror(shot), quality=50)
    return root


def sides_of_scenes(manifest: Manifest) -> list[set[str]]:
    """The splits that the three photos of each scene are in."""
    rows = manifest.usable().with_columns(scene=pl.col("path").str.extract(r"(\d+) ."))
    return [set(part["split"]) for _, part in rows.group_by("scene")]


HEAD = ("model.from_scratch=true", "train.epochs=1", "data.input_size=32", "data.resize=squash")


def test_training_parts_no_scene_and_tells_what_its_audit_found(tmp_path: Path) -> None:
    data, console = bursts(tmp_path / "bursts"), Told()
    run = training.train(
        data, recipe=quick_recipe(*HEAD, "data.val_fraction=0.3"), out=tmp_path / "run", console=console
    )
    sides = sides_of_scenes(Manifest.load(run.manifest_path))
    assert len(sides) == 12 and all(len(side) == 1 for side in sides)
    assert {"train"} in sides and {"val"} in sides
    told = {finding["code"]: finding for finding in json.loads((run.folder / "findings.json").read_text())}
    assert len(told["duplicate-near"]["groups"]) == 12
    assert "split-leakage" not in told
    report = run.report_path.read_text(encoding="utf-8")
    assert "show the same picture as another" in report
    (said,) = [text for text in console.said if text.startswith("audit: ")]
    assert f"fovea audit {shlex.quote(str(data))} shows them" in said


def test_a_training_without_an_audit_looks_for_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "group", lambda *args, **options: pytest.fail("copies were looked for"))
    settings = quick_recipe(*HEAD, "data.audit=false", "data.val_fraction=0.3")
    run = training.train(bursts(tmp_path / "bursts"), recipe=settings, out=tmp_path / "run")
    told = [finding["code"] for finding in json.loads((run.folder / "findings.json").read_text())]
    assert "duplicate-near" not in told
    assert any(len(side) > 1 for side in sides_of_scenes(Manifest.load(run.manifest_path)))
