"""Intervals: the counted bootstrap is the ordinary one, Wilson's interval has its textbook values."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.metrics import bootstrap
from fovea.metrics.bootstrap import confusion_intervals, wilson


def test_counts_drawn_at_once_give_the_interval_of_images_drawn_one_by_one() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 4, 300)
    predicted = np.where(generator.random(300) < 0.7, targets, generator.integers(0, 4, 300))
    confusion = np.bincount(targets * 4 + predicted, minlength=16).reshape(4, 4)
    fast = confusion_intervals(confusion, seed=0, resamples=4000, missing=[])
    assert fast is not None
    recalls = []
    for _ in range(1500):
        drawn = generator.integers(0, 300, 300)
        truth, right = targets[drawn], (targets == predicted)[drawn]
        recalls.append(np.mean([right[truth == index].mean() for index in range(4)]))
    assert fast["balanced_accuracy"] == pytest.approx(np.quantile(recalls, [0.025, 0.975]), abs=0.006)


def test_small_blocks_of_resamples_cover_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    confusion = np.array([[8, 2], [3, 7]])
    whole = confusion_intervals(confusion, seed=5, resamples=500, missing=[])
    monkeypatch.setattr(bootstrap, "_BLOCK_COUNTS", 40)
    assert confusion_intervals(confusion, seed=5, resamples=500, missing=[]) == whole


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(8, 10, [0.4902, 0.9433]), (0, 10, [0.0, 0.2775]), (10, 10, [0.7225, 1.0]), (1, 1, [0.2065, 1.0])],
)
def test_wilson(successes: int, trials: int, expected: list[float]) -> None:
    assert wilson(successes, trials) == pytest.approx(expected, abs=1e-4)


def test_wilson_without_trials_is_none() -> None:
    assert wilson(0, 0) is None
