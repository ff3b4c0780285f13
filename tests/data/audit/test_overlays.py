"""The first guess: which crop or turn of one picture is the other, and that strangers correlate with no variant."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from fovea.data.audit.overlays import overlay
from fovea.data.audit.signatures import insides

from .pictures import Copy, brighter, contrasted, cropped, looks_at, photos, scene, stored, turned


def small(images: list[Image.Image]) -> np.ndarray:
    looks, _ = looks_at([stored(image) for image in images])
    return insides(looks.grey, np.zeros((len(images), 4), np.float32))


def pairs(count: int) -> np.ndarray:
    return np.stack([np.arange(count)] * 2, axis=1)


IMAGES = [*photos()[1:], *map(scene, range(4))]


@pytest.mark.parametrize(
    ("change", "size", "shift"),
    [
        (lambda image: image, 1.0, (0.0, 0.0)),
        (cropped(0.8), 0.8, (0.0, 0.0)),
        (cropped(0.8, 0, 0), 0.8, (-0.2, -0.2)),
        (cropped(0.8, 1, 0.5), 0.8, (0.2, 0.0)),
        (cropped(0.9, 0, 1), 0.9, (-0.1, 0.1)),
    ],
    ids=["whole", "middle", "upper left", "right", "lower left"],
)
def test_the_crop_is_recognised_in_both_directions(change: Copy, size: float, shift: tuple[float, float]) -> None:
    wholes, parts = small(IMAGES), small([change(image) for image in IMAGES])
    found = overlay(parts, wholes, pairs(len(IMAGES)))
    assert (found.correlation > 0.9).all()
    expected = np.array([[size, 0, shift[0]], [0, size, shift[1]]], np.float32)  # the crop's square lies there
    right = np.isclose(found.maps, expected, atol=1e-4).all(axis=(1, 2))
    assert right.mean() >= 0.9
    back = overlay(wholes, parts, pairs(len(IMAGES)))
    inverse = np.array([[1 / size, 0, -shift[0] / size], [0, 1 / size, -shift[1] / size]], np.float32)
    assert np.isclose(back.maps, inverse, atol=1e-4).all(axis=(1, 2)).mean() >= 0.9
    assert np.allclose(np.sort(back.correlation), np.sort(found.correlation), atol=1e-3)


@pytest.mark.parametrize("degrees", [-8, -4, 4, 8])
def test_the_turn_is_recognised(degrees: int) -> None:
    found = overlay(small([turned(degrees)(image) for image in IMAGES]), small(IMAGES), pairs(len(IMAGES)))
    assert (found.correlation > 0.85).all()
    angles = np.degrees(np.arctan2(found.maps[:, 1, 0], found.maps[:, 0, 0]))
    assert np.median(angles) == pytest.approx(degrees, abs=0.01)
    assert (np.sign(angles) == np.sign(degrees)).mean() >= 0.8


def test_brightness_and_contrast_do_not_matter() -> None:
    changed = small([contrasted(0.7)(brighter(0.8)(image)) for image in IMAGES])
    found = overlay(changed, small(IMAGES), pairs(len(IMAGES)))
    assert (found.correlation > 0.99).all()


def test_strangers_and_mirrored_pictures_correlate_with_no_variant() -> None:
    wholes = small(IMAGES)
    others = np.array([(row, other) for row in range(len(IMAGES)) for other in range(row)])
    assert np.quantile(overlay(wholes, wholes, others).correlation, 0.9) < 0.7
    flipped = small([ImageOps.mirror(image) for image in IMAGES])
    assert np.median(overlay(wholes, flipped, pairs(len(IMAGES))).correlation) < 0.7


def test_blank_pictures_and_no_pairs_are_numbers_too() -> None:
    blank = np.full((2, 32, 32), 128, np.float32)
    found = overlay(blank, blank, np.array([[0, 1]]))
    assert np.isfinite(found.correlation).all() and np.isfinite(found.maps).all()
    none = overlay(blank, blank, np.empty((0, 2), np.int64))
    assert none.correlation.shape == (0,) and none.maps.shape == (0, 2, 3)
