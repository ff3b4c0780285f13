"""The subject of an audit: what belongs together, its parts, its names; and the list of checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fovea.data.audit.base import NAMED_FILES
from fovea.data.audit.checks import CHECKS, FEATURE_CHECKS

from .pictures import partition
from .subjects import subject


def test_units_join_groups_copies_and_scenes_over_any_number_of_steps() -> None:
    groups = ["a", None, None, None, "a", None, None, "b"]
    images = subject([0] * 8, table={"group": groups}, copies=[-1, 0, 0, -1, -1, -1, -1, -1])
    assert partition(images.units) == {frozenset(unit) for unit in ((0, 4), (1, 2), (3,), (5,), (6,), (7,))}
    images = replace(images, scenes=np.array([-1, -1, 1, 2, 1, 2, -1, -1]))  # 2-4 tie the group to the copies
    assert partition(images.units) == {frozenset(unit) for unit in ((0, 1, 2, 4), (3, 5), (6,), (7,))}


def test_equal_numbers_of_copies_and_of_scenes_mean_nothing_to_each_other() -> None:
    images = replace(subject([0] * 4, copies=[0, 0, -1, -1]), scenes=np.array([-1, -1, 0, 0]))
    assert partition(images.units) == {frozenset((0, 1)), frozenset((2, 3))}


def test_alone_everyone_is_a_unit() -> None:
    assert sorted(subject([0, 1, 0]).units.tolist()) == [0, 1, 2]
    assert subject([]).units.tolist() == []


def test_a_part_keeps_every_row_beside_its_looks_and_numbers() -> None:
    splits = ["train", None, "val", "test"]
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    whole = subject([0, 1, 2, 1], table={"split": splits}, copies=[0, -1, 0, -1], features=features)
    whole = replace(whole, scenes=np.array([3, -1, 3, 3]))
    part = whole.take(np.array([3, 1]))
    assert len(part) == 2
    assert part.paths == ["class 1/0003.jpg", "class 1/0001.jpg"]
    assert part.targets.tolist() == [1, 1]
    assert part.splits.tolist() == ["test", ""]
    assert part.copies.tolist() == [-1, -1]
    assert part.scenes is not None and part.scenes.tolist() == [3, -1]
    assert part.features is not None and part.features.tolist() == [[6, 7], [2, 3]]
    assert np.array_equal(part.looks.grey, whole.looks.grey[[3, 1]])
    assert np.array_equal(part.looks.color, whole.looks.color[[3, 1]])
    assert whole.take(np.array([], np.int64)).paths == []


def test_targets_of_several_labels_are_indicators() -> None:
    assert subject([[0, 2], [], [1]], multilabel=True).targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_no_more_files_are_named_than_can_be_read() -> None:
    images = subject([0] * (NAMED_FILES + 5))
    assert len(images.named(np.arange(len(images)))) == NAMED_FILES
    assert images.named([7, 2], limit=1) == ("class 0/0007.jpg",)


def test_every_check_is_registered_once_and_says_what_it_looks_for() -> None:
    fast, judged = ({entry.name for entry in checks} for checks in (CHECKS, FEATURE_CHECKS))
    assert fast >= {
        *("wrong-extension", "odd-size", "dark", "bright", "blurry", "low-information", "duplicates", "torn-group"),
        *("metadata-shortcut", "background-shortcut", "imbalance", "class-too-small", "split-drift"),
    }
    assert judged >= {"labels", "outliers"}
    assert not fast & judged
    assert all(entry.summary for checks in (CHECKS, FEATURE_CHECKS) for entry in checks)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("multilabel", [False, True])
def test_no_check_stumbles_over_next_to_no_images(count: int, multilabel: bool) -> None:
    """One class, one image, one of each split: nothing can be concluded, and nothing fails."""
    targets = [[0]] * count if multilabel else [0] * count
    images = subject(
        targets,
        multilabel=multilabel,
        table={"split": ["train", "val", "test"][:count], "digest": ["a"] * count},
        copies=[0] * count if count > 1 else [-1],
        features=np.ones((count, 4), np.float32),
    )
    for checks in (CHECKS, FEATURE_CHECKS):
        for entry in checks:
            for finding in entry.build(images):
                assert finding.severity != "error", finding
