"""Which view of an image the network gets: input size, crop or whole image, chosen on this data.

Objects that fill the picture want the whole of it; objects in the middle of clutter want a tighter crop; and a larger
input helps a convolutional network trained at a smaller one (Touvron et al. 2019, "Fixing the train-test resolution
discrepancy", §3). The cross-validated loss of a linear head on a sample of training images says which holds here.
Validation images are not used for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fovea.data.preprocess import Preprocess

SAMPLE_LEAST, SAMPLE_MOST = 300, 3000


def candidate_views(base: Preprocess, *, fixed_size: bool, fixed_resize: bool, flexible: bool) -> list[Preprocess]:
    """Return the views worth comparing, the weights' own first.

    Args:
        base: the view that the weights were trained for, with the recipe's choices applied.
        fixed_size: the recipe names the input size.
        fixed_resize: the recipe names crop, squash or pad.
        flexible: the network takes any input size.
    """
    larger = round(base.input_size * 8 / 7 / 32) * 32
    views = [base]
    if not fixed_resize and base.resize == "crop":
        views += [replace(base, crop_pct=0.75), replace(base, resize="squash", crop_pct=1.0)]
    if flexible and not fixed_size and larger > base.input_size:
        views += [replace(view, input_size=larger) for view in views]
    return views


def describe_view(view: Preprocess) -> str:
    """Return the view in words: `256 px, centre 75 %`."""
    if view.resize == "crop":
        return f"{view.input_size} px, centre {view.crop_pct:.1%}".replace(".0%", "%")
    whole = "whole image, stretched" if view.resize == "squash" else "whole image, padded"
    return f"{view.input_size} px, {whole}"


def sample_rows(targets: np.ndarray, *, per_class: int, seed: int) -> np.ndarray:
    """Return row numbers of a sample with the same number of images of each class, as far as there are."""
    rng = np.random.default_rng(seed)
    classes = np.unique(targets) if targets.ndim == 1 else np.arange(targets.shape[1])
    size = int(np.clip(per_class * len(classes), SAMPLE_LEAST, SAMPLE_MOST))
    order = rng.permutation(len(targets))
    if targets.ndim == 2 or len(targets) <= size:
        return np.sort(order[:size])
    rank = np.empty(len(targets), dtype=np.int64)  # how many of its class come before it
    for label in classes:
        own = order[targets[order] == label]
        rank[own] = np.arange(len(own))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])


class Judged(NamedTuple):
    """What a sample seen one way says: a linear head's cross-validated scores, and the seconds its features took."""

    loss: float
    accuracy: float
    features_s: float


def compare_views(
    views: list[Preprocess], judge: Callable[[Preprocess], Judged], *, go_on: Callable[[Judged], bool]
) -> list[dict[str, Any]]:
    """Judge views while there is time; return rows {view, cv_loss, cv_accuracy, preprocess}, the best first.

    Args:
        views: from `candidate_views`.
        judge: looks at the sample this way.
        go_on: asked after each view whether there is time for another.
    """
    found: list[tuple[Judged, Preprocess]] = []
    waiting = list(views)
    while waiting:
        view = waiting.pop(0)
        judged = judge(view)
        found = sorted([*found, (judged, view)], key=lambda pair: (pair[0].loss, -pair[0].accuracy))
        if not go_on(judged):
            break
        if len(found) > 1:  # the next one differs from the best so far in size alone
            best = found[0][1]
            waiting.sort(key=lambda other: (other.resize, other.crop_pct) != (best.resize, best.crop_pct))
    return [
        {
            "view": describe_view(view),
            "cv_loss": round(judged.loss, 4),
            "cv_accuracy": round(judged.accuracy, 4),
            "preprocess": view.as_dict(),
        }
        for judged, view in found
    ]
