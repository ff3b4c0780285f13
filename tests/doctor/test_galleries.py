"""What small pictures of the inputs tell, where a small validation set is seen again and again."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.doctor.galleries import compare
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
