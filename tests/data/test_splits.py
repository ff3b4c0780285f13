"""Splits: what is held out, what never is, and that it follows from the content alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fovea.data.manifest import Manifest
from fovea.data.splits import with_splits


def manifest(targets: list, **columns: list) -> Manifest:
    """Return a manifest with one row per target, each with content of its own unless `digest` is given."""
    several = bool(targets) and isinstance(targets[0], list)
    count = len(targets)
    table = pl.DataFrame(
        {
            "path": [f"{index}.png" for index in range(count)],
            "target": pl.Series(targets, dtype=pl.List(pl.Int32) if several else pl.Int32),
            "digest": [f"{index:032x}" for index in range(count)],
            "group": pl.Series([None] * count, dtype=pl.String),
            "split": pl.Series([None] * count, dtype=pl.String),
            **columns,
        }
    )
    highest = max(max(target) if several else target for target in targets if target != [] and target is not None)
    return Manifest(table, tuple(f"c{index}" for index in range(highest + 1)), root=Path(), multilabel=several)


def held_out(result: Manifest) -> set[str]:
    return set(result.usable("val")["path"])


def test_every_class_gives_its_share():
    data = manifest([0] * 100 + [1] * 50 + [2] * 7 + [3] * 2 + [4])
    result = with_splits(data, val_fraction=0.2, seed=0)
    assert result.counts()["val"].to_list() == [20, 10, 1, 1, 0]
    assert result.counts()["train"].to_list() == [80, 40, 6, 1, 1]
    (finding,) = result.findings
    assert finding.code == "split-made" and finding.severity == "note"
    assert finding.message == (
        "the data has no validation split; 32 of 160 training images (20.0 %) were held out, by class and with seed 0; "
        "1 classes have too few images to give one"
    )
    assert finding.evidence["classes_without_val"] == ["c4"] and finding.evidence["val"] == 32


def test_the_choice_follows_from_seed_and_content():
    data = manifest([0] * 40 + [1] * 40)
    first = held_out(with_splits(data, val_fraction=0.25, seed=3))
    assert held_out(with_splits(data, val_fraction=0.25, seed=3)) == first
    assert held_out(with_splits(data, val_fraction=0.25, seed=4)) != first
    shuffled = Manifest(data.table.sample(fraction=1, shuffle=True, seed=1), data.classes, root=Path())
    assert held_out(with_splits(shuffled, val_fraction=0.25, seed=3)) == first
    renamed = Manifest(data.table.with_columns(path="new/" + pl.col("path")), data.classes, root=Path())
    assert held_out(with_splits(renamed, val_fraction=0.25, seed=3)) == {f"new/{path}" for path in first}


def test_a_validation_split_that_exists_stays():
    split = ["train"] * 8 + ["val"] * 2
    result = with_splits(manifest([0, 1] * 5, split=split), val_fraction=0.2, seed=0)
    assert result.table["split"].to_list() == split and result.findings == ()


def test_test_images_are_never_touched():
    data = manifest([0, 1] * 20, split=["test"] * 20 + ["train"] * 20)
    result = with_splits(data, val_fraction=0.2, seed=0)
    assert result.table["split"].to_list()[:20] == ["test"] * 20
    assert result.usable("val").height == 4 and result.usable("train").height == 16


def test_an_unusable_validation_image_is_no_validation_split():
    data = manifest([0, 1] * 5, split=["val"] + ["train"] * 9, excluded=["is missing"] + [None] * 9)
    assert with_splits(data, val_fraction=0.2, seed=0).usable("val").height == 2


def test_rows_without_a_split_are_training_images():
    data = manifest([0, 1] * 3, split=["train", "val", "test", None, None, "val"])
    result = with_splits(data, val_fraction=0.5, seed=0)
    assert result.table["split"].to_list() == ["train", "val", "test", "train", "train", "val"]


def test_no_fraction_no_split():
    result = with_splits(manifest([0, 1] * 5), val_fraction=0, seed=0)
    assert result.usable("train").height == 10 and not result.has_split("val") and result.findings == ()
    with pytest.raises(ValueError, match=r"val_fraction is 1; expected"):
        with_splits(manifest([0, 1]), val_fraction=1, seed=0)


def test_a_group_never_straddles():
    groups = [f"patient {index // 4}" for index in range(200)]
    data = manifest([index % 2 for index in range(200)], group=groups)
    result = with_splits(data, val_fraction=0.2, seed=0)
    train, val = set(result.usable("train")["group"]), set(result.usable("val")["group"])
    assert train & val == set() and len(train | val) == 50
    assert result.counts()["val"].to_list() == [20, 20]
    assert "groups and copies kept together" in result.findings[0].message


def test_copies_never_straddle_also_across_groups():
    digests = [f"{index // 2:032x}" for index in range(80)]
    data = manifest([0, 0, 1, 1] * 20, digest=digests)
    result = with_splits(data, val_fraction=0.25, seed=0)
    assert set(result.usable("train")["digest"]) & set(result.usable("val")["digest"]) == set()
    assert result.counts()["val"].to_list() == [10, 10]
    # a copy of an image in two groups ties the groups together
    data = manifest([0] * 6, digest=["x", "a", "x", "b", "c", "d"], group=["g", "g", "h", "h", None, None])
    result = with_splits(data, val_fraction=0.3, seed=0)
    assert held_out(result) in ({"4.png"}, {"5.png"}, {"4.png", "5.png"})


def test_two_large_groups_still_give_a_split():
    data = manifest([0, 1] * 10, group=["a"] * 12 + ["b"] * 8)
    result = with_splits(data, val_fraction=0.1, seed=0)
    assert set(result.usable("val")["group"]) == {"b"}  # the one that overshoots least


def test_groups_that_cannot_be_parted_are_told():
    result = with_splits(manifest([0] * 5 + [1] * 5, group=["a"] * 5 + ["b"] * 5), val_fraction=0.2, seed=0)
    assert not result.has_split("val")
    assert result.findings[0].severity == "warning"
    assert (
        result.findings[0].message
        == "the data has no validation split and none could be made: the groups cannot be parted"
    )
    alone = with_splits(manifest([0, 1, 2]), val_fraction=0.2, seed=0)
    assert alone.findings[0].message.endswith("no class has two images")


def test_several_labels_are_spread_evenly():
    targets = [sorted({index % 3, index % 7, 6} if index % 10 else set()) for index in range(300)]
    result = with_splits(manifest(targets), val_fraction=0.2, seed=0)
    counts = result.counts()
    share = (counts["val"] / (counts["val"] + counts["train"])).to_list()
    assert all(0.15 <= value <= 0.3 for value in share), share
    assert result.usable("val").height + result.usable("train").height == 300


def test_excluded_rows_are_not_counted():
    data = manifest([0] * 10 + [1] * 10, excluded=["is empty (0 bytes)"] * 8 + [None] * 12)
    result = with_splits(data, val_fraction=0.2, seed=0)
    assert result.counts()["val"].to_list() == [1, 2] and result.counts()["train"].to_list() == [1, 8]


def test_a_real_split_is_near_the_fraction_in_every_class(shared: Path):
    lines = (shared / "data" / "grocery" / "train.txt").read_text().splitlines()
    data = manifest([int(line.split(", ")[1]) for line in lines])
    counts = with_splits(data, val_fraction=0.2, seed=0).counts()
    assert counts["val"].min() >= 1 and counts["train"].min() >= 1
    assert abs(counts["val"].sum() / 2640 - 0.2) < 0.01
