"""Refusing arrays that cannot be judged, with a message that says what came and what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def check_probabilities(probabilities: Array, classes: Sequence[str]) -> Array:
    """Return (N, C) probabilities as float64, or raise a ValueError."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes):
        raise ValueError(f"probabilities have shape {probabilities.shape}, expected (N, {len(classes)})")
    if len(probabilities) == 0:
        raise ValueError("there are no predictions to judge: probabilities have no rows")
    bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(bad):
        raise ValueError(
            f"probabilities of {len(bad)} of {len(probabilities)} images are NaN or infinite"
            f" (first: row {bad[0]}); the network's weights or inputs are broken"
        )
    low, high = float(probabilities.min()), float(probabilities.max())
    if low < 0 or high > 1 + 1e-6:
        raise ValueError(f"probabilities run from {low:.4g} to {high:.4g}, expected 0 to 1; pass no logits")
    return probabilities


def check_labels(targets: Array, probabilities: Array) -> Array:
    """Return (N,) class ids as int64, or raise a ValueError; also checks that rows of probabilities sum to 1."""
    targets = np.asarray(targets)
    count, width = probabilities.shape
    if targets.shape != (count,):
        raise ValueError(f"targets have shape {targets.shape}, expected ({count},): one class id for each row")
    if not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(f"targets are {targets.dtype}, expected whole class ids from 0 to {width - 1}")
    if targets.min() < 0 or targets.max() >= width:
        raise ValueError(f"targets run from {targets.min()} to {targets.max()}, expected 0 to {width - 1}")
    sums = probabilities.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > 1e-3:
        raise ValueError(f"probabilities of row {worst} sum to {sums[worst]:.4f}, expected 1; pass softmax outputs")
    return targets.astype(np.int64)


def check_label_sets(targets: Array, probabilities: Array) -> Array:
    """Return (N, C) zeros and ones as int64, or raise a ValueError."""
    targets = np.asarray(targets)
    if targets.shape != probabilities.shape:
        raise ValueError(f"targets have shape {targets.shape}, expected {probabilities.shape}: zeros and ones")
    if not np.isin(targets, (0, 1)).all():
        raise ValueError("targets hold values other than 0 and 1; each column says whether an image has that label")
    return targets.astype(np.int64)
