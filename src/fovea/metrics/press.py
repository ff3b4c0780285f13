"""PRESS, the predictive residual sum of squares (Allen 1974): how far off each value is when its own row is left out.

For ridge regression it follows from one fit, by the leverages; `press` chooses the penalty by it. For any other way of
predicting, such as a network in k-fold training, it is the sum over predictions that were made without the image:
`judge_values`. Both mean something only where targets are numbers that measure: ages, counts, grades, not codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

# Relative to the mean square of the centred features' singular values, from nearly none to nearly all.
RELATIVE_PENALTIES = tuple(10.0**power for power in range(-8, 4))


@dataclass(frozen=True)
class Press:
    """A ridge regression judged by leaving each row out.

    Attributes:
        penalty: the L2 penalty, the one with the least PRESS of those tried.
        press: sum of the squared residuals of the rows, each predicted without itself.
        r2_predicted: 1 - PRESS / SST with SST about the mean of all targets; None where all targets are equal.
        residuals: (N,) target less prediction, each without its own row.
        leverages: (N,) the diagonal of the hat matrix, intercept included.
        tried: (penalty, PRESS) of each.
    """

    penalty: float
    press: float
    r2_predicted: float | None
    residuals: Array
    leverages: Array
    tried: tuple[tuple[float, float], ...]


def press(features: ArrayLike, targets: ArrayLike, *, penalties: Sequence[float] | None = None) -> Press:
    """Return the leave-one-out residuals of ridge regression without fitting it more than once.

    With the hat matrix H of the fit on all rows, the residual of row i without row i is e_i / (1 - h_ii) (Allen 1974,
    "The Relationship between Variable Selection and Data Augmentation and a Method for Prediction"; for ridge Golub,
    Heath and Wahba 1979, section 2). The intercept is not penalised. One singular value decomposition serves every
    penalty: O(N F min(N, F)).

    Args:
        features: (N, F), such as frozen features of images.
        targets: (N,) numbers.
        penalties: what to choose from, each 0 or above, added to the squared singular values of the centred features;
            twelve powers of ten about their mean when None.

    Raises:
        ValueError: shapes that do not fit, fewer than 3 rows, values that are not finite, or no penalty at which every
            row can be left out (a leverage of 1: the fit without the row is not determined).

    >>> found = press([[1.0], [2.0], [3.0], [4.0]], [1.0, 2.0, 2.0, 4.0], penalties=[0])
    >>> round(found.press, 4), round(found.r2_predicted, 4)
    (2.9705, 0.3746)
    """
    inputs, values = np.asarray(features, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    _check(inputs, values)
    centred, mean = inputs - inputs.mean(axis=0), values.mean()
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)  # (N, K), (K,)
    known = singular > singular.max(initial=0.0) * max(inputs.shape) * np.finfo(np.float64).eps
    left, squares = left[:, known], np.square(singular[known])
    if penalties is None:
        scale = float(squares.mean()) if len(squares) else 1.0
        penalties = [scale * relative for relative in RELATIVE_PENALTIES]
    projected = left.T @ (values - mean)
    best: tuple[float, float, Array, Array] | None = None
    tried = []
    for penalty in penalties:
        if not (penalty >= 0 and math.isfinite(penalty)):
            raise ValueError(f"a penalty is {penalty}; expected finite numbers from 0 on")
        shrink = squares / (squares + penalty)
        leverages = 1 / len(values) + np.square(left) @ shrink
        if (1 - leverages).min() < 1e-10:
            continue
        residuals = (values - mean - left @ (shrink * projected)) / (1 - leverages)
        total = float(np.square(residuals).sum())
        tried.append((float(penalty), total))
        if best is None or total < best[1]:
            best = (float(penalty), total, residuals, leverages)
    if best is None:
        raise ValueError(
            f"a row of the {len(values)} cannot be left out at any penalty: {inputs.shape[1]} features determine it; "
            "pass larger penalties"
        )
    penalty, total, residuals, leverages = best
    return Press(penalty, total, _r2(total, values), residuals, leverages, tuple(tried))


def class_values(classes: Sequence[str]) -> Array | None:
    """Return the numbers (C,) that the class names are, or None unless every one is a finite number.

    >>> class_values(["10", "2.5", "-1"]).tolist()
    [10.0, 2.5, -1.0]
    >>> class_values(["10", "old"]) is None
    True
    """
    try:
        values = np.array([float(name.replace("_", "?")) for name in classes])  # float("1_0") is 10, a name is not
    except ValueError:
        return None
    return values if len(values) and np.isfinite(values).all() else None


def judge_values(probabilities: ArrayLike, targets: ArrayLike, values: ArrayLike) -> dict[str, float | None]:
    """Judge predictions of classes that are numbers by the value they expect: the sum over classes of p · value.

    Where the predictions were made without the image, as those of k-fold training are, `press` is the PRESS of the
    whole procedure, choices and all.

    Args:
        probabilities: (N, C), each row sums to 1.
        targets: (N,) class ids.
        values: (C,) the number that each class stands for.

    Returns:
        `press`; `r2_predicted`, None where all images have one value; `mae`, the mean distance between expected and
        true value.

    >>> judge_values([[1, 0], [0.5, 0.5]], [0, 1], [10, 20])
    {'press': 25.0, 'r2_predicted': 0.5, 'mae': 2.5}
    """
    numbers = np.asarray(values, dtype=np.float64)
    true = numbers[np.asarray(targets)]
    errors = true - np.asarray(probabilities, dtype=np.float64) @ numbers
    total = float(np.square(errors).sum())
    return {"press": total, "r2_predicted": _r2(total, true), "mae": float(np.abs(errors).mean())}


def _r2(total: float, values: Array) -> float | None:
    spread = float(np.square(values - values.mean()).sum())
    return 1 - total / spread if spread > 0 else None


def _check(inputs: Array, values: Array) -> None:
    if inputs.ndim != 2 or values.shape != inputs.shape[:1]:
        raise ValueError(f"features are {inputs.shape} and targets {values.shape}; expected (N, F) and (N,)")
    if len(values) < 3:
        raise ValueError(f"there are {len(values)} rows; leaving one out of a fit needs at least 3")
    if not (np.isfinite(inputs).all() and np.isfinite(values).all()):
        raise ValueError("features or targets hold values that are not finite; leave those rows out")
