"""Class probabilities of images by a model that has not seen them: exact leave-one-out, without fitting N models.

Two opinions are averaged. A linear discriminant with a shrunken covariance, whose mean and covariance without the image
follow in closed form (Sherman & Morrison 1950); and the votes of the nearest images. The first knows the classes as a
whole, the second the look-alikes; together they rank wrong labels better than either, and than ridge or logistic
regression. What is tuned - shrinkage, temperature, weights of the votes - minimises the log loss of the left-out
images, so the probabilities are calibrated against the labels as given, wrong ones among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp

from fovea.data.audit.neighbours import Near

SHRINKAGES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7)
_SHARPNESS = (0.02, 0.04, 0.07, 0.15, 0.3)  # cosines over which a neighbour's vote fades
_PRIORS = (0.03, 0.1, 0.3, 1.0)  # weight of the class sizes beside the nearest neighbour's vote of 1
_TUNING_ROWS = 4_000
_NOWHERE = 1e12  # the squared distance to a class without images; not infinite, which cannot be normalised
_CHUNK = 4_096


class Tuned(NamedTuple):
    """What was chosen by the log loss of left-out images."""

    shrinkage: float
    temperature: float
    sharpness: float
    prior: float


def held_out(
    features: np.ndarray, targets: np.ndarray, near: Near, *, classes: int, tuned: Tuned | None = None
) -> tuple[np.ndarray, Tuned]:
    """Return (probabilities (N, C) float32 of each image by all others, what was tuned).

    A class with a single image cannot be judged without it: its image has probability 0 of it.

    Args:
        features: (N, F).
        targets: class positions (N,).
        near: the nearest others of each image.
        classes: C.
        tuned: from an earlier call on the same features; chosen here when None.
    """
    discriminant = _Discriminant.of(features, targets, classes)
    if tuned is None:
        tuned = _tune(discriminant, near)
    probabilities = np.empty((len(features), classes), np.float32)
    for start in range(0, len(features), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(features)))
        linear = log_softmax(discriminant.scores(rows, tuned.shrinkage) / tuned.temperature, axis=1)
        voted = _votes(discriminant, near, rows, tuned.sharpness, tuned.prior)
        probabilities[rows] = (np.exp(linear) + voted) / 2
    return probabilities, tuned


@dataclass(frozen=True)
class _Discriminant:
    """Class means and the scatter within classes, in its own axes."""

    features: np.ndarray  # (N, F)
    targets: np.ndarray  # (N,)
    counts: np.ndarray  # (C,)
    means: np.ndarray  # (C, F)
    axes: np.ndarray  # (F, F)
    scatter: np.ndarray  # (F,) along the axes

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray, classes: int) -> _Discriminant:
        counts = np.bincount(targets, minlength=classes)
        order = np.argsort(targets, kind="stable")
        means = np.zeros((classes, features.shape[1]), np.float32)
        for label, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
            if len(rows):
                means[label] = features[rows].mean(axis=0)
        scatter = np.zeros((features.shape[1],) * 2, np.float32)
        for start in range(0, len(features), _CHUNK):
            part = features[start : start + _CHUNK] - means[targets[start : start + _CHUNK]]
            scatter += part.T @ part
        values, axes = np.linalg.eigh(scatter)
        return cls(features, targets, counts, means, axes, np.maximum(values, 0))

    def scores(self, rows: np.ndarray, shrinkage: float) -> np.ndarray:
        """Return -½ squared Mahalanobis distance (n, C) of these rows to each class, each estimated without the row.

        Leaving x out of class k with n images takes n/(n-1) · r rᵀ from the scatter, r = x - mean, and moves the mean.
        """
        count, width = self.features.shape
        typical = self.scatter.sum() / max(1, min(count, width))
        if typical <= 0:  # all images of a class are the same point
            typical = max(float(np.square(self.means - self.means.mean(axis=0)).sum()), 1e-12)
        scale = np.sqrt(count / (self.scatter + shrinkage / (1 - shrinkage) * typical))
        points = (self.features[rows] @ self.axes) * scale  # (n, F)
        means = (self.means @ self.axes) * scale  # (C, F)
        own, every = self.targets[rows], np.arange(len(rows))
        away = points - means[own]  # r
        size = self.counts[own] / np.maximum(self.counts[own] - 1, 1)  # n/(n-1)
        length = np.square(away).sum(axis=1)
        distance = np.square(points).sum(axis=1)[:, None] + np.square(means).sum(axis=1) - 2 * points @ means.T
        along = (points * away).sum(axis=1)[:, None] - away @ means.T  # (x - mean_k)' A⁻¹ r
        gain = size / np.maximum(count - size * length, 1e-3 * count)
        distance += gain[:, None] * np.square(along)
        distance[every, own] = np.square(size) * (length + gain * np.square(length))
        alone = self.counts[own] < 2
        distance[every[alone], own[alone]] = _NOWHERE
        distance[:, self.counts == 0] = _NOWHERE
        return -0.5 * distance


def _votes(discriminant: _Discriminant, near: Near, rows: np.ndarray, sharpness: float, prior: float) -> np.ndarray:
    """Return the classes' shares of the nearest others' votes (n, C), with the class sizes as a prior."""
    counts = discriminant.counts
    shares = counts / counts.sum()
    votes = np.tile(prior * shares, (len(rows), 1))
    if near.rows.shape[1]:
        cosines = near.cosines[rows]
        weights = np.exp((cosines - cosines[:, :1]) / sharpness)  # the nearest one's vote is 1
        labels = discriminant.targets[near.rows[rows]]
        np.add.at(votes, (np.arange(len(rows))[:, None], labels), weights)
    own = discriminant.targets[rows]
    alone = counts[own] < 2
    votes[alone, own[alone]] = 0
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-12)


def _tune(discriminant: _Discriminant, near: Near) -> Tuned:
    """Choose by the mean log loss of left-out images, on a sample where there are many."""
    from scipy.optimize import minimize_scalar  # a second, which audits without features do not need

    targets = discriminant.targets
    rows = np.flatnonzero(discriminant.counts[targets] > 1)
    if not len(rows):
        return Tuned(SHRINKAGES[-1], 1.0, _SHARPNESS[2], _PRIORS[-1])
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:_TUNING_ROWS])
    own, every = targets[rows], np.arange(len(rows))

    def linear(shrinkage: float) -> tuple[float, float]:
        scores = discriminant.scores(rows, shrinkage)
        given = scores[every, own]

        def loss(log_temperature: float) -> float:
            temperature = np.exp(log_temperature)
            return float((logsumexp(scores / temperature, axis=1) - given / temperature).mean())

        found = minimize_scalar(loss, bounds=(-3, 12), method="bounded", options={"xatol": 0.02})
        return float(found.fun), float(np.exp(found.x))

    def voted(sharpness: float, prior: float) -> float:
        votes = _votes(discriminant, near, rows, sharpness, prior)
        return float(-np.log(np.maximum(votes[every, own], 1e-12)).mean())

    tried = [(*linear(shrinkage), shrinkage) for shrinkage in SHRINKAGES]
    _, temperature, shrinkage = min(tried)
    _, sharpness, prior = min((voted(width, weight), width, weight) for width in _SHARPNESS for weight in _PRIORS)
    return Tuned(shrinkage, temperature, sharpness, prior)
