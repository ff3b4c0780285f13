"""Curves for plotting: ROC, precision-recall and reliability, thinned so that a page stays small.

The numbers under the curves (AUC, average precision, ECE) are computed in `classification` from all points; only the
points drawn are thinned. Nothing is plotted here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

MAX_POINTS = 200


@dataclass(frozen=True)
class Curve:
    """Points of a curve: `x` and `y` (P,) with P at most `MAX_POINTS`, and the `area` under the unthinned one."""

    x: Floats
    y: Floats
    area: float


def roc(truth: NDArray[np.integer], scores: Floats) -> Curve | None:
    """Return the ROC curve: x is the false positive rate, y the true positive rate.

    Args:
        truth: (N,) zeros and ones.
        scores: (N,) larger means more likely one.

    Returns:
        None where it is not defined, which is where all of `truth` is the same.

    >>> roc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])).area
    0.75
    """
    from sklearn.metrics import auc, roc_curve

    truth = np.asarray(truth)
    if truth.min() == truth.max():
        return None
    x, y, _ = roc_curve(truth, scores)
    return Curve(*_thin(x, y), area=float(auc(x, y)))


def precision_recall(truth: NDArray[np.integer], scores: Floats) -> Curve | None:
    """Return the precision-recall curve: x is recall (rising), y precision; the area is the average precision.

    None where no element of `truth` is one: there is nothing to recall.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth = np.asarray(truth)
    if truth.max() == 0:
        return None
    precision, recall, _ = precision_recall_curve(truth, scores)
    return Curve(*_thin(recall[::-1], precision[::-1]), area=float(average_precision_score(truth, scores)))


def average_curves(truth: NDArray[np.integer], probabilities: Floats) -> dict[str, Curve]:
    """Return the micro- and macro-averaged one-vs-rest curves of a many-class problem.

    Micro pools every (image, class) pair. Macro averages the curves of the classes for which one is defined, at 101
    values of x; precision is interpolated as the best at that recall or beyond (Manning et al. 2008, §8.4). The area
    of a macro curve is the mean of the classes' own areas.

    Args:
        truth: (N, C) zeros and ones.
        probabilities: (N, C).

    Returns:
        Any of "roc_micro", "roc_macro", "pr_micro", "pr_macro" that is defined.
    """
    grid = np.linspace(0, 1, 101)
    curves: dict[str, Curve] = {}
    for name, make in (("roc", roc), ("pr", precision_recall)):
        pooled = make(truth.ravel(), probabilities.ravel())
        if pooled is not None:
            curves[f"{name}_micro"] = pooled
        single = [make(truth[:, index], probabilities[:, index]) for index in range(truth.shape[1])]
        defined = [curve for curve in single if curve is not None]
        if defined:
            at_grid = _tpr_at if name == "roc" else _precision_at
            mean = np.mean([at_grid(grid, curve) for curve in defined], axis=0)
            area = float(np.mean([curve.area for curve in defined]))
            curves[f"{name}_macro"] = Curve(grid, mean, area)
    return curves


def one_vs_rest(truth: NDArray[np.integer], scores: Floats) -> dict[str, float | None]:
    """Return `roc_auc` and `average_precision` of one class against the rest; None where undefined."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    positives = int(np.sum(truth))
    return {
        "roc_auc": float(roc_auc_score(truth, scores)) if 0 < positives < len(truth) else None,
        "average_precision": float(average_precision_score(truth, scores)) if positives else None,
    }


def reliability(
    confidence: Floats, correct: NDArray[np.bool_], *, bins: int = 15
) -> list[dict[str, float | int | None]]:
    """Sort predictions into `bins` equal-width bins of confidence and compare confidence with accuracy in each.

    A bin holds low < confidence <= high, as in Guo et al. 2017, "On Calibration of Modern Neural Networks", §2.

    Args:
        confidence: (N,) the probability given to the predicted class.
        correct: (N,) whether the prediction was right.

    Returns:
        One dict a bin: low, high, count, confidence (mean) and accuracy; the last two are None in an empty bin.

    >>> [bin["count"] for bin in reliability(np.array([0.2, 0.9, 1.0]), np.array([True, False, True]), bins=2)]
    [1, 2]
    """
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.ceil(np.asarray(confidence, dtype=np.float64) * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    sum_confidence = np.bincount(index, weights=confidence, minlength=bins)
    sum_correct = np.bincount(index, weights=np.asarray(correct, dtype=np.float64), minlength=bins)
    return [
        {
            "low": float(edges[k]),
            "high": float(edges[k + 1]),
            "count": int(count[k]),
            "confidence": float(sum_confidence[k] / count[k]) if count[k] else None,
            "accuracy": float(sum_correct[k] / count[k]) if count[k] else None,
        }
        for k in range(bins)
    ]


def calibration_error(bins: list[dict[str, float | int | None]]) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy, weighted by count."""
    total = sum(bin["count"] or 0 for bin in bins)
    gaps = sum((bin["count"] or 0) * abs((bin["accuracy"] or 0) - (bin["confidence"] or 0)) for bin in bins)
    return float(gaps / total)


def _tpr_at(grid: Floats, curve: Curve) -> Floats:
    return np.concatenate([[0.0], np.interp(grid[1:], curve.x, curve.y)])


def _precision_at(grid: Floats, curve: Curve) -> Floats:
    best_beyond = np.maximum.accumulate(curve.y[::-1])[::-1]
    return best_beyond[np.minimum(np.searchsorted(curve.x, grid - 1e-9), len(curve.x) - 1)]


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Keep at most `MAX_POINTS` points, evenly by length along the curve, always with both ends."""
    if len(x) <= MAX_POINTS:
        return x, y
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS)))
    keep = np.unique(np.clip(np.concatenate([[0], keep[1:-1], [len(x) - 1]]), 0, len(x) - 1))
    return x[keep], y[keep]
