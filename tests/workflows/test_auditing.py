"""The audit, whole: planted faults are found, the data is left alone, and a second run reads only what is new."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import pytest
from PIL import Image

import fovea
from fovea.core.errors import DataError, FoveaError, ModelError, RecipeError
from fovea.core.findings import Finding
from fovea.core.recipe import Recipe
from fovea.core.recipe_io import build_recipe
from fovea.models import hub
from fovea.workflows import features
from fovea.workflows.auditing import Audit, audit

from .pictures import Told, clouds, plant, put

PLAIN = build_recipe(overrides=["model.weights=plain", "train.threads=1"])


@pytest.fixture
def found(planted: Path) -> Audit:
    return audit(planted, recipe=PLAIN)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setattr(hub, "_cached_file", lambda hub_id, name: None)


def of_code(findings: object, code: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.code == code]  # type: ignore[attr-defined]
    return finding


def codes(found: Audit) -> set[str]:
    return {finding.code for finding in found.findings}


def state(root: Path) -> dict[str, tuple[str, int, int]]:
    """Everything below a folder: digest, mode and modification time of each file and folder."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder",
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in [root, *root.rglob("*")]
    }


# --- what is found ---------------------------------------------------------------------------------------------------


def test_every_planted_fault_is_found_where_it_was_planted(found: Audit) -> None:
    train = "train/cat"
    assert set(of_code(found.findings, "unreadable").files) == {f"{train}/cut.jpg", f"{train}/empty.jpg"}
    assert of_code(found.findings, "wrong-extension").files == (f"{train}/renamed.jpg",)
    assert of_code(found.findings, "low-information").files == ("train/Löwe & co/blank.png",)
    assert of_code(found.findings, "duplicate-exact").groups == ((f"{train}/bild 0.jpg", f"{train}/exact.jpg"),)
    across, conflict = (
        (f"{train}/bild 1.jpg", "val/cat/near ü.jpg"),
        ("train/Löwe & co/conflict.jpg", f"{train}/bild 2.jpg"),
    )
    assert {frozenset(group) for group in of_code(found.findings, "duplicate-near").groups} == {
        frozenset(across),
        frozenset(conflict),
    }
    leak = of_code(found.findings, "split-leakage")
    assert (leak.severity, leak.groups, leak.evidence["leaked"]) == ("warning", (across,), {"val": 1})
    assert of_code(found.findings, "label-conflict").groups == (conflict,)
    severities = [finding.severity for finding in found.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)  # worst first
    assert len(found.subject) == 41


def test_the_python_door_is_the_same_function() -> None:
    assert fovea.audit is audit


def test_as_dict_tells_how_it_was_found(found: Audit) -> None:
    told = found.as_dict()
    assert (told["images"], told["left_out"], told["classes"]) == (41, 2, 2)
    assert told["features_from"] == "colour, layout and edges, without a network"
    assert told["page"] is None and told["proposal"] is None and told["elapsed_s"] > 0
    for finding in told["findings"]:
        assert finding.keys() - {"groups"} == {"severity", "code", "message", "fix", "evidence", "files"}
        assert finding["message"] and finding["fix"]


def test_the_fast_form_judges_no_labels(planted: Path) -> None:
    console = Told()
    found = audit(planted, recipe=PLAIN, fast=True, console=console)
    assert found.subject.features is None and found.as_dict()["features_from"] is None
    assert not codes(found) & {"label-suspect", "outlier"}
    assert {"duplicate-near", "split-leakage", "unreadable"} <= codes(found)
    assert "judging labels" not in console.steps and "checking" in console.steps


def test_a_shortcut_in_the_sizes_is_an_error(tmp_path: Path) -> None:
    for number in range(40):
        put(tmp_path / "data" / "boat" / f"{number}.jpg", clouds(number, width=96, height=80))
        put(tmp_path / "data" / "fish" / f"{number}.jpg", clouds(100 + number, width=80, height=80))
    shortcut = of_code(audit(tmp_path / "data", fast=True).findings, "metadata-shortcut")
    assert shortcut.severity == "error"
    assert "96×80" in shortcut.message or "width" in shortcut.message


def test_a_leak_of_many_images_is_an_error(tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path / "train" / "ab"[number % 2] / f"{number}.jpg", clouds(number))
        put(
            tmp_path / "val" / "ab"[number % 2] / f"v{number}.jpg",
            clouds(number if number < 5 else 50 + number),
            quality=40,
        )
    leak = of_code(audit(tmp_path, fast=True).findings, "split-leakage")
    assert leak.severity == "error" and leak.evidence["leaked"] == {"val": 5}


def test_the_same_data_gives_the_same_findings(planted: Path) -> None:
    first, again = (audit(planted, recipe=PLAIN).as_dict()["findings"] for _ in range(2))
    assert first == again


# --- odd data --------------------------------------------------------------------------------------------------------


