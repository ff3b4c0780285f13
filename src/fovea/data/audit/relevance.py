"""Which labels are likely wrong where an image may have several: each label is judged by itself (binary relevance).

As in `confident`, each image is judged by all others and never by itself: by a ridge regression on each label, left out
in closed form, and by the labels of the nearest images; a logistic curve for each label turns the two into a
probability. An image stands where its worst label stands.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit

from fovea.data.audit.confident import (
    LEAST_IMAGES,
    NEIGHBOURS,
    Suspects,
    by_image,
    confident_joint,
    cut,
    means_of,
    noise_of,
    plant,
    precision_by,
    units_of,
)
from fovea.data.audit.neighbours import Near, nearest
from fovea.data.audit.trust import Skill, interval, surest_disagreement

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # in units of the mean squared length of a feature vector
_SHARPNESS = 0.07  # cosine over which a neighbour's vote fades
_CHUNK = 8_192


def label_suspects(
    features: np.ndarray, targets: np.ndarray, *, copies: np.ndarray | None = None, seed: int = 0
) -> Suspects:
    """Rank the labels of images with several labels each; `suggested` is the label that is missing or too much.

    Args:
        features: (N, F).
        targets: 1 where an image has a label (N, L).
        copies: number of the group of copies of an image, -1 where it is alone (N,).
        seed: of the labels flipped on purpose.
    """
    unit_of, first = units_of(np.unique(targets, axis=0, return_inverse=True)[1].ravel(), copies)
    points, given = means_of(features, unit_of), targets[first].astype(np.int64)
    near = nearest(points, k=NEIGHBOURS, seed=seed)
    positive = given.sum(axis=0)
    judged = np.flatnonzero((positive >= LEAST_IMAGES) & (len(given) - positive >= LEAST_IMAGES))
    every = np.arange(len(given))
    if not len(judged):
        every = every[:0]
    penalty: float | None = None

    def judge(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return probabilities (U, L), and the margin and place of the worst label of each image (U,)."""
        nonlocal penalty
        found, penalty = _held_out(points, labels, near, penalty=penalty)
        own = np.clip(np.where(labels == 1, found, 1 - found), 1e-12, 1 - 1e-12)
        logits = np.full(labels.shape, np.inf)
        logits[:, judged] = np.log(own[:, judged] / (1 - own[:, judged]))
        return found, logits.min(axis=1), logits.argmin(axis=1)

    probabilities, margin, worst = judge(given)
    joints = [
        confident_joint(np.column_stack([1 - probabilities[:, label], probabilities[:, label]]), given[:, label])
        for label in judged
    ]
    noises = [
        noise_of(joint, np.bincount(given[:, label], minlength=2)) for joint, label in zip(joints, judged, strict=True)
    ]
    skill = _skill(probabilities[:, judged], given[:, judged])
    wanted = min(round(sum(noises) * len(every)), len(every)) if skill.told else 0
    suspected = every[cut(margin[every], wanted)]

    def replant(rng: np.random.Generator, chosen: np.ndarray) -> np.ndarray:
        wrong = np.where(given == 1, 1 - probabilities, probabilities)[np.ix_(chosen, judged)]
        reach = np.sqrt(np.maximum(wrong, 1e-12)).cumsum(axis=1)
        label = judged[(reach < rng.random((len(chosen), 1)) * reach[:, -1:]).sum(axis=1)]
        flipped = given.copy()
        flipped[chosen, label] = 1 - flipped[chosen, label]
        return judge(flipped)[1]

    pool = np.setdiff1d(every, suspected) if len(suspected) else every[:0]
    planted = plant(replant, pool=pool, count=len(every), seed=seed)
    wrong = skill.noise * len(every) * len(judged)
    precision, recall = precision_by(planted, margin[every], len(suspected), wrong=wrong)
    return Suspects(
        *by_image(unit_of, every, margin, worst, suspected),
        precision=precision,
        recall=recall,
        joint_noise=float(np.mean(noises)) if noises else 0.0,
        unjudged=np.setdiff1d(np.flatnonzero(positive), judged),
        probabilities=probabilities[unit_of],
        skill=replace(skill, untold=judged[skill.untold]),
    )


