"""Folds: every class spread, nothing torn apart, the same from any order of files; splits and folds by time."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from fovea.core.errors import DataError, RecipeError
from fovea.data.manifest import Manifest
from fovea.data.splits import fold_count, one_fold, with_folds, with_splits


def manifest(targets: list, **columns: list) -> Manifest:
    """Return a manifest with one row per target, each with content of its own unless `digest` is given."""
    several = bool(targets) and isinstance(targets[0], list)
    table = pl.DataFrame(
        {
            "path": [f"größe {index}.png" for index in range(len(targets))],
            "target": pl.Series(targets, dtype=pl.List(pl.Int32) if several else pl.Int32),
            "digest": [f"{index:032x}" for index in range(len(targets))],
            **columns,
        }
    )
    highest = max(label for target in targets for label in (target if several else [target]))
    return Manifest(table, tuple(f"c{index}" for index in range(highest + 1)), root=Path(), multilabel=several)


def per_class(folded: Manifest) -> np.ndarray:
    """Return the images of each class (C) in each fold (k)."""
    rows = folded.usable().filter(pl.col("fold").is_not_null())
    counts = np.zeros((len(folded.classes), fold_count(folded)), int)
    labels = rows.explode("target") if folded.multilabel else rows
    np.add.at(counts, (labels["target"].to_numpy(), labels["fold"].to_numpy()), 1)
    return counts


def places(folded: Manifest) -> dict[str, int]:
    """Return the fold of each digest."""
    return dict(folded.table.select("digest", "fold").iter_rows())


def test_every_class_is_dealt_out_to_the_last_image() -> None:
    folded = with_folds(manifest([0] * 100 + [1] * 50 + [2] * 7 + [3] * 5), folds=5, seed=0)
    counts = per_class(folded)
    assert counts[:2].tolist() == [[20] * 5, [10] * 5]
    assert sorted(counts[2].tolist()) == [1, 1, 1, 2, 2]
    assert counts[3].tolist() == [1] * 5
    assert sorted(counts.sum(axis=0).tolist()) == [32, 32, 32, 33, 33]
    (finding,) = folded.findings
    assert (finding.code, finding.severity) == ("split-made", "note")
    assert finding.message == "162 training images were dealt into 5 folds of 32 to 33, by class and with seed 0"
    assert finding.evidence == {
        "folds": 5, "images": 162, "units": 162, "smallest_fold": 32, "largest_fold": 33, "seed": 0, "by": "class",
        "classes_not_in_every_fold": [],
    }  # fmt: skip


def test_classes_with_fewer_images_than_folds_are_named() -> None:
    folded = with_folds(manifest([0] * 20 + [1] * 20 + [2] * 3), folds=5, seed=0)
    (finding,) = folded.findings
    assert finding.severity == "warning"
    assert finding.message.endswith("; 1 classes are not in every fold: c2")
    assert finding.evidence["classes_not_in_every_fold"] == ["c2"]
    assert finding.fix == "add images of these classes, or set fewer folds"
    assert sorted(per_class(folded)[2].tolist()) == [0, 0, 1, 1, 1]


def test_folds_follow_from_content_and_seed_not_from_order_or_names() -> None:
    data = manifest([index % 3 for index in range(60)], group=[f"g{index // 4}" for index in range(60)])
    first = places(with_folds(data, folds=4, seed=1))
    shuffled = Manifest(data.table.sample(fraction=1, shuffle=True, seed=5), data.classes, root=Path())
    renamed = Manifest(data.table.with_columns(path="b/" + pl.col("path")), data.classes, root=Path())
    assert places(with_folds(shuffled, folds=4, seed=1)) == first
    assert places(with_folds(renamed, folds=4, seed=1)) == first
    assert places(with_folds(data, folds=4, seed=2)) != first


def test_only_usable_training_images_have_a_fold() -> None:
    data = manifest(
        [0, 1] * 10, split=["test"] * 4 + ["val"] * 4 + [None] * 12, excluded=[None] * 18 + ["is empty (0 bytes)"] * 2
    )
    folded = with_folds(data, folds=2, seed=0)
    assert folded.table["fold"].is_null().to_list() == [True] * 8 + [False] * 10 + [True] * 2
    assert folded.table["split"].to_list() == ["test"] * 4 + ["val"] * 4 + ["train"] * 12


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 99), st.integers(0, 60), st.integers(-40, 9)),
        min_size=12,
        max_size=60,
    ),
    seed=st.integers(0, 3),
)
def test_groups_copies_and_look_alikes_never_straddle(rows: list[tuple[int, int, int, int]], seed: int) -> None:
    targets, contents, groups, together = (list(column) for column in zip(*rows, strict=True))
    data = manifest(
        targets,
        digest=[f"{content:032x}" for content in contents],
        group=pl.Series([f"g{group}" if group < 30 else None for group in groups], dtype=pl.String),  # type: ignore[arg-type]
    )
    by_mark = {
        "digest": contents,
        "group": [group if group < 30 else None for group in groups],
        "together": [number if number >= 0 else None for number in together],
    }
    results = [with_splits(data, val_fraction=0.3, seed=seed, together=together).table["split"].to_list()]
    try:
        folded = with_folds(data, folds=3, seed=seed, together=together)
    except (RecipeError, DataError):
        return  # too few units; what is said then is tested below
    results.append(folded.table["fold"].to_list())
    results += [one_fold(folded, 1, val_fraction=0.3, seed=seed).table["split"].to_list()]
    assert set(results[1]) <= {0, 1, 2}
    for result in results:
        for marks in by_mark.values():
            sides: dict[object, set[object]] = {}
            for mark, side in zip(marks, result, strict=True):
                sides.setdefault(mark if mark is not None else object(), set()).add(side)
            assert all(len(found) == 1 for found in sides.values())


def test_look_alikes_are_recorded_and_respected_by_what_is_split_later(tmp_path: Path) -> None:
    together = [-1] * 20 + [7, 7, 7, 3, 3] + [-1] * 15
    folded = with_folds(manifest([0, 1] * 20), folds=2, seed=0, together=together)
    folded.save(tmp_path / "manifest.parquet")
    again = Manifest.load(tmp_path / "manifest.parquet")
    assert again.table["together"].to_list() == [number if number >= 0 else None for number in together]
    for seed in range(6):
        part = one_fold(again, 0, val_fraction=0.4, seed=seed)
        for number in (3, 7):
            assert part.table.filter(pl.col("together") == number)["split"].n_unique() == 1
    with pytest.raises(ValueError, match=r"together has shape \(3,\), expected \(40,\): one for each row of the table"):
        with_folds(manifest([0, 1] * 20), folds=2, seed=0, together=[1, 2, 3])


def test_groups_are_dealt_no_worse_than_by_scikit_learn() -> None:
    """The mean distance of a class's share in a fold from 1/k, over random groups of random sizes and classes."""

    def unevenness(targets: np.ndarray, fold_of: np.ndarray, k: int) -> float:
        counts = np.zeros((targets.max() + 1, k))
        np.add.at(counts, (targets, fold_of), 1)
        counts = counts[counts.sum(axis=1) > 0]
        return float(np.abs(counts / counts.sum(axis=1, keepdims=True) - 1 / k).mean())

    ours, theirs = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        groups = rng.choice(120, 900, p=rng.dirichlet(np.ones(120)))
        targets = np.where(rng.random(900) < 0.7, rng.integers(0, 12, 120)[groups], rng.integers(0, 12, 900))
        data = manifest(targets.tolist(), group=[f"g{group}" for group in groups])
        ours.append(unevenness(targets, with_folds(data, folds=5, seed=seed).table["fold"].to_numpy(), 5))
        fold_of = np.zeros(900, int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
            for fold, (_, held_out) in enumerate(splitter.split(np.zeros(900), targets, groups)):
                fold_of[held_out] = fold
        theirs.append(unevenness(targets, fold_of, 5))
    assert np.mean(ours) <= np.mean(theirs)
    assert np.mean(ours) < 0.05


def test_several_labels_are_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    targets = [sorted(np.flatnonzero(rng.random(6) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.4]).tolist()) for _ in range(400)]
    counts = per_class(with_folds(manifest(targets), folds=5, seed=0))
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 2
    assert counts.sum() == sum(len(labels) for labels in targets)


