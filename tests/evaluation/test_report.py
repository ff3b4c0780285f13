"""The whole report: what it says, what it leaves out, how large it gets."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fovea.core.findings import Finding
from fovea.core.html import render
from fovea.core.recipe_io import build_recipe
from fovea.core.report import Gallery, Report, Table
from fovea.core.run import Run
from fovea.data.manifest import Manifest
from fovea.evaluation.report import build_report
from fovea.metrics.classification import summarise
from fovea.metrics.multilabel import summarise_multilabel

CLASSES = ("apple", "<script>", "=pear")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    recipe = build_recipe({"data": {"source": "my photos"}, "model": {"name": "resnet18"}, "train": {"budget_s": 600}})
    run = Run.create(tmp_path / "run", recipe)
    run.write("plan.json", {
        "choices": [{"what": "no <mixup>", "why": "few images"}],
        "rungs": [{"name": "head", "elapsed_s": 12.5, "val_accuracy": 0.7, "detail": {"not": "shown"}}],
    })  # fmt: skip
    run.write_summary([
        {"epoch": 1, "rung": "head", "train_loss": 2.0, "val_loss": 2.1, "val_accuracy": 0.5, "lr": 0.1, "seconds": 3},
        {"epoch": 2, "rung": "head", "train_loss": 1.0, "val_loss": 1.4, "val_accuracy": 0.7, "lr": 0.01, "seconds": 6},
    ])  # fmt: skip
    return run


def manifest_of(photos: list[Path], *, multilabel: bool = False) -> Manifest:
    targets = [[index % 3] if multilabel else index % 3 for index in range(len(photos))]
    table = pl.DataFrame(
        {
            "path": [path.name for path in photos],
            "target": targets,
            "split": ["val"] * len(photos),
            "excluded": [None] * (len(photos) - 2) + ["truncated or damaged", "empty (0 bytes)"],
        }
    )
    finding = Finding(severity="warning", code="few", message="only <few> images", fix="add some")
    return Manifest(
        table, CLASSES, root=photos[0].parent, multilabel=multilabel, findings=(finding,), source="my photos"
    )


@pytest.fixture
def report(run: Run, photos: list[Path]) -> Report:
    manifest = manifest_of(photos)
    rows = manifest.usable("val")
    targets = manifest.targets(rows)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), len(targets))
    metrics = summarise(probabilities, targets, classes=CLASSES, seed=0) | {"split": "val"}
    metrics["unreadable"] = [{"path": "late.jpg", "error": "vanished since"}]
    run.event("started", environment={"python": "3.99", "system": "an old machine"})
    return build_report(
        run=run,
        manifest=manifest,
        metrics=metrics,
        probabilities=probabilities,
        targets=targets,
        paths=manifest.paths(rows),
    )


def titles(report: Report) -> list[str]:
    return [section.title for section in report.sections]


def tables(report: Report) -> list[Table]:
    return [block for section in report.sections for block in section.blocks if isinstance(block, Table)]


def test_it_has_every_section_and_says_what_was_judged(report: Report) -> None:
    expected = ["Result", "Mistakes", "Classes", "Confidence", "Training", "Data", "How to repeat it"]
    assert titles(report) == expected
    assert report.title == "my photos"
    assert report.subtitle == "3 classes, resnet18, judged on 35 images of the validation split"


def test_the_page_tells_findings_choices_left_out_files_versions_and_the_way_to_repeat(report: Report) -> None:
    page = render(report)
    for words in (
        "only &lt;few&gt; images",
        "no &lt;mixup&gt;",
        "truncated or damaged",
        "vanished since",
        "Left out: 3 files",
        "an old machine",
        "bild 36 ü.png",
        "Training watched these images",
        "fovea train &#39;my photos&#39; --recipe",
        "budget_s: 600.0",
        "python 3.99",
        "Elapsed (s)",
        "95 % interval",
    ):
        assert words in page, words
    assert "not&#39;: &#39;shown" not in page
    assert "<script>" not in page.replace('<script>"use strict"', "").replace("<script>&#34;use", "")


def test_mistakes_are_shown_as_pictures_of_the_photos(report: Report) -> None:
    galleries = [block for section in report.sections for block in section.blocks if isinstance(block, Gallery)]
    assert any("taken for" in gallery.title for gallery in galleries)
    assert galleries[-1].title == "Surest mistakes"
    assert all(picture.image[:2] == b"\xff\xd8" for gallery in galleries for picture in gallery.items)


def test_the_table_of_classes_sorts_and_starts_with_the_worst(report: Report) -> None:
    (table,) = [table for table in tables(report) if table.columns[0].name == "Class"]
    recalls = [row[2] for row in table.rows]
    assert table.sortable
    assert recalls == sorted(recalls)  # type: ignore[type-var]


def test_a_bare_run_and_perfect_predictions_leave_sections_out(tmp_path: Path, photos: list[Path]) -> None:
    run = Run.create(tmp_path / "bare", build_recipe({}))
    manifest = Manifest(
        pl.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "target": [0, 1, 2]}), CLASSES, root=tmp_path
    )
    targets, probabilities = np.arange(3), np.eye(3)
    metrics = summarise(probabilities, targets, classes=CLASSES, seed=0)
    report = build_report(
        run=run, manifest=manifest, metrics=metrics, probabilities=probabilities, targets=targets, paths=[]
    )
    assert titles(report) == ["Result", "Classes", "Confidence", "Data", "How to repeat it"]
    assert "Reading the data brought nothing to light" in render(report)


def test_photos_that_vanished_since_are_left_out(run: Run, photos: list[Path]) -> None:
    manifest = manifest_of(photos)
    rows = manifest.usable("val")
    targets = manifest.targets(rows)
    probabilities = np.eye(3)[(targets + 1) % 3]
    metrics = summarise(probabilities, targets, classes=CLASSES, seed=0)
    for path in photos:
        path.unlink()
    report = build_report(
        run=run,
        manifest=manifest,
        metrics=metrics,
        probabilities=probabilities,
        targets=targets,
        paths=manifest.paths(rows),
    )
    assert "<img" not in render(report)


def test_two_classes_are_drawn_by_the_positive_one(run: Run, photos: list[Path]) -> None:
    table = pl.DataFrame({"path": [path.name for path in photos], "target": [i % 2 for i in range(37)]})
    manifest = Manifest(table, ("no", "yes"), root=photos[0].parent)
    targets = manifest.targets()
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), 37)
    metrics = summarise(probabilities, targets, classes=manifest.classes, seed=0)
    report = build_report(
        run=run, manifest=manifest, metrics=metrics, probabilities=probabilities, targets=targets, paths=photos
    )
    page = render(report)
    assert re.search(r">yes \(0\.\d{3}\)</text>", page)
    assert "Among the top 5" not in page


def test_several_labels_an_image(run: Run, photos: list[Path]) -> None:
    manifest = manifest_of(photos, multilabel=True)
    rows = manifest.usable("val")
    targets = manifest.targets(rows)
    probabilities = np.random.default_rng(0).random(targets.shape)
    metrics = summarise_multilabel(probabilities, targets, classes=CLASSES, seed=0)
    report = build_report(
        run=run,
        manifest=manifest,
        metrics=metrics,
        probabilities=probabilities,
        targets=targets,
        paths=manifest.paths(rows),
    )
    page = render(report)
    assert "All labels right" in page
    assert "Surest mistakes" in page
    assert "Confusion matrix" not in page


def test_arrays_of_different_lengths_are_refused(run: Run, photos: list[Path]) -> None:
    with pytest.raises(ValueError, match="2 paths, 3 probabilities and 3 targets"):
        build_report(
            run=run,
            manifest=manifest_of(photos),
            metrics={},
            probabilities=np.eye(3),
            targets=np.arange(3),
            paths=photos[:2],
        )


def test_a_report_on_real_photos_stays_below_three_megabytes(shared: Path, run: Run) -> None:
    root = shared / "data/grocery"
    lines = [line.split(",") for line in (root / "val.txt").read_text().splitlines()]
    table = pl.DataFrame(
        {"path": [line[0].strip() for line in lines], "target": [int(line[1]) for line in lines], "split": "val"}
    )
    manifest = Manifest(table, tuple(f"class {index}" for index in range(81)), root=root)
    targets = manifest.targets()
    scores = np.random.default_rng(0).normal(size=(len(targets), 81)) + 3 * np.eye(81)[targets]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    metrics = summarise(probabilities, targets, classes=manifest.classes, seed=0)
    report = build_report(
        run=run,
        manifest=manifest,
        metrics=metrics,
        probabilities=probabilities,
        targets=targets,
        paths=manifest.paths(),
    )
    page = render(report)
    assert page.count("data:image/jpeg") > 30
    assert len(page.encode()) < 3_000_000
