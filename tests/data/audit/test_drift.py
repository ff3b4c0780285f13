"""Splits that differ, in words and numbers; random splits that do not; and sessions torn apart by a split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fovea.core.findings import Finding
from fovea.data.audit.drift import split_drift
from fovea.data.audit.torn import torn_group

from .subjects import subject


def varied(count: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Return facts that vary from image to image."""
    rng = np.random.default_rng(seed)
    names = ("brightness", "contrast", "entropy", "sharpness", "detail", "mean_r", "mean_g", "mean_b")
    return {name: rng.normal(0.5, 0.1, count) for name in names}


def of_kind(found: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in found if finding.evidence["kind"] == kind]


def halves(count: int) -> list[str]:
    return ["train"] * (count - count // 4) + ["val"] * (count // 4)


@pytest.mark.parametrize("seed", range(2))
def test_a_random_split_has_no_drift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    split = np.where(rng.random(600) < 0.25, "val", "train")
    data = subject(
        [row % 5 for row in range(600)],
        facts=varied(600, seed=seed),
        table={"split": split},
        features=rng.normal(size=(600, 40)).astype(np.float32),
    )
    assert split_drift(data) == []


def test_darker_validation_images_are_called_darker_with_both_medians() -> None:
    facts = varied(400)
    facts["brightness"][:300] = np.linspace(0.37, 0.57, 300)  # median 0.47
    facts["brightness"][300:] = np.linspace(0.21, 0.41, 100)  # median 0.31
    data = subject([row % 2 for row in range(400)], facts=facts, table={"split": halves(400)})
    (found,) = split_drift(data)
    assert (found.code, found.severity, found.evidence["kind"]) == ("split-drift", "warning", "looks")
    assert "val is darker (median brightness 0.31 against 0.4" in found.message
    assert found.evidence["facts"][0]["fact"] == "brightness"
    assert found.evidence["area"] > 0.9
    assert found.files and all(int(name[-8:-4]) >= 300 for name in found.files)


def test_files_of_another_format_are_told() -> None:
    data = subject(
        [row % 2 for row in range(400)], facts={"format": ["JPEG"] * 300 + ["PNG"] * 100}, table={"split": halves(400)}
    )
    (found,) = split_drift(data)
    assert "of another format" in found.message and "100 %" in found.message


def test_other_shares_of_the_classes_are_not_taken_for_other_looks() -> None:
    facts = varied(400)
    targets = [row % 2 for row in range(300)] + [int(row % 10 == 0) for row in range(100)]
    facts["brightness"] = np.where(np.array(targets) == 0, 0.9, 0.1) + np.random.default_rng(0).normal(0, 0.05, 400)
    data = subject(targets, classes=["snow", "coal"], facts=facts, table={"split": halves(400)})
    (found,) = split_drift(data)
    assert found.evidence["kind"] == "classes"
    assert "snow 90 % against 50 %" in found.message
    assert found.evidence["cramers_v"] == pytest.approx(0.35, abs=0.01)  # sqrt(chi2 / n - 1 / (n - 1)), chi2 = 50.3
    assert found.severity == "warning"


def test_features_that_differ_are_a_drift_of_what_is_shown() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 64)).astype(np.float32)
    features[300:, :8] += 1.5
    data = subject([0, 1] * 200, facts=varied(400), table={"split": halves(400)}, features=features)
    (found,) = split_drift(data)
    assert (found.evidence["kind"], found.severity) == ("features", "warning")
    assert "val shows other things than train" in found.message


def test_shares_of_multilabel_data_are_compared_label_by_label() -> None:
    targets = [[0, 1] if row % 2 else [0] for row in range(300)] + [[0]] * 100
    data = subject(targets, classes=["sky", "kite"], multilabel=True, table={"split": halves(400)})
    (found,) = of_kind(split_drift(data), "classes")
    assert "kite 0 % against 50 %" in found.message


@pytest.mark.parametrize("split", [[], [None], ["train"], ["val"], ["train", "val"], ["train"] * 30 + ["test"]])
def test_too_little_to_compare_gives_nothing(split: list) -> None:
    data = subject([0] * len(split), table={"split": split})
    assert split_drift(data) == []
    assert torn_group(data) == []


def test_unknown_facts_are_no_fault() -> None:
    unknown = dict.fromkeys([*varied(1), "quality", "dark_point", "bright_point"], None)
    data = subject([0, 1] * 100, facts=unknown, table={"split": halves(200), "width": [None] * 200})
    assert split_drift(data) == []


def test_a_group_in_two_splits_is_torn() -> None:
    groups = ["Person Ä"] * 3 + ["B"] * 2 + [None] * 3
    split = ["train", "train", "val", "val", "val", "train", "val", "test"]
    (found,) = torn_group(subject([0] * 8, table={"group": groups, "split": split}))
    assert (found.code, found.severity) == ("torn-group", "warning")
    assert "1 group of 2 is torn apart by the split: Person Ä" in found.message
    assert found.groups == (("class 0/0000.jpg", "class 0/0001.jpg", "class 0/0002.jpg"),)
    assert found.evidence["images"] == 1


def test_a_large_group_shows_both_sides() -> None:
    split = ["train"] * 50 + ["val"] * 2
    (found,) = torn_group(subject([0] * 52, table={"group": ["g"] * 52, "split": split}))
    assert {"class 0/0050.jpg", "class 0/0051.jpg"} <= set(found.groups[0][:12])
    assert len(set(found.groups[0])) == 52


def test_photos_of_one_camera_within_seconds_are_a_burst() -> None:
    taken = [1000.0, 1004.0, 1012.0, 5000.0, 5003.0, None]
    camera = ["Pixel 7", "Pixel 7", "Pixel 7", "Pixel 7", "Canon", None]
    data = subject(
        [0] * 6,
        facts={"taken_s": taken, "camera": camera},
        table={"split": ["train", "val", "train", "train", "val", "val"]},
    )
    (found,) = torn_group(data)
    assert found.evidence["kind"] == "burst"
    assert "1 burst of photos (one camera, within 10 s of each other) is torn apart" in found.message
    assert found.groups == (("class 0/0000.jpg", "class 0/0001.jpg", "class 0/0002.jpg"),)


def test_one_time_on_all_images_is_no_burst() -> None:
    data = subject([0] * 80, facts={"taken_s": 0.0, "camera": "scanner"}, table={"split": halves(80)})
    assert torn_group(data) == []


def test_photos_of_one_scene_are_told_unless_they_are_copies() -> None:
    split = ["train", "val", "train", "train", "val", "val"]
    data = subject([0] * 6, table={"split": split}, scenes=[0, 0, 1, 1, 2, -1])
    (found,) = torn_group(data)
    assert found.evidence["kind"] == "scene"
    assert found.groups == (("class 0/0000.jpg", "class 0/0001.jpg"),)
    assert found.message.startswith("1 scene that several photos show, from another spot or a moment later, is torn")
    assert torn_group(replace(data, copies=np.array([7, 7, -1, -1, -1, -1]))) == []  # the check for leaks tells these
