"""Signatures: alike for copies, unlike for strangers, and what mirroring and borders do to them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageOps

from fovea.data.audit import copies
from fovea.data.audit.signatures import SIZE, insides, mirrored, signatures

from .pictures import copied, looks_at, photos, scene, stored

NO_RIMS = np.zeros((1, 4), np.float32)


def of(*files: bytes) -> np.ndarray:
    looks, _ = looks_at(files)
    rims = np.stack([looks.column(f"rim_{side}") for side in ("left", "top", "right", "bottom")], axis=1)
    return signatures(looks.grey, rims)


def test_signatures_have_unit_length_whatever_the_picture() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (600, 64, 64)).astype(np.uint8)
    grey[0], grey[1] = 0, 255  # blank: nothing to take a direction from
    found = signatures(grey, np.zeros((600, 4)))
    assert found.shape == (600, SIZE) and found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    # whole chunks or single pictures, in whichever thread: the same to the last digits
    alone = np.concatenate([signatures(grey[row : row + 1], NO_RIMS) for row in (0, 255, 256, 599)])
    assert np.allclose(alone, found[[0, 255, 256, 599]], atol=1e-5)


def test_no_pictures_have_no_signatures() -> None:
    assert signatures(np.zeros((0, 64, 64), np.uint8), np.zeros((0, 4))).shape == (0, SIZE)


@pytest.mark.parametrize("how", ["half", "jpeg 30", "darker", "less contrast", "grey", "noise", "border 10 black"])
def test_a_copy_has_nearly_the_signature_of_its_original(how: str) -> None:
    originals = photos()
    found, again = of(*map(stored, originals)), of(*(copied(image, how) for image in originals))
    cosines = found @ again.T
    assert np.median(cosines.diagonal()) > 0.85
    assert (cosines.argmax(axis=1) == np.arange(len(originals))).all()  # nearer than any other photo


def test_most_strangers_stay_below_the_least_cosine_of_a_candidate() -> None:
    cosines = of(*(stored(scene(seed)) for seed in range(24)))
    cosines = (cosines @ cosines.T)[np.triu_indices(24, 1)]
    assert np.quantile(cosines, 0.9) < copies._LEAST_COSINE


def test_directions_of_a_slope_are_in_the_bin_of_their_angle() -> None:
    brighter_to_the_right = np.broadcast_to(np.arange(64, dtype=np.uint8) * 4, (1, 64, 64))
    brighter_downwards = brighter_to_the_right.transpose(0, 2, 1)
    for picture, direction in ((brighter_to_the_right, 0), (brighter_downwards, 2)):  # of 8 directions, 45° apart
        by_direction = signatures(picture, NO_RIMS).reshape(8, 4, 4)
        assert set(by_direction.argmax(axis=0).ravel().tolist()) == {direction}


def test_the_mirrored_signature_is_that_of_the_mirrored_picture() -> None:
    images = [*photos(), *map(scene, range(5))]
    found, other = of(*map(stored, images)), of(*(stored(ImageOps.mirror(image), "PNG") for image in images))
    assert ((mirrored(found) * other).sum(axis=1) > 0.97).all()
    assert np.array_equal(mirrored(mirrored(found)), found)
    assert mirrored(found[:0]).shape == (0, SIZE)


def test_what_borders_leave_is_stretched_over_the_whole() -> None:
    looks, _ = looks_at([stored(scene(1))])
    picture = looks.grey.astype(np.float32)
    framed = np.full((1, 64, 64), 255, np.uint8)
    framed[:, 8:56, 8:56] = looks.grey[:, 8:56, 8:56]
    inner = insides(framed, np.full((1, 4), 8 / 64, np.float32))
    assert inner.shape == (1, 32, 32) and inner.dtype == np.float32
    assert np.allclose(insides(looks.grey, NO_RIMS), picture.reshape(1, 32, 2, 32, 2).mean(axis=(2, 4)), atol=1e-3)
    middle = picture[0, 8:56, 8:56]  # 48 px become 32: the mean stays, and the rim's white is gone
    assert abs(inner[0].mean() - middle.mean()) < 2
    assert inner[0].max() < middle.max() + 1