def test_one_class_and_one_image_are_audited_too(tmp_path: Path) -> None:
    put(tmp_path / "one class" / "cat" / "a.jpg", clouds(0))
    found = audit(tmp_path / "one class", recipe=PLAIN)
    assert len(found.subject) == 1
    assert not [finding for finding in found.findings if finding.severity == "error"]
    for number in range(1, 9):
        put(tmp_path / "one class" / "cat" / f"{number}.jpg", clouds(number))
    assert not [f for f in audit(tmp_path / "one class", recipe=PLAIN).findings if f.severity == "error"]


@pytest.mark.parametrize(("name", "message"), [("nothing", "there is nothing at"), ("empty", "no images in")])
def test_where_there_is_nothing_to_audit_it_says_so(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        audit(tmp_path / name)


def test_a_table_with_several_labels_an_image(tmp_path: Path) -> None:
    labels = ["sun|sea", "sea", "sun", "sun|snow", "snow"]
    lines = ["path,label,split"]
    for number in range(40):
        put(tmp_path / "images" / f"bild {number}.jpg", clouds(number))
        lines.append(f"images/bild {number}.jpg,{labels[number % 5]},{'val' if number % 4 == 0 else 'train'}")
    put(tmp_path / "images" / "copy.jpg", clouds(1), quality=50)
    lines.append("images/copy.jpg,snow,val")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    found = audit(tmp_path / "labels.csv", recipe=PLAIN)
    pair = ("images/bild 1.jpg", "images/copy.jpg")
    assert found.subject.manifest.multilabel
    assert of_code(found.findings, "split-leakage").groups == (pair,)
    assert of_code(found.findings, "label-conflict").groups == (pair,)


def test_list_files_as_of_caffe(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("val", 20)):
        names = [f"img/{first + number}.jpg" for number in range(10)]
        for name in names:
            put(tmp_path / name, clouds(int(Path(name).stem)))
        (tmp_path / f"{split}.txt").write_text("".join(f"{name} {place % 2}\n" for place, name in enumerate(names)))
    put(tmp_path / "img" / "20.jpg", clouds(0), quality=50)
    found = audit(tmp_path, fast=True)
    assert of_code(found.findings, "split-leakage").groups == (("img/0.jpg", "img/20.jpg"),)


def test_paths_start_from_the_folder_that_was_named_also_where_it_holds_another(tmp_path: Path) -> None:
    data = plant(tmp_path / "download" / "pictures", train=4, val=2)
    told = audit(data.parent, recipe=PLAIN).as_dict()
    named = [path for finding in told["findings"] for path in finding["files"]]
    named += [path for finding in told["findings"] for group in finding.get("groups", ()) for path in group]
    named += [
        record["path"]
        for finding in told["findings"]
        for records in finding["evidence"].values()
        if isinstance(records, (list, tuple))
        for record in records
        if isinstance(record, dict) and "path" in record
    ]
    assert len(named) > 5
    assert [path for path in named if not (data.parent / path).is_file()] == []


# --- what is written, and what is not --------------------------------------------------------------------------------


def test_nothing_in_the_data_is_changed(planted: Path, tmp_path: Path) -> None:
    before = state(planted)
    audit(planted, recipe=PLAIN, out=tmp_path / "out", write_clean=tmp_path / "clean.csv", augment=True)
    assert state(planted) == before


def test_read_only_data_is_no_hindrance(tmp_path: Path) -> None:
    data = plant(tmp_path / "data", train=3, val=2)
    folders = [data, *(path for path in data.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        before = state(data)
        assert "duplicate-near" in codes(audit(data, recipe=PLAIN))
        assert state(data) == before
    finally:
        for path in folders:
            path.chmod(0o755)


def test_the_page_the_json_and_the_view_of_a_network_are_written(planted: Path, tmp_path: Path) -> None:
    found = audit(planted, recipe=PLAIN, out=tmp_path / "my audit", augment=True)
    assert found.page == tmp_path / "my audit" / "audit.html"
    assert {path.name for path in found.page.parent.iterdir()} == {"audit.html", "audit.json", "augment.png"}
    told = json.loads(found.page.with_suffix(".json").read_text(encoding="utf-8"))
    assert {finding["code"] for finding in told["findings"]} == codes(found)
    page = found.page.read_text(encoding="utf-8")
    assert "near ü.jpg" in page and "Löwe &amp; co" in page
    assert "http://" not in page.replace("http://www.w3.org", "")  # pictures and all in one file
    with Image.open(found.page.with_name("augment.png")) as grid:
        assert min(grid.size) > 6 * 100


def test_without_augment_there_is_no_view(planted: Path, tmp_path: Path) -> None:
    audit(planted, recipe=PLAIN, fast=True, out=tmp_path)
    assert not (tmp_path / "augment.png").exists()


def test_a_view_without_a_page_to_stand_on_is_refused_before_anything_is_read(planted: Path, opened: list) -> None:
    with pytest.raises(RecipeError) as caught:
        audit(planted, augment=True)
    assert "--out DIR" in caught.value.hint
    assert opened == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"out": "a file"}, "a file is no folder"),
        ({"out": "a file/deeper/out"}, "a file is no folder"),
        ({"out": "closed/out"}, "cannot write to .*closed: permission denied"),
        ({"out": "my data/out"}, "lies inside .*my data, which must stay as it is"),
        ({"out": "my data"}, "lies inside"),
        ({"write_clean": "clean.doc"}, "has the suffix '.doc', which is no table"),
        ({"write_clean": "a file/clean.csv"}, "a file is no folder"),
        ({"write_clean": "closed/clean.csv"}, "cannot write to .*closed: permission denied"),
        ({"write_clean": "mine.csv"}, "is no proposal of fovea, so it stays as it is"),
        ({"write_clean": "folder.csv"}, "is no proposal of fovea, so it stays as it is"),
    ],
)
def test_what_cannot_be_written_is_said_before_a_file_is_opened(
    tmp_path: Path, opened: list, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], message: str
) -> None:
    put(tmp_path / "my data" / "cat" / "a.jpg", clouds(0))
    (tmp_path / "a file").touch()
    (tmp_path / "closed").mkdir()
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    (tmp_path / "folder.csv").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and real(path, mode))  # for root
    before = state(tmp_path)
    with pytest.raises(FoveaError, match=message) as caught:
        audit(tmp_path / "my data", recipe=PLAIN, **{name: tmp_path / place for name, place in asked.items()})
    assert caught.value.hint
    assert opened == [] and state(tmp_path) == before


