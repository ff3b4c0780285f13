"""How sure the numbers are: bootstrap percentile intervals, and Wilson's interval for a single share.

A bootstrap resample of N images only enters the numbers through its counts, so whole resamples are drawn as
multinomial counts over the occupied cells of the confusion matrix: the same distribution as drawing images one by one
(Efron 1979), at a fraction of the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.metrics.averages import fscore, safe_divide

Array = NDArray[Any]

LEVEL = 0.95
_BLOCK_COUNTS = 4_000_000  # counts drawn at once: 32 MB


def wilson(successes: int, trials: int) -> list[float] | None:
    """Return Wilson's 95 % score interval (Wilson 1927) for a share, or None without trials.

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if trials == 0:
        return None
    z = 1.959963984540054
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return [max(0.0, float(centre - half)), min(1.0, float(centre + half))]


def confusion_intervals(
    confusion: Array, *, seed: int, resamples: int, missing: list[dict[str, str]]
) -> dict[str, Any] | None:
    """Return 95 % intervals of accuracy, balanced accuracy and macro F1.

    Args:
        confusion: (C, C) counts, rows are the truth.
        missing: gets an entry when there is no interval to give.

    In each resample, as in the numbers themselves, averages go over the classes that occur in it.
    """
    count = int(confusion.sum())
    if resamples == 0:
        return None
    hits = int(confusion.diagonal().sum())
    if hits in (0, count):
        which = "right" if hits else "wrong"
        why = f"all {count} predictions are {which}, so every resample is the same and says nothing of the spread"
        missing.append({"what": "intervals", "why": why})
        return None
    truth, predicted = np.nonzero(confusion)
    cells = confusion[truth, predicted]
    by_predicted = np.argsort(predicted, kind="stable")
    classes_true, starts_true = np.unique(truth, return_index=True)
    classes_predicted, starts_predicted = np.unique(predicted[by_predicted], return_index=True)
    diagonal = truth == predicted
    generator = np.random.default_rng(seed)
    values: list[Array] = []
    for size in _blocks(resamples, len(cells)):
        drawn = generator.multinomial(count, cells / count, size=size)  # (R, cells)
        support, chosen, right = (np.zeros((size, len(confusion)), dtype=np.int64) for _ in range(3))
        support[:, classes_true] = np.add.reduceat(drawn, starts_true, axis=1)
        chosen[:, classes_predicted] = np.add.reduceat(drawn[:, by_predicted], starts_predicted, axis=1)
        right[:, truth[diagonal]] = drawn[:, diagonal]
        values.append(_numbers(support, chosen, right))
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    return describe(dict(zip(names, np.concatenate(values).T, strict=True)), seed=seed)


def label_set_samples(targets: Array, predicted: Array, exact: Array, *, seed: int, resamples: int) -> dict[str, Array]:
    """Return (R,) resampled accuracy, macro F1 and micro F1 of multi-label predictions.

    Args:
        targets, predicted: (N, C) zeros and ones.
        exact: (N,) whether every label of the image is right.
    """
    count = len(targets)
    tables = [table.astype(np.float32) for table in (targets, predicted, targets & predicted)]
    generator = np.random.default_rng(seed)
    values: list[Array] = []
    for size in _blocks(resamples, count):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float32)  # (R, N)
        support, chosen, right = (drawn @ table for table in tables)  # (R, C); exact below 2^24
        numbers = _numbers(support, chosen, right)
        micro = fscore(right.sum(axis=1), chosen.sum(axis=1), support.sum(axis=1), 1, 0.0)
        values.append(np.stack([drawn @ exact.astype(np.float32) / count, numbers[:, 2], micro], axis=1))
    return dict(zip(("accuracy", "macro_f1", "micro_f1"), np.concatenate(values).T, strict=True))


def describe(samples: dict[str, Array], *, seed: int) -> dict[str, Any]:
    """Turn (R,) resampled values of each number into its interval, with how it was made."""
    tail = (1 - LEVEL) / 2
    ends = {name: np.quantile(values, [tail, 1 - tail]).tolist() for name, values in samples.items()}
    resamples = len(next(iter(samples.values())))
    method = "percentile bootstrap over images"
    return {**ends, "level": LEVEL, "resamples": resamples, "seed": seed, "method": method}


def _blocks(resamples: int, width: int) -> list[int]:
    """Split the resamples so that one block of counts stays within `_BLOCK_COUNTS`."""
    size = max(1, _BLOCK_COUNTS // max(1, width))
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _numbers(support: Array, chosen: Array, right: Array) -> Array:
    """Return (R, 3): accuracy, balanced accuracy and macro F1 of counts (R, C)."""
    present = support > 0
    width = np.maximum(present.sum(axis=1), 1)
    recall = np.where(present, safe_divide(right, support, 0.0), 0).sum(axis=1) / width
    f1 = np.where(present, fscore(right, chosen, support, 1, 0.0), 0).sum(axis=1) / width
    accuracy = safe_divide(right.sum(axis=1), support.sum(axis=1), 0.0)
    return np.stack([accuracy, recall, f1], axis=1)
