"""How far features can be trusted to judge labels: do they tell the classes at all, and how many labels can be wrong?

A wrong label and a picture that is hard to tell look alike: the model does not agree with the label. Two observations
part them. Where held-out guesses are hardly better than always guessing the commonest class, disagreement says nothing
of labels. And labels are wrong as often where the model is sure as where it is not (noise that does not depend on the
picture; Liu & Tao 2016, "Classification with Noisy Labels by Importance Reweighting", section 3.3), while hard pictures
are rare where it is sure: so the surest images show how many labels are wrong, at most. Errors that are made on hard
pictures alone are more than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MOST_NOISE = 0.25  # of the labels of the surest images; beyond that the features, not the labels, are to blame
_SUREST, _FEWEST = 1 / 3, 30  # share and number of the surest images, at least
_SIGMAS, _CLEARLY = 1.5, 2.5  # standard deviations; these four were chosen on a sweep of flipped labels
_Z = 1.96  # of 95 % intervals


@dataclass(frozen=True, kw_only=True)
class Skill:
    """How well held-out guesses agree with the labels as given.

    Attributes:
        accuracy: share of labels that are the best guess.
        interval: its 95 % interval.
        guessing: share that always guessing the commonest class gives.
        noise: share of labels that the surest guesses speak against.
        untold: classes whose images are called so no more often than other images are, by 95 % intervals.
    """

    accuracy: float
    interval: tuple[float, float]
    guessing: float
    noise: float
    untold: np.ndarray

    @property
    def told(self) -> bool:
        """Whether the features tell the classes well enough for a disagreement to mean something."""
        return self.interval[0] > self.guessing and self.noise <= MOST_NOISE


def skill_of(probabilities: np.ndarray, targets: np.ndarray) -> Skill:
    """Compare held-out probabilities (N, C) with labels (N,).

    >>> sure = skill_of(np.eye(2)[[0, 1] * 20] * 0.8 + 0.1, np.array([0, 1] * 20))
    >>> sure.accuracy, sure.guessing, sure.told
    (1.0, 0.5, True)
    """
    classes = probabilities.shape[1]
    guess = probabilities.argmax(axis=1)
    counts = np.bincount(targets, minlength=classes)
    called, hit = np.bincount(guess, minlength=classes), np.bincount(targets[guess == targets], minlength=classes)
    others = (called - hit) / np.maximum(len(targets) - counts, 1)  # of the other classes' images, called so
    untold = [label for label in np.flatnonzero(counts) if interval(hit[label], counts[label])[0] <= others[label]]
    best = np.sort(np.log(np.maximum(probabilities, 1e-12)), axis=1)
    sureness = best[:, -1] - best[:, -2] if classes > 1 else best[:, -1]
    right = int(hit.sum())
    return Skill(
        accuracy=right / max(1, len(targets)),
        interval=interval(right, len(targets)),
        guessing=float(counts.max(initial=0) / max(1, len(targets))),
        noise=surest_disagreement(sureness, guess != targets),
        untold=np.array(untold, np.int64),
    )


def surest_disagreement(sureness: np.ndarray, disagrees: np.ndarray) -> float:
    """Return the share of labels that the surest guesses disagree with.

    Of all parts that are surer than the rest, it is the one whose share has the lowest upper end. Where the rest does
    not clearly disagree more often, luck may have chosen the part, and all guesses count.

    Args:
        sureness: of each guess, without regard to the label (N,).
        disagrees: whether the label is another (N,) bool.
    """
    if not len(sureness):
        return 0.0
    order = np.argsort(-sureness, kind="stable")
    hits, taken = np.cumsum(disagrees[order]), np.arange(1, len(order) + 1)
    start = min(max(_FEWEST, math.ceil(_SUREST * len(order))), len(order)) - 1
    upper = np.array(interval(hits[start:], taken[start:], z=_SIGMAS)[1])
    best = start + int(upper.argmin())
    share, whole = float(hits[best] / taken[best]), float(hits[-1] / taken[-1])
    rest = len(order) - int(taken[best])
    if not rest or not share < whole <= MOST_NOISE:
        return share
    more = float(hits[-1] - hits[best]) / rest - share
    clearly = more > _CLEARLY * math.sqrt(whole * (1 - whole) * (1 / taken[best] + 1 / rest))
    return share if clearly else whole


def interval(hits: int | np.ndarray, count: int | np.ndarray, *, z: float = _Z) -> tuple:
    """Return the ends of Wilson's interval of a share, 95 % unless told otherwise; (0, 1) of nothing.

    >>> [round(end, 4) for end in interval(8, 10)]
    [0.4902, 0.9433]
    """
    some = np.maximum(count, 1)
    share = hits / some
    half = z * np.sqrt(share * (1 - share) / some + (z / (2 * some)) ** 2)
    middle, whole = share + z * z / (2 * some), 1 + z * z / some
    nothing = np.equal(count, 0)
    low, high = np.where(nothing, 0.0, (middle - half) / whole), np.where(nothing, 1.0, (middle + half) / whole)
    return (float(low), float(high)) if np.ndim(low) == 0 else (low, high)
