"""Cross-validation that holds whole units out, and how sure its counts are.

Copies of one image and images of one group answer for each other, so a fold takes all of them or none. What is fitted
is the caller's matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fovea.data.audit.base import Subject


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """Labels to be told: the class of single-label data, or whether one label of multi-label data is there.

    Attributes:
        labels: of all images, (N,) positions in `classes`.
        classes: what they are called; "no kite" and "kite" for the label kite.
        rows: row numbers of the images to judge by, (n,).
        fold: of each of them, (n,).
        units: among them; so many answers are independent.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    rows: np.ndarray
    fold: np.ndarray
    units: int


def tasks(subject: Subject, *, folds: int, limit: int, labels: int, fewest: int) -> list[Task]:
    """Return what can be asked about the labels of a subject: nothing where there is one class only.

    Args:
        folds: into which the images are dealt.
        limit: images to judge by, drawn at random.
        labels: of multi-label data to ask about: those that split the images most evenly.
        fewest: images with and without such a label that it takes.
    """
    rows = sampled(len(subject), limit=limit, seed=subject.seed)
    targets, names = subject.targets, subject.manifest.classes
    asked = [(targets, names)]
    if subject.manifest.multilabel:
        positive = targets.sum(axis=0, dtype=np.int64)
        fewer = np.minimum(positive, len(subject) - positive)
        chosen = [place for place in np.argsort(-fewer, kind="stable")[:labels] if fewer[place] >= fewest]
        asked = [(targets[:, place].astype(np.int64), (f"no {names[place]}", names[place])) for place in chosen]
    units = subject.units[rows]
    return [
        Task(
            labels=column,
            classes=classes,
            rows=rows,
            fold=deal(units, column[rows], folds=folds, seed=subject.seed),
            units=len(np.unique(units)),
        )
        for column, classes in asked
        if len(np.unique(column[rows])) > 1
    ]


def sampled(count: int, *, limit: int, seed: int) -> np.ndarray:
    """Return all row numbers, or `limit` of them drawn at random, in order.

    >>> sampled(3, limit=5, seed=0)
    array([0, 1, 2])
    """
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, count]).choice(count, limit, replace=False))


def deal(units: np.ndarray, labels: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """Deal units to folds like cards, one class after another, so that each fold has its share of each class.

    Args:
        units: number of the unit of each row, (N,).
        labels: class of each row, (N,) integers; a unit counts for the class of one of its rows.
        folds: how many folds, at least 2.

    Returns:
        The fold of each row, (N,), 0 to folds - 1.

    >>> fold = deal(np.array([0, 0, 1, 2, 3]), np.array([5, 5, 5, 6, 6]), folds=2, seed=0)
    >>> bool(fold[0] == fold[1] != fold[2])
    True
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; cross-validation needs at least 2")
    _, first, number = np.unique(units, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng([seed, len(units)]).permutation(len(first)), labels[first]))
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % folds
    return fold[number]


def interval(hits: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson interval of a share (E. B. Wilson, JASA 22, 1927); of nothing, everything is possible.

    >>> [round(end, 2) for end in interval(3, 3)]
    [0.44, 1.0]
    """
    from scipy.stats import binomtest

    if total == 0:
        return 0.0, 1.0
    found = binomtest(hits, total).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)
