"""What small pictures of the inputs tell, where a small validation set is seen again and again."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from fovea.doctor.galleries import are_drawings, compare, equal, learnable
from fovea.doctor.record import Gallery


@pytest.mark.parametrize("images", [40, 150])
def test_pictures_that_were_evaluated_several_times_do_not_tell_their_own_labels(images: int) -> None:
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 255, (images, 64, 64), dtype=np.uint8))
    labels = rng.integers(0, 5, images).tolist()
    held = Gallery(pictures * 4, labels * 4, np.repeat([0, 10, 20, 30], images).tolist())
    train = Gallery(
        list(rng.integers(0, 255, (200, 64, 64), dtype=np.uint8)), rng.integers(0, 5, 200).tolist(), [0] * 200
    )
    assert compare(train, held) is None  # their labels are noise


def drawing(angle: float) -> np.ndarray:
    """A line across an empty square, (64, 64)."""
    picture = Image.new("L", (64, 64), 30)
    across, down = 24 * np.cos(angle), 24 * np.sin(angle)
    ImageDraw.Draw(picture).line((32 - across, 32 - down, 32 + across, 32 + down), fill=220, width=5)
    return np.asarray(picture)


def test_drawings_are_told_from_photos() -> None:
    photo = load_sample_images().images[0].mean(axis=2).astype(np.uint8)
    parts = [photo[top : top + 64, left : left + 64] for top in range(120, 340, 64) for left in range(0, 560, 64)]
    assert not are_drawings(Gallery(parts), side_px=64)
    assert are_drawings(Gallery([drawing(angle) for angle in np.linspace(0, 3, 20)]), side_px=64)


def test_equal_drawings_count_unless_there_are_few_different_ones() -> None:
    some, others = ([drawing(angle) for angle in np.linspace(start, start + 0.9, 10)] for start in (0.0, 1.5))
    train = Gallery(some)
    assert equal(train, Gallery([*some[:4], *others]), images=10).sum() == 4
    assert not equal(train, Gallery(others), images=10).any()
    assert equal(Gallery(some * 2), Gallery(some[:4]), images=10).all()  # training pictures that came again
    assert not equal(Gallery(some * 2), Gallery(some[:4]), images=20).any()


@pytest.mark.parametrize("classes", [5, 60])
def test_few_pictures_of_each_of_many_classes_tell_nothing_about_the_labels(classes: int) -> None:
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 255, (300, 64, 64), dtype=np.uint8))
    found = learnable(Gallery(pictures, (np.arange(300) % classes).tolist()))
    assert (found is None) == (classes == 60)
    assert found is None or found.no_better
