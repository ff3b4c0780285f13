"""The linear head on frozen features: a regularised linear classifier, its penalty chosen by cross-validation.

The folds hold whole clusters of look-alikes out: photos of one object from one spot fall into one fold, so the score
speaks of new photos and not of near-copies. (With random folds every penalty looks near-perfect on such data.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

# Penalties are tried from strong to weak, each fit starting from the one before it.
PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
MAX_CV_ROWS = 6_000


@dataclass(frozen=True)
class LinearHead:
    """A fitted head: logits = features @ weight.T + bias.

    Attributes:
        weight: (C, F) float32.
        bias: (C,) float32.
        penalty: the L2 penalty chosen, for features scaled to unit root mean square.
        cv_loss: mean log loss over the held-out folds at that penalty.
        cv_accuracy: accuracy over the held-out folds at that penalty.
        tried: (penalty, cv_loss, cv_accuracy) of each penalty tried.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    penalty: float
    cv_loss: float
    cv_accuracy: float
    tried: tuple[tuple[float, float, float], ...]

    def logits(self, features: np.ndarray) -> torch.Tensor:
        """Return logits (N, C) of features (N, F)."""
        return torch.as_tensor(features, dtype=torch.float32) @ self.weight.T + self.bias


def fit_linear_head(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    classes: int,
    groups: Sequence[str | None] | None = None,
    row_weights: np.ndarray | None = None,
    folds: int = 3,
    seed: int = 0,
    limit_s: float = math.inf,
) -> LinearHead:
    """Fit an L2-penalised softmax (or, multi-label, logistic) classifier by L-BFGS.

    Args:
        features: (N, F).
        targets: class ids (N,) or indicator rows (N, C).
        classes: C.
        groups: rows of one group stay in one fold; look-alikes within a class are found where there are none.
        row_weights: weight of each row in the loss (N,); all one when None.
        folds: of the cross-validation; with fewer rows than can be split, the middle penalty is used.
        seed: of the fold assignment.
        limit_s: seconds after which no further penalty is tried.

    >>> x = np.concatenate([np.random.default_rng(0).normal(m, 1, (20, 4)) for m in (-2, 2)]).astype(np.float32)
    >>> head = fit_linear_head(x, np.repeat([0, 1], 20), classes=2)
    >>> float((head.logits(x).argmax(1).numpy() == np.repeat([0, 1], 20)).mean())
    1.0
    """
    started = time.monotonic()
    scale = float(np.sqrt(np.square(features, dtype=np.float64).mean())) or 1.0
    inputs = torch.as_tensor(features, dtype=torch.float32) / scale
    labels = torch.as_tensor(targets)
    weights = torch.ones(len(inputs)) if row_weights is None else torch.as_tensor(row_weights, dtype=torch.float32)
    tried = _cross_validate(
        inputs, labels, weights, classes, _folds(features, targets, groups, folds, seed), started + limit_s
    )
    best = min(tried, key=lambda row: row[1], default=(1e-3, math.nan, math.nan))
    start = torch.zeros(classes, inputs.shape[1] + 1)
    solution = _solve(inputs, labels, weights, best[0], start, iterations=100)
    return LinearHead(
        weight=solution[:, :-1] / scale,
        bias=solution[:, -1].clone(),
        penalty=best[0],
        cv_loss=best[1],
        cv_accuracy=best[2],
        tried=tuple(tried),
    )


def _cross_validate(
    inputs: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    classes: int,
    fold_of: np.ndarray | None,
    deadline: float,
) -> list[tuple[float, float, float]]:
    """Return (penalty, log loss, accuracy) from strong to weak, ending when two weaker ones in a row were worse."""
    if fold_of is None:
        return []
    keep = np.random.default_rng(0).permutation(len(inputs))[:MAX_CV_ROWS]
    folds = [
        (torch.as_tensor(keep[fold_of[keep] != fold]), torch.as_tensor(keep[fold_of[keep] == fold]))
        for fold in np.unique(fold_of)
    ]
    starts = [torch.zeros(classes, inputs.shape[1] + 1) for _ in folds]
    tried: list[tuple[float, float, float]] = []
    for penalty in PENALTIES:
        losses, hits = [], []
        for number, (inside, outside) in enumerate(folds):
            starts[number] = _solve(
                inputs[inside], labels[inside], weights[inside], penalty, starts[number], iterations=20
            )
            logits = inputs[outside] @ starts[number][:, :-1].T + starts[number][:, -1]
            losses.append(_losses(logits, labels[outside]))
            hits.append(_hits(logits, labels[outside]))
        tried.append((penalty, float(torch.cat(losses).mean()), float(torch.cat(hits).float().mean())))
        if len(tried) > 2 and min(tried[-1][1], tried[-2][1]) > tried[-3][1]:
            break
        if time.monotonic() > deadline:
            break
    return tried


def _solve(
    inputs: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    penalty: float,
    start: torch.Tensor,
    *,
    iterations: int,
) -> torch.Tensor:
    """Minimise the weighted mean loss + penalty / 2 · |W|² from `start`; W is (C, F + 1), the last column the bias."""
    solution = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [solution], max_iter=iterations, history_size=10, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )
    total = weights.sum()

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = torch.addmm(solution[:, -1], inputs, solution[:, :-1].T)
        loss = (_losses(logits, labels) * weights).sum() / total + penalty / 2 * solution[:, :-1].square().sum()
        loss.backward()
        return loss

    step: Callable[..., object] = optimiser.step
    step(closure)
    return solution.detach()


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of each row (N,)."""
    if labels.ndim == 2:
        return functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(1)
    return functional.cross_entropy(logits, labels.long(), reduction="none")


def _hits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return which rows are right (N,); a multi-label row is right when every label is."""
    if labels.ndim == 2:
        return ((logits > 0) == labels.bool()).all(1)
    return logits.argmax(1) == labels


def _folds(
    features: np.ndarray, targets: np.ndarray, groups: Sequence[str | None] | None, folds: int, seed: int
) -> np.ndarray | None:
    """Return the fold of each row (N,), or None when the rows cannot be split."""
    if len(features) < 2 * folds:
        return None
    if groups is not None and any(group is not None for group in groups):
        names = np.array([group if group is not None else f"row {row}" for row, group in enumerate(groups)])
        unique, inverse = np.unique(names, return_inverse=True)
        if len(unique) < folds:
            return None
        fold_of: np.ndarray = np.random.default_rng(seed).permutation(len(unique))[inverse] % folds
        return fold_of
    if targets.ndim == 2:
        return np.random.default_rng(seed).permutation(len(features)) % folds
    fold_of = np.empty(len(features), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        fold_of[rows] = (_clusters(features[rows], folds) + rng.integers(folds)) % folds
    return fold_of


def _clusters(features: np.ndarray, count: int) -> np.ndarray:
    """Return a cluster number below `count` for each row: Ward's method, or halves of the data when it is too large."""
    if len(features) <= count or len(features) > 1500:
        return np.arange(len(features)) * count // len(features)
    from scipy.cluster.hierarchy import fcluster, ward

    return fcluster(ward(features.astype(np.float32)), count, criterion="maxclust") - 1