def test_leave_one_out_holds_each_unit_out_once() -> None:
    data = manifest([0, 1] * 6, group=["boat"] * 4 + [None] * 8)
    folded = with_folds(data, folds="loo", seed=0)
    assert fold_count(folded) == 9
    assert folded.table["fold"][:4].n_unique() == 1
    assert sorted(folded.table["fold"].unique()) == list(range(9))
    assert folded.findings[0].message == (
        "each of 9 groups is held out once (leave-one-out), groups and copies kept together"
    )
    alone = with_folds(manifest([0, 0, 0, 1, 1, 2]), folds="loo", seed=0)
    assert alone.findings[0].severity == "warning"
    assert alone.findings[0].message == (
        "each of 6 images is held out once (leave-one-out); "
        "1 classes have a single one and cannot be learnt when it is held out: c2"
    )


@pytest.mark.parametrize(
    ("folds", "message", "hint"),
    [
        (1, "train.folds is 1; k-fold needs at least 2", "set data.val_fraction for a single split"),
        ("all", "train.folds is 'all'", "loo for leave-one-out"),
        (11, "train.folds is 11, but there are only 10 images to train on", "10 or less"),
    ],
)
def test_what_cannot_be_dealt_is_said_with_the_way_out(folds: int | str, message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as error:
        with_folds(manifest([0, 1] * 5), folds=folds, seed=0)
    assert error.value.message == message
    assert hint in error.value.hint


def test_groups_too_few_to_deal_are_said() -> None:
    with pytest.raises(RecipeError, match="only 2 groups and copies that may not be parted to train on"):
        with_folds(manifest([0, 1] * 5, group=["a"] * 4 + ["b"] * 6), folds=3, seed=0)
    with pytest.raises(RecipeError, match="leave-one-out needs 2 training images"):
        with_folds(manifest([0, 1] * 5, group=["a"] * 10), folds="loo", seed=0)
    with pytest.raises(DataError, match="with fold 0 held out, images of only 1 of 2 classes are left") as error:
        with_folds(manifest([0] * 5 + [1] * 5, group=["a"] * 5 + ["b"] * 5), folds=2, seed=0)
    assert error.value.hint == "add images of other groups, or set more folds"


def test_the_data_of_one_fold_is_judged_on_images_that_chose_nothing() -> None:
    data = manifest([0, 1] * 25, split=["train"] * 40 + ["test"] * 10)
    folded = with_folds(data, folds=4, seed=0)
    part = one_fold(folded, 2, val_fraction=0.2, seed=0)
    held_out = folded.table.filter(pl.col("fold") == 2)["digest"]
    assert sorted(part.usable("test")["digest"]) == sorted(held_out)
    assert part.counts().select("train", "val", "test").rows() == [(12, 3, 5), (12, 3, 5)]
    assert part.table.height == 40  # the data's own test split has no part in it


def test_a_validation_split_that_the_data_brings_chooses_in_every_fold() -> None:
    folded = with_folds(manifest([0, 1] * 15, split=["train"] * 20 + ["val"] * 10), folds=2, seed=0)
    for fold in range(2):
        part = one_fold(folded, fold, val_fraction=0.5, seed=0)
        assert part.usable("val")["digest"].to_list() == folded.usable("val")["digest"].to_list()
        assert (part.usable("train").height, part.usable("test").height) == (10, 10)


def test_by_time_the_latest_are_held_out() -> None:
    taken = [float(second) for second in range(100, 200)]
    data = manifest([0, 1] * 50)
    result = with_splits(data, val_fraction=0.25, seed=0, by="time", times=taken)
    assert result.table["split"].to_list() == ["train"] * 75 + ["val"] * 25
    assert result.findings[0].message == (
        "the data has no validation split; 25 of 100 training images (25.0 %) were held out, "
        "those from 1970-01-01 00:02:55 on"
    )
    assert result.findings[0].evidence["by"] == "time"
    again = with_splits(
        Manifest(result.table.drop("split"), data.classes, root=Path()), val_fraction=0.25, seed=9, by="time"
    )
    assert again.table["split"].to_list() == result.table["split"].to_list()  # the times were recorded; no seed matters


def test_by_time_a_burst_is_not_cut_and_unknown_times_stay_in_training() -> None:
    taken = [0.0, 1.0, 2.0, 3.0, 9.0, 9.0, 9.0, 9.0, float("nan"), float("nan")]
    result = with_splits(manifest([0, 1] * 5), val_fraction=0.2, seed=0, by="time", times=taken)
    assert result.table["split"].to_list() == ["train"] * 4 + ["val"] * 4 + ["train"] * 2
    assert result.findings[0].evidence["without_time"] == 2
    tied = with_splits(manifest([0, 1] * 5), val_fraction=0.2, seed=0, by="time", times=[5.0] * 10)
    assert not tied.has_split("val")
    assert tied.findings[0].message.endswith("none could be made: all images are of one time")


def test_by_time_training_ends_before_the_units_that_are_held_out() -> None:
    rng = np.random.default_rng(0)
    taken = rng.permutation(200).astype(float)
    groups = [f"g{index}" for index in rng.integers(0, 60, 200)]
    result = with_splits(manifest([0, 1] * 100, group=groups), val_fraction=0.2, seed=0, by="time", times=taken)
    train, val = result.usable("train"), result.usable("val")
    assert set(train["group"]) & set(val["group"]) == set()
    ends = val.group_by("group").agg(pl.col("taken_s").max())["taken_s"]
    assert train["taken_s"].max() < ends.min()  # type: ignore[operator]
    assert val.height >= 40


def test_by_time_classes_that_occur_late_only_are_told() -> None:
    result = with_splits(
        manifest([0] * 8 + [1] * 2), val_fraction=0.2, seed=0, by="time", times=[float(n) for n in range(10)]
    )
    assert result.findings[0].severity == "warning"
    assert result.findings[0].message.endswith(
        "1 classes have no image that late; 1 classes occur in it alone and cannot be learnt"
    )
    assert result.findings[0].evidence["classes_without_train"] == ["c1"]


def test_by_time_folds_are_stretches_of_it() -> None:
    rng = np.random.default_rng(1)
    taken = rng.permutation(60).astype(float)
    folded = with_folds(manifest([0, 1, 2] * 20), folds=4, seed=0, by="time", times=taken)
    ends = folded.table.group_by("fold").agg(
        first=pl.col("taken_s").min(), last=pl.col("taken_s").max(), images=pl.len()
    )
    assert ends.sort("fold").rows() == [(0, 0, 14, 15), (1, 15, 29, 15), (2, 30, 44, 15), (3, 45, 59, 15)]
    assert "dealt into 4 folds of 15 to 15, by time" in folded.findings[0].message


def test_by_time_bursts_stay_whole_and_every_fold_gets_some() -> None:
    taken = [0.0] * 12 + [1.0, 2.0, 3.0] + [float("nan")] * 3
    folded = with_folds(manifest([0, 1, 2] * 6), folds=4, seed=0, by="time", times=taken)
    assert folded.table["fold"][:15].to_list() == [0] * 12 + [1, 2, 3]
    assert set(folded.table["fold"][15:]) <= {1, 2, 3}  # what has no time goes where little is
    with pytest.raises(RecipeError, match="the images are of only 4 different times"):
        with_folds(manifest([0, 1, 2] * 6), folds=5, seed=0, by="time", times=taken)


def test_a_split_by_time_needs_times_and_a_known_way() -> None:
    with pytest.raises(DataError, match="no image says when it was taken") as error:
        with_splits(manifest([0, 1] * 5), val_fraction=0.2, seed=0, by="time")
    assert "data.split_by=class" in error.value.hint
    with pytest.raises(RecipeError, match="cannot split by 'boat'"):
        with_splits(manifest([0, 1] * 5), val_fraction=0.2, seed=0, by="boat")


def test_the_fingerprint_tells_foldings_apart_and_old_manifests_still_load(tmp_path: Path) -> None:
    data = manifest([0, 1] * 10)
    prints = {with_folds(data, folds=folds, seed=0).fingerprint for folds in (2, 3, "loo")}
    prints.add(with_splits(data, val_fraction=0, seed=0).fingerprint)
    assert len(prints) == 4
    path = tmp_path / "old.parquet"
    data.save(path)
    metadata = pl.read_parquet_metadata(path)["fovea.manifest"]
    old = pl.read_parquet(path).drop("fold", "together", "taken_s")
    old.write_parquet(path, metadata={"fovea.manifest": metadata})
    assert Manifest.load(path).fingerprint == data.fingerprint


def test_folds_of_real_photos_have_every_class(shared: Path) -> None:
    lines = (shared / "data" / "grocery" / "train.txt").read_text().splitlines()
    counts = per_class(with_folds(manifest([int(line.split(", ")[1]) for line in lines]), folds=5, seed=0))
    assert counts.shape == (81, 5) and counts.sum() == 2640
    assert (counts.max(axis=1) - counts.min(axis=1)).max() == 1
    assert counts.sum(axis=0).max() - counts.sum(axis=0).min() <= 1
