"""Every number about a classifier that may give an image several labels, or none, as one JSON-ready dict.

The same two rules as in `classification`: a label that no image has is left out of averages, and what could not be
computed is listed with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.metrics.averages import averages, fscore, mean_areas, ratio, safe_divide
from fovea.metrics.bootstrap import describe, label_set_samples, wilson
from fovea.metrics.checks import check_label_sets, check_probabilities
from fovea.metrics.curves import one_vs_rest

Array = NDArray[Any]


def summarise_multilabel(
    probabilities: Array,
    targets: Array,
    *,
    classes: Sequence[str],
    threshold: float = 0.5,
    betas: tuple[float, ...] = (1, 2),
    zero_division: float = 0.0,
    seed: int,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge multi-label predictions.

    Args:
        probabilities: (N, C), each label on its own from 0 to 1.
        targets: (N, C) zeros and ones.
        classes: the C label names.
        threshold: a label is predicted where its probability is at least this.
        betas: an F score is given for each, as `f1`, `f2`, …
        zero_division: the value of a precision, recall or F score whose denominator is zero.
        seed: of the bootstrap.
        resamples: of the bootstrap; 0 leaves the intervals out.

    Returns:
        `accuracy` is subset accuracy: every label of an image right. See docs/reference/metrics.md.

    Raises:
        ValueError: the arrays do not fit each other, or hold NaN or values that are no probabilities.

    >>> result = summarise_multilabel(np.array([[0.9, 0.8], [0.2, 0.7]]), np.array([[1, 0], [0, 1]]),
    ...                               classes=["cat", "dog"], seed=0)
    >>> result["accuracy"], result["hamming_loss"]
    (0.5, 0.25)
    """
    probabilities = check_probabilities(probabilities, classes)
    targets = check_label_sets(targets, probabilities)
    predicted = (probabilities >= threshold).astype(np.int64)
    support, chosen, right = targets.sum(axis=0), predicted.sum(axis=0), (targets & predicted).sum(axis=0)
    areas = [one_vs_rest(targets[:, index], probabilities[:, index]) for index in range(len(classes))]
    exact = (predicted == targets).all(axis=1)
    clipped = np.clip(probabilities, 1e-15, 1 - 1e-15)
    result: dict[str, Any] = {
        "n": len(targets),
        "n_classes": len(classes),
        "multilabel": True,
        "threshold": threshold,
        "accuracy": float(exact.mean()),
        "accuracy_definition": "share of images whose labels are all right (subset accuracy)",
        "hamming_loss": float((predicted != targets).mean()),
        **averages(support, chosen, right, betas=betas, zero_division=zero_division),
        "log_loss": float(-np.where(targets, np.log(clipped), np.log1p(-clipped)).mean()),
        "brier": float(((probabilities - targets) ** 2).mean()),
        "brier_definition": "mean over images and labels of (probability - truth)^2; 0 is best, 1 worst",
        "roc_auc": mean_areas([area["roc_auc"] for area in areas], support),
        "average_precision": mean_areas([area["average_precision"] for area in areas], support),
    }
    result["map"] = result["average_precision"]["macro"]
    result |= {
        "intervals": _intervals(targets, predicted, exact, seed=seed, resamples=resamples),
        "per_class": _per_label(support, chosen, right, classes, areas, betas=betas, zero_division=zero_division),
        "zero_division": zero_division,
        "averaged_over": "labels that at least one image in this split has",
        "classes_without_images": [name for name, images in zip(classes, support, strict=True) if images == 0],
    }
    result["not_computed"] = _missing(result)
    return result


def _per_label(
    support: Array,
    chosen: Array,
    right: Array,
    classes: Sequence[str],
    areas: list[dict[str, float | None]],
    *,
    betas: tuple[float, ...],
    zero_division: float,
) -> list[dict[str, Any]]:
    precision, recall = safe_divide(right, chosen, zero_division), safe_divide(right, support, zero_division)
    scores = {f"f{beta:g}": fscore(right, chosen, support, beta, zero_division) for beta in betas}
    return [
        {
            "class": name,
            "support": int(support[index]),
            "predicted": int(chosen[index]),
            "precision": ratio(precision[index], bool(support[index] or chosen[index])),
            "recall": ratio(recall[index], bool(support[index])),
            "recall_interval": wilson(int(right[index]), int(support[index])),
            **{key: ratio(values[index], bool(support[index])) for key, values in scores.items()},
            **areas[index],
        }
        for index, name in enumerate(classes)
    ]


def _intervals(targets: Array, predicted: Array, exact: Array, *, seed: int, resamples: int) -> dict[str, Any] | None:
    if resamples == 0 or len(targets) == 1:
        return None
    return describe(label_set_samples(targets, predicted, exact, seed=seed, resamples=resamples), seed=seed)


def _missing(result: dict[str, Any]) -> list[dict[str, str]]:
    missing = []
    if absent := result["classes_without_images"]:
        why = f"{len(absent)} of {result['n_classes']} labels occur on no image of this split; averages leave them out"
        missing.append({"what": "scores of classes_without_images", "why": why})
    if result["roc_auc"]["macro"] is None:
        missing.append({"what": "roc_auc", "why": "needs a label that some images have and others have not"})
    if result["n"] == 1:
        missing.append({"what": "intervals", "why": "one image says nothing of the spread"})
    return missing