def _skill(probabilities: np.ndarray, given: np.ndarray) -> Skill:
    """Compare probabilities with labels, each with its absence (N, L); `guessing` is each one's commoner answer."""
    count, labels = given.shape
    right = (probabilities > 0.5) == (given == 1)
    guessing = np.maximum(given.sum(axis=0), count - given.sum(axis=0))
    low = interval(right.sum(axis=0), np.full(labels, count))[0]
    return Skill(
        accuracy=float(right.sum() / max(1, given.size)),
        interval=interval(int(right.sum()), given.size),
        guessing=float(guessing.sum() / max(1, given.size)),
        noise=surest_disagreement(np.abs(probabilities - 0.5).ravel(), ~right.ravel()),
        untold=np.flatnonzero(low * count <= guessing),
    )


def _held_out(
    features: np.ndarray, targets: np.ndarray, near: Near, *, penalty: float | None
) -> tuple[np.ndarray, float]:
    """Return (the probability of each label by all other images (N, L), the penalty used)."""
    scores, penalty = _ridge(features, targets.astype(np.float32), penalty)
    votes = np.full(targets.shape, 0.5)
    if near.rows.shape[1]:
        weights = np.exp((near.cosines - near.cosines[:, :1]) / _SHARPNESS)
        weights /= weights.sum(axis=1, keepdims=True)
        votes = np.einsum("nk,nkl->nl", weights, targets[near.rows])
    found = np.empty(targets.shape)
    for label in range(targets.shape[1]):
        seen = np.column_stack([scores[:, label] - 0.5, votes[:, label] - 0.5, np.ones(len(scores))])
        found[:, label] = expit(seen @ _logistic(seen, targets[:, label]))
    return found, penalty


def _ridge(features: np.ndarray, targets: np.ndarray, penalty: float | None) -> tuple[np.ndarray, float]:
    """Return (left-out predictions (N, L), the penalty with the least squared error of them, unless one is given).

    The prediction without an image follows from the one with it: y - (y - f) / (1 - h), h its leverage (PRESS).
    """
    centre = features.mean(axis=0)
    shares = targets.mean(axis=0)
    width = features.shape[1]
    gram, cross = np.zeros((width, width), np.float32), np.zeros((width, targets.shape[1]), np.float32)
    for start in range(0, len(features), _CHUNK):
        part = features[start : start + _CHUNK] - centre
        gram += part.T @ part
        cross += part.T @ (targets[start : start + _CHUNK] - shares)
    values, axes = np.linalg.eigh(gram)
    values = np.maximum(values, 0)
    cross = axes.T @ cross
    unit = max(float(values.sum()) / max(1, len(features)), 1e-12)

    def left_out(penalty: float) -> np.ndarray:
        shrunk = 1 / (values + penalty * unit)
        out = np.empty(targets.shape, np.float32)
        for start in range(0, len(features), _CHUNK):
            points = (features[start : start + _CHUNK] - centre) @ axes
            leverage = np.square(points) @ shrunk + 1 / len(features)
            fitted = points @ (shrunk[:, None] * cross) + shares
            own = targets[start : start + _CHUNK]
            out[start : start + _CHUNK] = own - (own - fitted) / np.maximum(1 - leverage, 1e-3)[:, None]
        return out

    if penalty is not None:
        return left_out(penalty), penalty
    errors = [(float(np.square(left_out(penalty) - targets).mean()), penalty) for penalty in _PENALTIES]
    best = min(errors)[1]
    return left_out(best), best


def _logistic(seen: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the weights (D,) of a logistic regression with a weak penalty, by Newton's method."""
    weights = np.zeros(seen.shape[1])
    ridge = 0.1 * np.eye(seen.shape[1])
    for _ in range(25):
        probability = expit(seen @ weights)
        slope = seen.T @ (targets - probability) - ridge @ weights
        bend = (seen * (probability * (1 - probability))[:, None]).T @ seen + ridge
        step = np.linalg.solve(bend, slope)
        weights += step / max(1.0, float(np.abs(step).max()) / 5)
        if np.abs(step).max() < 1e-6:
            break
    return weights
