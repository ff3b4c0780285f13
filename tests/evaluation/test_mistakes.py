"""Which mistakes are shown, and the small pictures of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fovea.evaluation.mistakes import confident_errors, confused_pairs
from fovea.evaluation.thumbnails import thumbnail

PROBABILITIES = np.array(
    [
        [0.1, 0.8, 0.1],
        [0.1, 0.9, 0.0],
        [0.2, 0.2, 0.6],
        [0.05, 0.9, 0.05],
        [0.3, 0.7, 0.0],
        [0.99, 0.01, 0.0],
    ]
)
TARGETS = np.array([0, 0, 0, 1, 1, 2])


def test_pairs_come_by_number_then_confidence_with_their_images_surest_first() -> None:
    first, second, third = confused_pairs(PROBABILITIES, TARGETS)
    assert (first.truth, first.predicted, first.wrong, first.right, first.support) == (0, 1, [1, 0], [3, 4], 3)
    assert (second.truth, second.predicted, second.wrong) == (2, 0, [5])
    assert (third.truth, third.predicted) == (0, 2)
    assert len(confused_pairs(PROBABILITIES, TARGETS, limit=1)) == 1


def test_errors_come_surest_first_and_right_answers_never() -> None:
    assert confident_errors(PROBABILITIES, TARGETS) == [5, 1, 0, 2]
    assert confident_errors(PROBABILITIES, TARGETS, limit=2) == [5, 1]
    assert confident_errors(np.eye(3), np.arange(3)) == []
    assert confused_pairs(np.eye(3), np.arange(3)) == []


def test_with_several_labels_an_image_counts_by_its_worst_one() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.99]])
    assert confident_errors(scores, np.array([[1, 1], [0, 0], [0, 1]])) == [0, 1]


def test_a_thumbnail_keeps_the_shape_and_is_small(tmp_path: Path) -> None:
    Image.effect_noise((900, 300), 60).save(tmp_path / "wide ü.png")
    small = thumbnail(tmp_path / "wide ü.png")
    assert small is not None
    image = Image.open(io.BytesIO(small))
    assert (image.format, image.size) == ("JPEG", (128, 43))
    assert len(small) < 10_000


def test_a_file_that_is_gone_has_no_thumbnail(tmp_path: Path) -> None:
    assert thumbnail(tmp_path / "gone.jpg") is None
