"""The empty corners of turned pictures: found in any colour, filled from beside them, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fovea.data.audit.corners import find_corners

from .pictures import looks_at, photos, scene, stored, turned

IMAGES = [*photos(), *map(scene, range(4))]


def grey(images: list[Image.Image]) -> np.ndarray:
    return looks_at([stored(image) for image in images])[0].grey


@pytest.mark.parametrize("degrees", [-8, -5, 5, 8])
@pytest.mark.parametrize("colour", ["black", "white"])
def test_the_wedges_of_turned_pictures_are_filled(degrees: int, colour: str) -> None:
    tilted = grey([image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=colour) for image in IMAGES])
    found = find_corners(tilted, np.zeros((len(tilted), 4)))
    assert found.wedges.any(axis=1).all()
    empty = {"black": 0, "white": 255}[colour]
    before = np.abs(tilted[:, ::63, ::63].astype(int) - empty).mean()
    after = np.abs(found[:][:, ::63, ::63].astype(int) - empty).mean()
    assert before < 5 and after > 60
    assert (found[:][:, 16:48, 16:48] == tilted[:, 16:48, 16:48]).all()  # the middle stays as it is


def test_photos_and_pictures_on_plain_ground_stay_as_they_are() -> None:
    pictures = grey(IMAGES)
    thing = np.full((1, 64, 64), 240, np.uint8)
    thing[0, 20:40, 20:50] = grey([scene(0)])[0, 20:40, 20:50]
    pictures = np.concatenate([pictures, thing])
    found = find_corners(pictures, np.zeros((len(pictures), 4)))
    assert not found.wedges[:-1].any()
    assert (found[:] == pictures).all()


def test_a_selection_is_filled_as_the_whole_is() -> None:
    pictures = grey([IMAGES[0], turned(5)(IMAGES[1]), IMAGES[2], turned(-8)(IMAGES[3])])
    found = find_corners(pictures, np.zeros((len(pictures), 4)))
    some = found.of(np.array([3, 0, 1]))
    assert len(some) == 3
    assert (some[1:] == found[np.array([0, 1])]).all()
    assert (some.of(np.array([2]))[:] == found[np.array([1])]).all()
    assert (pictures[1] != found[np.array([1])][0]).any()  # in a copy: what was given is not written to


def test_no_pictures_have_no_corners() -> None:
    found = find_corners(np.zeros((0, 64, 64), np.uint8), np.zeros((0, 4)))
    assert len(found) == 0 and found[:].shape == (0, 64, 64)


def test_pictures_with_a_border_are_left_alone() -> None:
    """A wedge of the border's colour can be deeper than the border; filling it would smear what it frames."""
    framed = np.full((2, 64, 64), 250, np.uint8)
    framed[:, 5:59, 5:59] = grey([scene(1)])[:, 5:59, 5:59]
    rims = np.zeros((2, 4))
    rims[1] = 5 / 64
    found = find_corners(framed, rims)
    assert found.wedges[0].any() and not found.wedges[1].any()
    assert (found[:][1] == framed[1]).all()
