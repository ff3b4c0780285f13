"""How near other images are in the space of features: the nearest ones, and each class's; in bounded memory.

Up to so many images are searched; of more, a random sample, so that the cost grows in step with their number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_OF_CLASSES = 10_000
_DIMENSIONS = 128  # that features are reduced to where there are many images
_FEW = 4_000  # up to so many images keep all dimensions
_CHUNK = 512


class Near(NamedTuple):
    """Row numbers (N, k) of the nearest others, nearest first, and the cosine of the angle to each (N, k)."""

    rows: np.ndarray
    cosines: np.ndarray


def nearest(features: np.ndarray, *, k: int, seed: int) -> Near:
    """Return the `k` nearest other rows of each row (fewer where there are not so many).

    Args:
        features: (N, F); centred here.
        k: how many.
        seed: of the search where there are many rows.

    >>> nearest(np.array([[0.0, 1], [0.1, 1], [1, 0], [1, 0.1]]), k=1, seed=0).rows.ravel()
    array([1, 0, 3, 2])
    """
    from fovea.data.audit import lookalikes  # which brings in torch

    count = len(features)
    k = min(k, count - 1)
    if k < 1:
        return Near(np.empty((count, 0), np.int64), np.empty((count, 0), np.float32))
    points = _reduced(features)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    units = np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 1e-6)
    rows, cosines = lookalikes.nearest(units, count=k, seed=seed)
    # of very many images a search may find fewer than k: then the nearest one stands in
    return Near(np.where(rows < 0, rows[:, :1], rows), np.where(rows < 0, cosines[:, :1], cosines))


class Distances(NamedTuple):
    """Distances of N points to classes: to their own (N,), to the nearest (N,), and which one that is (N,)."""

    own: np.ndarray
    least: np.ndarray
    nearest: np.ndarray


def class_distances(
    features: np.ndarray, targets: np.ndarray, *, classes: int, k: int, seed: int
) -> tuple[Distances, Distances]:
    """Return distances to classes, once by angle (1 - cosine) and once Euclidean.

    The distance to a class is the mean of those to its k nearest images, the image itself left out; infinite where
    there is none.

    Args:
        features: (N, F); centred here.
        targets: class positions (N,).
        classes: C.
        k: images of a class that count.
        seed: of the sample that is searched where there are many.
    """
    count = len(features)
    points = _reduced(features)
    lengths = np.linalg.norm(points, axis=1)
    references = _alike_many(targets, seed=seed)
    ends = np.searchsorted(targets[references], np.arange(classes + 1))
    searched, spans = np.ascontiguousarray(points[references].T), lengths[references]
    place = np.full(count, -1)
    place[references] = np.arange(len(references))
    found = [Distances(np.empty(count), np.empty(count), np.empty(count, np.int64)) for _ in range(2)]
    for start in range(0, count, _CHUNK):
        part = np.arange(start, min(start + _CHUNK, count))
        every, own = np.arange(len(part)), place[part]
        dots = points[part] @ searched  # (n, R)
        scale = np.maximum(lengths[part, None] * spans, 1e-12)
        squares = np.square(lengths[part])[:, None] + np.square(spans) - 2 * dots
        for kind, away in enumerate((1 - dots / scale, np.sqrt(np.maximum(squares, 0)))):
            away[every[own >= 0], own[own >= 0]] = np.inf
            table = np.full((len(part), classes), np.inf)
            for label in range(classes):
                table[:, label] = _mean_of_least(away[:, ends[label] : ends[label + 1]], k)
            found[kind].own[part] = table[every, targets[part]]
            found[kind].nearest[part] = table.argmin(axis=1)
            found[kind].least[part] = table.min(axis=1)
    return found[0], found[1]


def _mean_of_least(away: np.ndarray, k: int) -> np.ndarray:
    """Return the mean of the k least finite values of each row; infinite where there is none."""
    k = min(k, away.shape[1])
    if k < 1:
        return np.full(len(away), np.inf)
    least = np.partition(away, k - 1, axis=1)[:, :k]
    finite = np.isfinite(least)
    total, many = np.where(finite, least, 0).sum(axis=1), finite.sum(axis=1)
    return np.divide(total, many, out=np.full(len(away), np.inf), where=many > 0)


def _alike_many(targets: np.ndarray, *, seed: int) -> np.ndarray:
    """Return at most MOST_OF_CLASSES row numbers, sorted by class, of each class alike many as far as there are."""
    order = np.random.default_rng(seed).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]
    if len(order) > MOST_OF_CLASSES:
        starts = np.searchsorted(targets[order], targets[order])
        rank = np.arange(len(order)) - starts  # how many of its class come before it
        chosen = np.sort(np.argsort(rank, kind="stable")[:MOST_OF_CLASSES])
        order = order[chosen]
    return order


def _reduced(features: np.ndarray) -> np.ndarray:
    """Return centred rows (N, D): all dimensions, or where there are many rows the main components alone."""
    centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    if len(features) <= _FEW or features.shape[1] <= _DIMENSIONS:
        return (features - centre).astype(np.float32)
    covariance = np.zeros((features.shape[1],) * 2, np.float32)
    for start in range(0, len(features), 8192):
        part = features[start : start + 8192] - centre
        covariance += part.T @ part
    basis = np.linalg.eigh(covariance)[1][:, -_DIMENSIONS:]
    reduced: np.ndarray = features @ basis - centre @ basis
    return reduced