def test_the_proposal_may_lie_in_the_folder_it_is_about(tmp_path: Path) -> None:
    data = plant(tmp_path / "data", train=3, val=2)
    found = audit(data, fast=True, write_clean=data / "clean.csv")
    assert [finding.as_dict() for finding in audit(data, fast=True).findings] == [f.as_dict() for f in found.findings]
    assert audit(data / "clean.csv", fast=True).subject.manifest.excluded().height > 0


def test_the_proposal_is_data_that_training_can_read(planted: Path, tmp_path: Path) -> None:
    found = audit(planted, recipe=PLAIN, write_clean=tmp_path / "clean.csv")
    assert found.proposal == tmp_path / "clean.csv"
    with open(tmp_path / "clean.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    out = {row["path"].partition("train/")[2] for row in rows if row["action"] == "leave out"}
    assert out == {
        *("cat/cut.jpg", "cat/empty.jpg", "cat/exact.jpg", "Löwe & co/blank.png"),
        *("cat/bild 1.jpg", "cat/bild 2.jpg", "Löwe & co/conflict.jpg"),  # the copy in val stays
    }
    assert len(rows) == 43 and all(row["reason"] for row in rows)
    again = audit(tmp_path / "clean.csv", recipe=PLAIN, fast=True)
    assert not codes(again) & {"split-leakage", "label-conflict", "duplicate-exact", "low-information"}


# --- features --------------------------------------------------------------------------------------------------------


def test_without_weights_and_without_a_hub_it_says_what_it_takes_instead(planted: Path, no_hub: None) -> None:
    console = Told()
    found = audit(planted, recipe=Recipe(), console=console)
    assert found.subject.features_from == "colour, layout and edges, without a network"
    (said,) = [text for text in console.said if "features without a network" in text]
    assert "huggingface.co cannot be reached" in said and "--weights" in said


def test_plain_features_ask_no_hub(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: pytest.fail("the hub was asked"))
    assert audit(planted, recipe=PLAIN).subject.features is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.weights={tmp}/no such weights"], "no weights at .*no such weights"),
        (["model.weights={tmp}/empty"], "is not a model folder: it has no config.json"),
        (["model.weights={tmp}/notes.txt", "model.name=resnet18"], "is not a weights file"),
        (["model.weights={tmp}/cut.safetensors", "model.name=resnet18"], "cut.safetensors is damaged"),
        (["model.weights={tmp}/cut.safetensors"], "does not say which network it belongs to"),
    ],
)
def test_wrong_weights_are_an_error_before_a_file_is_opened_and_no_reason_for_plain_features(
    planted: Path, tmp_path: Path, opened: list, settings: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("weights")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 20)
    overrides = [text.format(tmp=tmp_path) for text in settings]
    with pytest.raises(ModelError, match=message):
        audit(planted, recipe=build_recipe(overrides=overrides))
    assert opened == []


def test_a_network_gives_the_features_and_its_name(planted: Path, tiny_weights: Path) -> None:
    found = audit(planted, recipe=build_recipe(overrides=[f"model.weights={tiny_weights}", "train.threads=1"]))
    assert found.subject.features is not None and found.subject.features.shape == (41, 32)
    assert str(tiny_weights) in found.subject.features_from or "resnet10t" in found.subject.features_from


def test_an_image_that_goes_meanwhile_is_no_end(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plant(tmp_path / "data", train=6, val=4)
    real = features.with_features

    def with_features(*args: object, **options: object) -> object:
        (data / "train" / "cat" / "bild 3.jpg").unlink()
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "with_features", with_features)
    found = audit(data, recipe=build_recipe(overrides=[f"model.weights={tiny_weights}", "train.threads=1"]))
    assert "duplicate-near" in codes(found)
