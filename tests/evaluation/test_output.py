"""Written predictions: complete digits, safe cells, bad files named, nothing half written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fovea.core.errors import DataError
from fovea.evaluation import output
from fovea.evaluation.output import Tally, write_predictions

CLASSES = ("apple", "pear", "=cmd|' /C calc'!A0")
THIRD = 1 / 3


def results() -> Iterator[tuple[Path | str, np.ndarray | DataError]]:
    yield Path("a b/ü.jpg"), np.array([THIRD, 0.5, 1 - 0.5 - THIRD])
    yield "-rf.png", np.array([0.1, 0.2, 0.7])
    yield '@bad,"x".jpg', DataError("@bad is empty (0 bytes)")


def test_csv_has_every_digit_and_no_formula(tmp_path: Path) -> None:
    tally = write_predictions(results(), classes=CLASSES, output=tmp_path / "out.csv", top_k=2)
    assert tally == Tally(done=2, failed=1)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["path", "label", "probability", "label_2", "probability_2", "error"]
    assert rows[0]["path"] == "a b/ü.jpg"
    assert (rows[0]["label"], float(rows[0]["probability"])) == ("pear", 0.5)
    assert float(rows[0]["probability_2"]) == THIRD
    assert (rows[1]["path"], rows[1]["label"]) == ("'-rf.png", "'=cmd|' /C calc'!A0")
    assert (rows[2]["path"], rows[2]["label"], rows[2]["error"]) == (
        '\'@bad,"x".jpg',
        "",
        "'@bad is empty (0 bytes)",
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_every_way_to_start_a_formula_is_neutralised(text: str, tmp_path: Path) -> None:
    write_predictions([(text, np.array([1.0]))], classes=["x"], output=tmp_path / "o.csv")
    with open(tmp_path / "o.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1][0] == "'" + text


def test_json_is_one_array_that_parses(tmp_path: Path) -> None:
    write_predictions(results(), classes=CLASSES, format="json", output=tmp_path / "out.json", top_k=9)
    rows = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert rows[0]["path"] == "a b/ü.jpg"
    assert [item["label"] for item in rows[0]["top"]] == ["pear", "apple", CLASSES[2]]
    assert rows[1]["label"] == CLASSES[2]  # JSON is no spreadsheet: names stay as they are
    assert rows[2] == {
        "path": '@bad,"x".jpg',
        "label": None,
        "probability": None,
        "top": [],
        "error": "@bad is empty (0 bytes)",
    }


def test_parquet_is_joined_from_parts_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_CHUNK_ROWS", 2)
    write_predictions(results(), classes=CLASSES, format="parquet", output=tmp_path / "out.parquet", top_k=2)
    table = pl.read_parquet(tmp_path / "out.parquet")
    assert table["path"].to_list() == ["a b/ü.jpg", "-rf.png", '@bad,"x".jpg']
    assert table["probability_2"].to_list() == [THIRD, 0.2, None]
    assert table.schema["probability"] == pl.Float64
    assert table["error"].to_list() == [None, None, "@bad is empty (0 bytes)"]


@pytest.mark.parametrize("format", output.FORMATS)
def test_no_images_still_give_a_readable_file(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{format}"
    assert write_predictions([], classes=CLASSES, format=format, output=path) == Tally(done=0, failed=0)
    if format == "csv":
        assert path.read_text() == "path,label,probability,error\n"
    elif format == "json":
        assert json.loads(path.read_text()) == []
    else:
        assert pl.read_parquet(path).columns == ["path", "label", "probability", "error"]


@pytest.mark.parametrize("format", output.FORMATS)
def test_the_same_goes_to_standard_output(format: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture) -> None:
    write_predictions(results(), classes=CLASSES, format=format, output=tmp_path / "file")
    write_predictions(results(), classes=CLASSES, format=format)
    written = capsysbinary.readouterr().out
    if format == "parquet":
        assert pl.read_parquet(io.BytesIO(written)).equals(pl.read_parquet(tmp_path / "file"))
    else:
        assert written == (tmp_path / "file").read_bytes()


def test_several_labels_are_joined_and_may_be_none(tmp_path: Path) -> None:
    rows = [("a.jpg", np.array([0.9, 0.2, 0.6])), ("b.jpg", np.array([0.1, 0.2, 0.3]))]
    names = ["cat", "dog", "owl"]
    write_predictions(rows, classes=names, output=tmp_path / "o.csv", threshold=0.5)
    assert (tmp_path / "o.csv").read_text().splitlines() == [
        "path,labels,label_1,probability_1,error",
        "a.jpg,cat|owl,cat,0.9,",
        "b.jpg,,owl,0.3,",
    ]
    write_predictions(rows, classes=names, format="json", output=tmp_path / "o.json", threshold=0.5)
    assert [row["labels"] for row in json.loads((tmp_path / "o.json").read_text())] == [["cat", "owl"], []]


def test_rows_leave_as_they_come(capsysbinary: pytest.CaptureFixture) -> None:
    seen: list[int] = []

    def slow() -> Iterator[tuple[str, np.ndarray]]:
        for index in range(3):
            seen.append(capsysbinary.readouterr().out.count(b"\n"))
            yield f"{index}.jpg", np.array([1.0])

    write_predictions(slow(), classes=["x"])
    assert seen == [1, 1, 1]  # the header, then one line after each image


def test_a_failure_halfway_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("old")

    def failing() -> Iterator[tuple[str, np.ndarray]]:
        yield "a.jpg", np.array([1.0])
        raise RuntimeError("the network fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write_predictions(failing(), classes=["x"], output=tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]


def test_a_file_name_that_is_not_utf8_is_written_visibly(tmp_path: Path) -> None:
    write_predictions([("b\udcffd.jpg", np.array([1.0]))], classes=["x"], output=tmp_path / "o.csv")
    assert "b\\udcffd.jpg" in (tmp_path / "o.csv").read_text(encoding="utf-8")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format is 'xml'"):
        write_predictions([], classes=["x"], format="xml")
