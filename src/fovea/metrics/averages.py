"""Precision, recall and F scores from counts, per class and averaged, with one stated rule for division by zero.

Works on counts (C,) so that single-label, multi-label and bootstrap use the same arithmetic; leading axes are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def safe_divide(numerator: Array, denominator: Array, zero_division: float) -> Array:
    """Divide elementwise; where the denominator is zero the result is `zero_division`."""
    numerator, denominator = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), float(zero_division))
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


def fscore(right: Array, chosen: Array, support: Array, beta: float, zero_division: float) -> Array:
    """Return F-beta from counts: (1+b²)·TP / (b²·support + chosen) (van Rijsbergen 1979; as scikit-learn).

    >>> float(fscore(np.array(6), np.array(8), np.array(10), 1, 0.0))  # 2·6 / 18
    0.6666666666666666
    """
    square = float(beta) ** 2
    return safe_divide((1 + square) * np.asarray(right), square * np.asarray(support) + chosen, zero_division)


def averages(
    support: Array, chosen: Array, right: Array, *, betas: tuple[float, ...], zero_division: float
) -> dict[str, dict[str, float | None]]:
    """Return macro, micro and weighted precision, recall and F scores.

    Args:
        support: (C,) images of each class.
        chosen: (C,) predictions of each class.
        right: (C,) predictions that were right.

    Macro and weighted go over the classes with images; micro pools every count. None where no class has images.
    """
    present = support > 0
    scores = {
        "precision": safe_divide(right, chosen, zero_division),
        "recall": safe_divide(right, support, zero_division),
        **{f"f{beta:g}": fscore(right, chosen, support, beta, zero_division) for beta in betas},
    }
    pooled = [np.asarray(counts.sum()) for counts in (right, chosen, support)]
    micro = {
        "precision": safe_divide(pooled[0], pooled[1], zero_division),
        "recall": safe_divide(pooled[0], pooled[2], zero_division),
        **{f"f{beta:g}": fscore(pooled[0], pooled[1], pooled[2], beta, zero_division) for beta in betas},
    }
    if not present.any():
        return {name: dict.fromkeys(scores) for name in ("macro", "micro", "weighted")}
    return {
        "macro": {key: float(values[present].mean()) for key, values in scores.items()},
        "micro": {key: float(value) for key, value in micro.items()},
        "weighted": {key: float(np.average(values, weights=support)) for key, values in scores.items()},
    }


def ratio(value: float, defined: bool) -> float | None:
    """Return a number as a float, or None where it says nothing."""
    return float(value) if defined else None


def mean_areas(areas: list[float | None], support: Array) -> dict[str, float | None]:
    """Return the macro and support-weighted mean of areas under curves, over the classes for which one is defined."""
    defined = [(area, weight) for area, weight in zip(areas, support, strict=True) if area is not None and weight]
    if not defined:
        return {"macro": None, "weighted": None}
    values, weights = np.array(defined, dtype=np.float64).T
    return {"macro": float(values.mean()), "weighted": float(np.average(values, weights=weights))}
