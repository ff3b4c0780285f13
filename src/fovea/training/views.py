"""Which view of an image the network gets: input size, crop or whole image, chosen on this data.

Objects that fill the picture want the whole of it; objects in the middle of clutter want a tighter crop; and a larger
input helps a convolutional network trained at a smaller one (Touvron et al. 2019, "Fixing the train-test resolution
discrepancy", §3). The cross-validated loss of a linear head on a sample of training images says which holds here.
Validation images are not used for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fovea.data.preprocess import Preprocess

SAMPLE_PER_CLASS, SAMPLE_LEAST, SAMPLE_MOST = 8, 400, 1500


def candidate_views(base: Preprocess, *, fixed_size: bool, fixed_resize: bool, flexible: bool) -> list[Preprocess]:
    """Return the views worth comparing, the weights' own first.

    Args:
        base: the view that the weights were trained for, with the recipe's choices applied.
        fixed_size: the recipe names the input size.
        fixed_resize: the recipe names crop, squash or pad.
        flexible: the network takes any input size.
    """
    larger = round(base.input_size * 8 / 7 / 32) * 32
    sizes = [base.input_size] + ([larger] if flexible and not fixed_size and larger > base.input_size else [])
    views = []
    for size in sizes:
        sized = replace(base, input_size=size)
        views.append(sized)
        if not fixed_resize and base.resize == "crop":
            views.append(replace(sized, crop_pct=0.75))
    if not fixed_resize and base.resize == "crop":
        views.append(replace(base, resize="squash", crop_pct=1.0))
    return views


def describe_view(view: Preprocess) -> str:
    """Return the view in words: `256 px, centre 75 %`."""
    if view.resize == "crop":
        return f"{view.input_size} px, centre {view.crop_pct:.1%}".replace(".0%", "%")
    whole = "whole image, stretched" if view.resize == "squash" else "whole image, padded"
    return f"{view.input_size} px, {whole}"


def sample_rows(targets: np.ndarray, *, seed: int) -> np.ndarray:
    """Return row numbers of a sample with the same number of images of each class, as far as there are."""
    rng = np.random.default_rng(seed)
    classes = np.unique(targets) if targets.ndim == 1 else np.arange(targets.shape[1])
    size = int(np.clip(SAMPLE_PER_CLASS * len(classes), SAMPLE_LEAST, SAMPLE_MOST))
    order = rng.permutation(len(targets))
    if targets.ndim == 2 or len(targets) <= size:
        return np.sort(order[:size])
    rank = np.empty(len(targets), dtype=np.int64)  # how many of its class come before it
    for label in classes:
        own = order[targets[order] == label]
        rank[own] = np.arange(len(own))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])


def compare_views(
    views: list[Preprocess], judge: Callable[[Preprocess], tuple[float, float]], *, time_left: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Judge each view while there is time; return rows {view, cv_loss, cv_accuracy, preprocess}, the best first.

    Args:
        views: from `candidate_views`.
        judge: cross-validated (log loss, accuracy) of a linear head on the sample seen this way.
        time_left: asked before each view after the first.
    """
    rows = []
    for number, view in enumerate(views):
        if number and not time_left():
            break
        loss, accuracy = judge(view)
        rows.append(
            {
                "view": describe_view(view),
                "cv_loss": round(loss, 4),
                "cv_accuracy": round(accuracy, 4),
                "preprocess": view.as_dict(),
            }
        )
    return sorted(rows, key=lambda row: (row["cv_loss"], -row["cv_accuracy"]))
