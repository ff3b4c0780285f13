"""Borders that give the class away, and honest pictures that do not."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.core.findings import Finding
from fovea.data.audit.background import background_shortcut
from fovea.data.audit.base import Subject

from .subjects import subject

CLASSES = ["Apfel", "Birne", "Zwiebel"]
PALETTE = np.array([[200, 40, 40], [40, 160, 60], [60, 80, 200]])


def pictures(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return smooth random pictures: colour (N, 16, 16, 3) and grey (N, 64, 64)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3))
    color = np.clip(np.kron(coarse, np.ones((1, 4, 4, 1))) + rng.normal(0, 20, (count, 16, 16, 3)), 0, 255)
    return color.astype(np.uint8), as_grey(color)


def as_grey(color: np.ndarray) -> np.ndarray:
    return np.kron(color.mean(axis=3), np.ones((1, 4, 4))).astype(np.uint8)


def three_classes(color: np.ndarray, *, each: int = 60, multilabel: bool = False, **more: object) -> Subject:
    targets = [row // each for row in range(3 * each)]
    return subject(targets, classes=CLASSES, color=color, grey=as_grey(color), **more)  # type: ignore[arg-type]


def only(found: list[Finding]) -> Finding:
    assert [finding.code for finding in found] == ["background-shortcut"]
    return found[0]


def with_objects(color: np.ndarray, *, each: int = 60) -> np.ndarray:
    """Give the middle of each picture the colour of its class, with noise."""
    rng = np.random.default_rng(1)
    painted = color.astype(float)
    for row in range(len(color)):
        painted[row, 5:11, 5:11] = PALETTE[row // each] + rng.normal(0, 30, 3)
    return np.clip(painted, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(2))
def test_pictures_whose_middle_tells_the_class_raise_no_alarm(seed: int) -> None:
    color, _ = pictures(180, seed=seed)
    assert background_shortcut(three_classes(with_objects(color))) == []


def test_a_table_cloth_on_60_percent_of_each_class_is_a_warning_with_all_three_numbers() -> None:
    color = with_objects(pictures(180)[0])
    ring = np.ones((16, 16), dtype=bool)
    ring[2:-2, 2:-2] = False
    for row in range(180):
        if row % 5 < 3:
            color[row, ring] = PALETTE[(row // 60 + 1) % 3]
    found = only(background_shortcut(three_classes(color)))
    assert found.severity == "warning"
    assert "gives Apfel, Birne and Zwiebel away" in found.message
    assert "% of Apfel have rgb(40, 160, 60) in the" in found.message
    assert all(0.6 <= place["recall"] < 0.7 for place in found.evidence["places"])
    assert "by the commonest class 33 %" in found.message
    assert found.evidence["border_accuracy"] > 0.6
    assert found.evidence["majority"] == pytest.approx(1 / 3, abs=1e-4)
    assert set(found.evidence) >= {"middle_accuracy", "border_gain", "middle_gain", "best"}
    assert "backgrounds" in found.fix
    assert "Apfel/0000.jpg" in found.files


def test_a_logo_in_the_corner_of_one_class_is_found_where_it_is() -> None:
    color = with_objects(pictures(180)[0])
    color[60:120, -2:, -2:] = (250, 210, 10)
    found = only(background_shortcut(three_classes(color)))
    (place,) = found.evidence["places"]
    assert (place["class"], place["where"], place["recall"]) == ("Birne", "bottom right corner", 1.0)
    assert place["rgb"] == [250, 210, 10]
    assert all(name.startswith("Birne/") for name in found.files)


def test_backgrounds_that_vary_within_a_class_are_found_by_the_classifier() -> None:
    rng = np.random.default_rng(0)
    color = pictures(180)[0].astype(float)
    for row in range(180):  # each class in its own hue, at any brightness, with noise
        light = rng.uniform(0.4, 1.2)
        edge = PALETTE[row // 60] * light + rng.normal(0, 15, (16, 16, 3))
        edge[2:-2, 2:-2] = color[row, 2:-2, 2:-2]
        color[row] = edge
    found = only(background_shortcut(three_classes(np.clip(color, 0, 255).astype(np.uint8))))
    assert found.severity == "warning"
    assert found.evidence["border_accuracy"] > found.evidence["middle_accuracy"] + 0.2
    assert found.message.count(" %") >= 3


def test_copies_of_one_picture_are_one_witness() -> None:
    color = pictures(180)[0]
    color[:60] = color[0]  # one class is 60 copies of one image
    copies = [0] * 60 + [-1] * 120
    assert background_shortcut(three_classes(color, copies=copies)) == []
    assert only(background_shortcut(three_classes(color))).evidence["places"][0]["class"] == "Apfel"


def test_a_label_of_multilabel_data_may_be_given_away() -> None:
    color, grey = pictures(120)
    color[::2, :2] = 255
    targets = [[0, 1] if row % 2 == 0 else [0] for row in range(120)]
    found = only(
        background_shortcut(subject(targets, classes=["sea", "snow"], color=color, grey=grey, multilabel=True))
    )
    assert "100 % of snow have rgb(255, 255, 255)" in found.message


@pytest.mark.parametrize("targets", [[], [0], [0, 1], [0] * 40, [0] * 39 + [1], list(range(30))])
def test_too_little_to_tell_gives_nothing(targets: list[int]) -> None:
    color, grey = pictures(len(targets))
    assert background_shortcut(subject(targets, color=color, grey=grey)) == []


def test_pictures_all_of_one_colour_give_nothing() -> None:
    assert background_shortcut(three_classes(np.full((180, 16, 16, 3), 255, np.uint8))) == []
