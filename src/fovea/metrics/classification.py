"""Every number about a classifier on one split, as one JSON-ready dict.

Two rules hold throughout. A class without images in the split is left out of averages over classes and its own
undefined numbers are None: it never counts as zero. What could not be computed is listed under `not_computed` with the
reason. Nothing is plotted or written here; `multilabel` has the variant for several labels an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.metrics.averages import averages, fscore, mean_areas, ratio, safe_divide
from fovea.metrics.bootstrap import confusion_intervals, wilson
from fovea.metrics.checks import check_labels, check_probabilities
from fovea.metrics.curves import calibration_error, one_vs_rest, reliability

Array = NDArray[Any]


def summarise(
    probabilities: Array,
    targets: Array,
    *,
    classes: Sequence[str],
    top_k: int = 5,
    betas: tuple[float, ...] = (1, 2),
    zero_division: float = 0.0,
    seed: int,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge single-label predictions.

    Args:
        probabilities: (N, C), each row sums to 1.
        targets: (N,) class ids from 0 to C-1.
        classes: the C names.
        top_k: an image counts as right in `top5_accuracy` (named after `top_k`) when its class is among the k most
            probable; k is capped at C and the cap stated under `top_k`.
        betas: an F score is given for each, as `f1`, `f2`, …
        zero_division: the value of a precision, recall or F score whose denominator is zero.
        seed: of the bootstrap.
        resamples: of the bootstrap; 0 leaves the intervals out.

    Returns:
        See docs/reference/metrics.md for every key.

    Raises:
        ValueError: the arrays do not fit each other, or hold NaN or values that are no probabilities.

    >>> result = summarise(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), classes=["cat", "dog"], seed=0)
    >>> result["accuracy"], result["confusion"]
    (0.5, [[1, 0], [1, 0]])
    """
    probabilities = check_probabilities(probabilities, classes)
    targets = check_labels(targets, probabilities)
    count, width = probabilities.shape
    own = probabilities[np.arange(count), targets]
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(targets * width + predicted, minlength=width * width).reshape(width, width)
    support, chosen, right = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    missing: list[dict[str, str]] = []
    correct = predicted == targets
    bins = reliability(probabilities.max(axis=1), correct)
    areas = _areas(probabilities, targets, support)
    means = averages(support, chosen, right, betas=betas, zero_division=zero_division)
    result: dict[str, Any] = {
        "n": count,
        "n_classes": width,
        "accuracy": float(correct.mean()),
        f"top{top_k}_accuracy": float((_rank(probabilities, targets) < top_k).mean()),
        "top_k": min(top_k, width),
        "balanced_accuracy": means["macro"]["recall"],
        **means,
        **_agreement(targets, predicted, missing),
        "log_loss": float(-np.log(np.clip(own, 1e-15, 1)).mean()),
        "brier": float(((probabilities**2).sum(axis=1) + 1 - 2 * own).mean()),
        "brier_definition": "mean over images of the sum over classes of (probability - truth)^2; 0 is best, 2 worst",
        "ece": calibration_error(bins),
        "reliability": bins,
        "roc_auc": mean_areas(areas["roc_auc"], support),
        "average_precision": mean_areas(areas["average_precision"], support),
        "intervals": None,
        "confusion": confusion.tolist(),
        "per_class": _per_class(confusion, classes, areas, betas=betas, zero_division=zero_division),
        "zero_division": zero_division,
        "averaged_over": "classes with images in this split",
        "classes_without_images": [name for name, images in zip(classes, support, strict=True) if images == 0],
    }
    if width == 2:
        result["binary"] = _binary(result["per_class"][1])
    result["intervals"] = confusion_intervals(confusion, seed=seed, resamples=resamples, missing=missing)
    _note_missing(result, missing)
    result["not_computed"] = missing
    return result


def _areas(probabilities: Array, targets: Array, support: Array) -> dict[str, list[float | None]]:
    single = [one_vs_rest(targets == index, probabilities[:, index]) for index in range(len(support))]
    return {name: [values[name] for values in single] for name in ("roc_auc", "average_precision")}


def _agreement(targets: Array, predicted: Array, missing: list[dict[str, str]]) -> dict[str, float | None]:
    from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

    # With one label on either side the coefficients are 0/0; scikit-learn answers NaN or 0, which reads as a result.
    if len(np.unique(targets)) == 1:
        why = "all images are of one class, so agreement beyond chance is undefined"
        missing += [{"what": name, "why": why} for name in ("kappa", "mcc")]
        return {"kappa": None, "mcc": None}
    kappa = float(cohen_kappa_score(targets, predicted))
    if len(np.unique(predicted)) == 1:
        missing.append({"what": "mcc", "why": "every prediction is of one class, so the correlation is undefined"})
        return {"kappa": kappa, "mcc": None}
    return {"kappa": kappa, "mcc": float(matthews_corrcoef(targets, predicted))}


def _rank(probabilities: Array, targets: Array) -> Array:
    """How many classes come before the true one (N,); ties go to the lower id, as argmax does."""
    own = probabilities[np.arange(len(targets)), targets][:, None]
    lower_id = np.arange(probabilities.shape[1]) < targets[:, None]
    return ((probabilities > own) | ((probabilities == own) & lower_id)).sum(axis=1)


def _per_class(
    confusion: Array,
    classes: Sequence[str],
    areas: dict[str, list[float | None]],
    *,
    betas: tuple[float, ...],
    zero_division: float,
) -> list[dict[str, Any]]:
    support, chosen, right = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    precision = safe_divide(right, chosen, zero_division)
    recall = safe_divide(right, support, zero_division)
    scores = {f"f{beta:g}": fscore(right, chosen, support, beta, zero_division) for beta in betas}
    rows = []
    for index, name in enumerate(classes):
        others = confusion[index].copy()
        others[index] = 0
        present = support[index] > 0
        rows.append(
            {
                "class": name,
                "support": int(support[index]),
                "predicted": int(chosen[index]),
                "precision": ratio(precision[index], present or chosen[index] > 0),
                "recall": ratio(recall[index], present),
                "recall_interval": wilson(int(right[index]), int(support[index])),
                **{key: ratio(values[index], present) for key, values in scores.items()},
                "roc_auc": areas["roc_auc"][index],
                "average_precision": areas["average_precision"][index],
                "most_confused_with": classes[int(others.argmax())] if others.any() else None,
                "most_confused_count": int(others.max()),
            }
        )
    return rows


def _binary(positive: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the second class as the positive one, which is how two-class results are usually quoted."""
    kept = {key: value for key, value in positive.items() if not key.startswith("most_confused")}
    return {"positive_class": kept.pop("class"), "threshold": 0.5, **kept}


def _note_missing(result: dict[str, Any], missing: list[dict[str, str]]) -> None:
    if absent := result["classes_without_images"]:
        why = f"{len(absent)} of {result['n_classes']} classes have no images in this split; averages leave them out"
        missing.append({"what": "scores of classes_without_images", "why": why})
    if result["roc_auc"]["macro"] is None:
        missing.append({"what": "roc_auc", "why": "needs images of at least two classes"})
