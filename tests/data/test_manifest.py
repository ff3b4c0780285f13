"""The manifest: selecting rows, targets, counts, the fingerprint, and the file it is saved in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.data.manifest import Manifest, schema


def single() -> Manifest:
    table = pl.DataFrame(
        {
            "path": ["a b/ä.png", "c.png", "d.png", "e.png", "/elsewhere/f.png"],
            "target": [1, 0, 1, None, 1],
            "split": ["train", "train", "val", "train", None],
            "digest": ["d1", "d2", "d3", None, "d5"],
            "excluded": [None, None, None, "is missing", None],
        }
    )
    finding = Finding(severity="note", code="split-made", message="größer", fix="–", evidence={"n": 1}, files=("x",))
    return Manifest(
        table, ("Äpfel", "pears"), root=Path("/photos"), class_ids=("7", "9"), findings=(finding,), source="photos"
    )


def several() -> Manifest:
    table = pl.DataFrame(
        {"path": ["a", "b", "c"], "target": [[0, 2], [], [2]], "split": ["train", "train", "val"]},
        schema_overrides={"target": pl.List(pl.Int64)},
    )
    return Manifest(table, ("x", "y", "z"), root=Path("/photos"), multilabel=True)


def test_rows_are_chosen_by_split_and_excluded_ones_stay_out():
    manifest = single()
    assert manifest.usable()["path"].to_list() == ["a b/ä.png", "c.png", "d.png", "/elsewhere/f.png"]
    assert manifest.usable("val")["path"].to_list() == ["d.png"]
    assert manifest.excluded()["excluded"].to_list() == ["is missing"]
    assert manifest.has_split("val") and not manifest.has_split("test")
    with pytest.raises(ValueError, match="split is 'valid'; expected one of"):
        manifest.usable("valid")


def test_paths_are_absolute_also_when_the_table_holds_absolute_ones():
    manifest = single()
    assert manifest.paths(manifest.usable("train")) == [Path("/photos/a b/ä.png"), Path("/photos/c.png")]
    assert manifest.absolute("/elsewhere/f.png") == Path("/elsewhere/f.png")


def test_targets_of_one_label_an_image_are_positions():
    targets = single().targets()
    assert targets.dtype == np.int64
    assert targets.tolist() == [1, 0, 1, 1]
    with pytest.raises(ValueError, match="1 of the rows have no target"):
        single().targets(single().table)


def test_targets_of_several_labels_an_image_are_a_matrix():
    targets = several().targets()
    assert targets.dtype == np.uint8
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert several().targets(several().usable("test")).shape == (0, 3)


def test_counts_per_class_and_split():
    assert single().counts().to_dicts() == [
        {"class": "Äpfel", "train": 1, "val": 0, "unsplit": 0},
        {"class": "pears", "train": 1, "val": 1, "unsplit": 1},
    ]
    assert several().counts()["train"].to_list() == [1, 0, 1]


def test_the_table_has_every_column_in_its_type_whatever_was_given():
    table = single().table
    assert dict(table.schema) == schema(multilabel=False)
    with pytest.raises(ValueError, match=r"a manifest has no column \['label'\]"):
        Manifest(pl.DataFrame({"label": ["a"]}), ("a",), root=Path())
    with pytest.raises(ValueError, match="1 class ids for 2 classes"):
        Manifest(pl.DataFrame({"path": ["a"]}), ("a", "b"), root=Path(), class_ids=("0",))


def test_the_fingerprint_follows_content_and_not_place_name_or_order():
    manifest = single()

    def variant(**columns: pl.Expr | pl.Series) -> str:
        table = manifest.table.with_columns(**columns)
        return Manifest(table, manifest.classes, root=Path("/other")).fingerprint

    same = manifest.fingerprint
    assert variant() == same
    assert Manifest(manifest.table.reverse(), manifest.classes, root=Path()).fingerprint == same
    assert variant(path=pl.col("path") + "x", width=pl.lit(3)) == same
    assert variant(digest=pl.Series(["other", "d2", "d3", None, "d5"])) != same
    assert variant(target=pl.Series([0, 0, 1, None, 1])) != same
    assert variant(split=pl.Series(["val", "train", "val", "train", None])) != same
    assert variant(excluded=pl.lit(None)) != same
    assert Manifest(manifest.table, ("Äpfel", "plums"), root=Path()).fingerprint != same
    assert len(several().fingerprint) == 32


@pytest.mark.parametrize("make", [single, several])
def test_a_saved_manifest_comes_back_whole(make, tmp_path: Path):
    manifest = make()
    path = tmp_path / "ä b" / "manifest.parquet"
    manifest.save(path)
    back = Manifest.load(path)
    assert back.table.equals(manifest.table)
    for name in ("classes", "class_ids", "root", "multilabel", "findings", "source", "fingerprint"):
        assert getattr(back, name) == getattr(manifest, name), name
    assert [item.name for item in path.parent.iterdir()] == ["manifest.parquet"]


def test_loading_says_what_is_wrong_with_the_file(tmp_path: Path):
    path = tmp_path / "manifest.parquet"
    with pytest.raises(DataError, match=r"no manifest at .*manifest\.parquet"):
        Manifest.load(path)
    single().save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="is damaged"):
        Manifest.load(path)
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(DataError, match="is a Parquet file, not a manifest"):
        Manifest.load(path)
