"""`fovea audit`: what it prints and where, what it writes, with which code it ends; real runs on small folders."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest
from PIL import Image

from fovea.cli import main
from fovea.models import hub
from fovea.workflows import auditing

FIELDS = {"severity", "code", "message", "fix", "evidence", "files"}


def picture(seed: int) -> Image.Image:
    """Soft spots of colour, unlike those of any other seed."""
    spots = np.random.default_rng(seed).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((98, 84), Image.Resampling.BICUBIC)


def fill(root: Path, *, leaks: int = 1) -> Path:
    """Two classes and two splits of ten images, some of val's being copies of train's; one file is cut short."""
    for number in range(10):
        for split, seed in (("train", number), ("val", number if number < leaks else 100 + number)):
            path = root / split / ("Birne ü" if number % 2 else "apple") / f"bild {number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed).save(path, quality=90 if split == "train" else 60)
    whole = (root / "train" / "apple" / "bild 2.jpg").read_bytes()
    (root / "train" / "apple" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return fill(tmp_path / "my data")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Mock:
    made = create_autospec(auditing.audit, side_effect=RuntimeError("called"))
    monkeypatch.setattr(auditing, "audit", made)
    return made


def test_json_is_all_that_comes_out_and_has_every_field(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(data), "--json", "--weights", "plain", "--plain"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert "reading images: 21/21" in err
    assert (told["images"], told["left_out"], told["classes"]) == (20, 1, 2)
    assert told["findings"]
    for finding in told["findings"]:
        assert finding.keys() - {"groups"} == FIELDS
        assert finding["severity"] in ("error", "warning", "note")
        paths = [*finding["files"], *(path for group in finding.get("groups", ()) for path in group)]
        assert [path for path in paths if not (data / path).is_file()] == []
    by_code = {finding["code"]: finding for finding in told["findings"]}
    pair = ["train/apple/bild 0.jpg", "val/apple/bild 0.jpg"]
    assert by_code["duplicate-near"]["groups"] == by_code["split-leakage"]["groups"] == [pair]
    assert by_code["unreadable"]["files"] == ["train/apple/cut.jpg"]


def test_words_name_the_counts_the_findings_and_how_to_see_pictures(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(data), "--fast"]) == 0
    out = capsys.readouterr().out
    first, train, val, *rest = out.splitlines()
    assert first == "20 images of 2 classes; 1 left out"
    assert train.split() == ["train", "10", "images,", "5", "a", "class"]
    assert val.split()[:2] == ["val", "10"]
    assert any(line.startswith("warning: ") and line.endswith("[split-leakage]") for line in rest)
    assert "  train/apple/bild 0.jpg = val/apple/bild 0.jpg" in rest
    assert rest[-1] == "with pictures: the same command with --out DIR"


def test_a_folder_without_classes_is_one_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.jpg")
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "1.jpg").read_bytes())
    assert main(["audit", str(tmp_path), "--fast"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 images of 1 class; 0 left out\n")
    assert "  unsplit          4 images, 4 a class\n" in out
    assert "  1.jpg = copy.jpg\n" in out


def test_one_image_is_counted_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cat").mkdir()
    picture(0).save(tmp_path / "cat" / "a.jpg")
    assert main(["audit", str(tmp_path), "--fast"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert (first, second.split()) == ("1 image of 1 class; 0 left out", ["unsplit", "1", "image,", "1", "a", "class"])


@pytest.mark.parametrize("form", [["--json"], []])
def test_an_error_among_the_findings_makes_the_exit_code_1(
    tmp_path: Path, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(fill(tmp_path / "leaky", leaks=6)), "--fast", *form]) == 1
    out = capsys.readouterr().out
    if form:
        (leak,) = [finding for finding in json.loads(out)["findings"] if finding["code"] == "split-leakage"]
        assert leak["severity"] == "error" and len(leak["groups"]) == 6
    else:
        assert "error: 6 of 10 val images (60 %) have a copy" in out


def test_everything_asked_for_is_written_and_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, clean = tmp_path / "an audit", tmp_path / "clean.tsv"
    options = ["--weights", "plain", "--out", str(out), "--write-clean", str(clean), "--augment"]
    assert main(["audit", str(data), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"proposal: {clean}", f"report: {out / 'audit.html'}"]
    assert {path.name for path in out.iterdir()} == {"audit.html", "audit.json", "augment.png"}
    assert clean.read_text(encoding="utf-8").startswith("path\tlabel\t")
    capsys.readouterr()
    assert main(["audit", str(clean), "--json", "--fast"]) == 0
    codes = {finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert not codes & {"split-leakage", "duplicate-near"}


def test_json_and_the_file_beside_the_page_say_the_same(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(data), "--fast", "--json", "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert printed["page"] == str(tmp_path / "out" / "audit.html")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--augment"], "the view of a network is part of the page", "--out DIR"),
        (["--weights", "no such weights"], "no such weights", ""),
        (["--set", "data.rotat=3"], "did you mean 'data.rotate'", ""),
        (["--classes", "no such file"], "no such file", ""),
        (["--write-clean", "clean.doc", "--fast"], "clean.doc", ".csv"),
    ],
)
def test_a_wrong_option_is_explained_in_two_lines(
    data: Path, options: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(data), *options, "--plain"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err and hint in err and "Traceback" not in err


def test_no_such_folder_names_the_one_that_was_meant(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(data.with_name("my dat")), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"there is nothing at {data.with_name('my dat')}" in err
    assert f"did you mean {data}?" in err


def test_an_empty_folder_says_what_is_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(tmp_path)]) == 2
    assert "folder/CLASS/" in capsys.readouterr().err


def test_without_a_hub_it_goes_on_and_says_so_beside_the_json(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setattr(hub, "_cached_file", lambda hub_id, name: None)
    assert main(["audit", str(data), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["features_from"] == "colour, layout and edges, without a network"
    assert "features without a network: " in err and "--weights DIR_OR_FILE" in err


def test_options_become_a_recipe(stand_in: Mock) -> None:
    options = ["--model", "resnet10t", "--weights", "w", "--seed", "7", "--label-column", "fine", "--fast"]
    options += ["--set", "data.rotate=15", "--set", "data.max_pixels=1000", "--out", "o", "--augment"]
    with pytest.raises(RuntimeError, match="called"):
        main(["audit", "labels.csv", *options])
    assert stand_in.call_args.args == ("labels.csv",)
    given = stand_in.call_args.kwargs
    recipe = given["recipe"]
    assert (recipe.seed, recipe.model.name, recipe.model.weights) == (7, "resnet10t", "w")
    assert (recipe.data.label_column, recipe.data.rotate, recipe.data.max_pixels) == ("fine", 15, 1000)
    assert (given["fast"], given["out"], given["write_clean"], given["augment"]) == (True, Path("o"), None, True)


def test_settings_of_the_data_reach_the_audit(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(77).resize((300, 300)).save(data / "train" / "apple" / "large.png")
    assert main(["audit", str(data), "--json", "--fast", "--set", "data.max_pixels=10000"]) == 0
    (unreadable,) = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["code"] == "unreadable"]
    assert unreadable["files"] == ["train/apple/cut.jpg", "train/apple/large.png"]
    assert "90,000 pixels" in unreadable["message"]
