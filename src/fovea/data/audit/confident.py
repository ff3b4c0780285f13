"""Which labels are likely wrong: confident learning on held-out probabilities, a ranking, and how far to trust it.

After Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, sections
3.1 and 3.2. Its confident joint says how many labels are wrong; which ones, the margin says: log probability of the
label given less that of the best other class. Taking as many of the worst margins as the joint says finds more than
taking the joint's own entries, at the same precision: of 5 % flipped labels in grocery 99 % against 70 %, where nine of
ten of those taken are flipped.

Copies of one image with the same label count as one image: they may all carry the same wrong label, and must not vouch
for each other. Copies with different labels are evidence against each other and stay apart.

How many of the suspects are right is not to be seen from the probabilities: a picture that is hard to tell looks like a
wrong label. So labels are flipped in a copy of the problem, and the suspects are compared with those: `precision_by`;
and there cannot be more than the surest guesses speak of: `trust`. Where the features cannot tell the classes, nothing
is suspected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fovea.data.audit.heldout import Tuned, held_out
from fovea.data.audit.neighbours import nearest
from fovea.data.audit.trust import Skill, skill_of

LEAST_IMAGES = 3  # a class with fewer is not judged
NEIGHBOURS = 10
_PLANTED_SHARE, _LEAST_PLANTED, _MOST_PLANTED, _MOST_ROUNDS = 0.03, 30, 2_000, 5
_DEPTHS = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


@dataclass(frozen=True)
class Suspects:
    """Labels in the order of suspicion; the arrays have one entry for each image that was judged (M).

    Attributes:
        rows: row numbers, the most suspicious first.
        scores: 0 to 1, falling; 0.5 is where another label is as likely as the one given.
        suggested: position of the class that fits best besides the one given; of multi-label data, of the label that
            is missing or too much.
        suspected: how many of them stand out; none where `skill` says that the classes cannot be told.
        precision: estimated share of wrong labels among those; None where it could not be estimated.
        recall: share of the labels flipped on purpose that came as far; None likewise.
        joint_noise: share of wrong labels by the confident joint; hard images count in it.
        unjudged: classes with too few images to be judged.
        probabilities: held out, (N, C); rows of copies are equal.
        skill: how well the features tell the classes; for multi-label data, each label from its absence.
    """

    rows: np.ndarray
    scores: np.ndarray
    suggested: np.ndarray
    suspected: int
    precision: float | None
    recall: float | None
    joint_noise: float
    unjudged: np.ndarray
    probabilities: np.ndarray
    skill: Skill

    @property
    def noise(self) -> float | None:
        """Estimated share of wrong labels; None where the features cannot tell the classes."""
        if not self.skill.told:
            return None
        return self.joint_noise * (1.0 if self.precision is None else self.precision)


def suspects(
    features: np.ndarray, targets: np.ndarray, *, classes: int, copies: np.ndarray | None = None, seed: int = 0
) -> Suspects:
    """Rank the labels of images with one label each.

    Args:
        features: (N, F).
        targets: class positions (N,).
        classes: C.
        copies: number of the group of copies of an image, -1 where it is alone (N,).
        seed: of the labels flipped on purpose.

    >>> rng = np.random.default_rng(0)
    >>> targets = np.repeat([0, 1, 2], 30)
    >>> features = np.eye(3)[targets] * 8 + rng.normal(size=(90, 3))
    >>> targets[4] = 2  # one wrong label
    >>> found = suspects(features, targets, classes=3)
    >>> int(found.rows[0]), int(found.suggested[0])
    (4, 0)
    """
    unit_of, first = units_of(targets, copies)
    points, labels = means_of(features, unit_of), targets[first]
    near = nearest(points, k=NEIGHBOURS, seed=seed)
    judged = np.bincount(labels, minlength=classes) >= LEAST_IMAGES
    tuned: Tuned | None = None

    def judge(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal tuned
        found, tuned = held_out(points, given, near, classes=classes, tuned=tuned)
        return found, margins(found, given)[0]

    probabilities, margin = judge(labels)
    ranked = np.flatnonzero(judged[labels])
    joint = confident_joint(probabilities[ranked], labels[ranked])
    joint_noise = noise_of(joint, np.bincount(labels[ranked], minlength=classes))
    skill = skill_of(probabilities[ranked], labels[ranked])
    suspected = ranked[cut(margin[ranked], round(joint_noise * len(ranked)) if skill.told else 0)]

    def replant(rng: np.random.Generator, chosen: np.ndarray) -> np.ndarray:
        odds = np.sqrt(probabilities[chosen]) * judged
        odds[np.arange(len(chosen)), labels[chosen]] = 0
        odds[odds.sum(axis=1) == 0] = 1
        reach = odds.cumsum(axis=1)
        flipped = labels.copy()
        flipped[chosen] = (reach < rng.random((len(chosen), 1)) * reach[:, -1:]).sum(axis=1)
        return judge(flipped)[1]

    pool = np.setdiff1d(ranked, suspected) if judged.sum() > 1 and len(suspected) else ranked[:0]
    planted = plant(replant, pool=pool, count=len(ranked), seed=seed)
    precision, recall = precision_by(planted, margin[ranked], len(suspected), wrong=skill.noise * len(ranked))
    return Suspects(
        *by_image(unit_of, ranked, margin, margins(probabilities, labels)[1], suspected),
        precision=precision,
        recall=recall,
        joint_noise=joint_noise,
        unjudged=np.flatnonzero(~judged & (np.bincount(labels, minlength=classes) > 0)),
        probabilities=probabilities[unit_of],
        skill=skill,
    )


def units_of(targets: np.ndarray, copies: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return (unit of each row (N,), first row of each unit (U,)); copies with the same label are one unit."""
    rows = np.arange(len(targets))
    if copies is None or not (copies >= 0).any():
        return rows, rows
    alone = copies < 0
    key = np.column_stack([np.where(alone, rows, copies), alone, targets])
    _, first, unit_of = np.unique(key, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[unit_of.ravel()], first[order]


def means_of(features: np.ndarray, unit_of: np.ndarray) -> np.ndarray:
    """Return the mean feature vector of each unit (U, F)."""
    order = np.argsort(unit_of, kind="stable")
    counts = np.bincount(unit_of)
    if len(counts) == len(unit_of):
        return features
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    return np.add.reduceat(features[order], starts, axis=0) / counts[:, None].astype(features.dtype)


def margins(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (log p(given) - log p(best other) (N,), that other class (N,))."""
    every = np.arange(len(targets))
    others = probabilities.copy()
    others[every, targets] = -1
    best = others.argmax(axis=1)
    least = 1e-12
    given = np.log(np.maximum(probabilities[every, targets], least))
    return given - np.log(np.maximum(probabilities[every, best], least)), best


def confident_joint(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return counts (C, C): images labelled i that are confidently j.

    An image is confidently j where p_j is at least what images labelled j have on average (the paper's equations 1
    and 2); of several such classes, the most probable. Images that are confidently nothing are not counted.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(targets, minlength=classes)
    own = probabilities[np.arange(len(targets)), targets]
    thresholds = np.full(classes, np.inf)
    np.divide(np.bincount(targets, weights=own, minlength=classes), counts, out=thresholds, where=counts > 0)
    confident = np.where(probabilities >= thresholds * (1 - 1e-6), probabilities, -1.0)  # rounding of the mean
    best = confident.argmax(axis=1)
    sure = confident[np.arange(len(best)), best] >= 0
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (targets[sure], best[sure]), 1)
    return joint


def noise_of(joint: np.ndarray, counts: np.ndarray) -> float:
    """Return the share of wrong labels: the joint, its rows scaled to the class sizes (the paper's equation 3)."""
    rows = joint.sum(axis=1)
    scale = np.divide(counts, rows, out=np.zeros(len(rows)), where=rows > 0)
    total = (rows * scale).sum()
    return float(((rows - np.diag(joint)) * scale).sum() / total) if total else 0.0


def cut(margin: np.ndarray, wanted: int) -> np.ndarray:
    """Return the positions of the `wanted` worst margins, as far as another class is likelier there."""
    order = np.argsort(margin, kind="stable")[:wanted]
    return order[margin[order] < 0]


def plant(
    replant: Callable[[np.random.Generator, np.ndarray], np.ndarray], *, pool: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Flip labels in copies of the problem and return their margins (P,), none where there are too few images.

    Args:
        replant: flips the labels of these units and returns all margins.
        pool: units that may be flipped: the unsuspected ones.
        count: judged units.
        seed: which are flipped.
    """
    rng = np.random.default_rng(seed)
    size = min(max(_PLANTED_SHARE * count, min(_LEAST_PLANTED, count / 20)), _MOST_PLANTED, len(pool))
    if size < 1:
        return np.empty(0)
    found: list[np.ndarray] = []
    while len(found) < _MOST_ROUNDS and sum(map(len, found)) < _LEAST_PLANTED:
        chosen = rng.choice(pool, int(size), replace=False)
        found.append(replant(rng, chosen)[chosen])
    return np.concatenate(found)


def precision_by(
    planted: np.ndarray, margin: np.ndarray, suspected: int, *, wrong: float
) -> tuple[float | None, float | None]:
    """Return (precision of the suspects, recall of the planted labels) by comparing their margins.

    Were all suspects wrong labels, they would lie as deep as the planted ones: half of them below the median of those
    planted labels that come below the cut, and so on at each depth. The least share found at any depth is the estimate;
    it is the usual bound on the proportion in a mixture (Blanchard, Lee & Scott 2010, "Semi-supervised novelty
    detection", section 5), with one imagined hit added so that few suspects say little. Half-way between random and
    plausible classes is where labels are planted; where all true errors are between look-alikes it says too little.

    What is hard to tell looks like a planted label where features are weak, so that this alone says too much. At most
    `wrong` labels are wrong, and the suspects hold about the share of them that they would hold of the planted ones:
    half-way between those that come below the cut and those that another class fits better, since planting makes all
    probabilities less sure.
    """
    if len(planted) < 10 or not suspected:
        return None, None
    worst, planted = np.sort(margin)[:suspected], np.sort(planted)
    reached = int(np.searchsorted(planted, worst[-1], side="right"))
    depths = np.quantile(planted[: max(reached, 5)], _DEPTHS)  # where hardly any come as far, those of the deepest
    deep = np.searchsorted(worst, depths, side="right")
    as_deep = float(np.minimum(1, (deep + 1) / (_DEPTHS * suspected + 1)).min())
    recall = reached / len(planted)
    held = (recall + float((planted < 0).mean())) / 2
    return min(as_deep, held * wrong / suspected), recall


class Ranking(NamedTuple):
    """The first fields of `Suspects`."""

    rows: np.ndarray
    scores: np.ndarray
    suggested: np.ndarray
    suspected: int


def by_image(
    unit_of: np.ndarray, ranked: np.ndarray, margin: np.ndarray, suggested: np.ndarray, suspected: np.ndarray
) -> Ranking:
    """Return what was found of units as a ranking of images; copies stand together.

    Args:
        unit_of: unit of each image (N,).
        ranked: units that were judged.
        margin: of each unit (U,).
        suggested: of each unit (U,).
        suspected: units that are likely wrong.
    """
    place = np.full(len(margin), -1)
    order = ranked[np.argsort(margin[ranked], kind="stable")]
    place[order] = np.arange(len(order))
    rows = np.flatnonzero(place[unit_of] >= 0)
    rows = rows[np.argsort(place[unit_of[rows]], kind="stable")]
    units = unit_of[rows]
    scores = 1 / (1 + np.exp(np.clip(margin[units], -30, 30)))
    return Ranking(rows, scores, suggested[units], int(np.isin(units, suspected).sum()))
