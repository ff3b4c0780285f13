"""Which of two classifiers is better, judged on the same images: the difference of their accuracies, with an interval.

Images that both get right, or both wrong, say nothing; the paired interval is therefore much narrower than two separate
ones. It speaks of other images, not of other seeds or trainings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from fovea.metrics.bootstrap import LEVEL


@dataclass(frozen=True)
class PairedDifference:
    """How much more often one classifier is right than another.

    Attributes:
        difference: share of images right by the one, less that of the other.
        low, high: ends of its interval.
        level: of confidence of the interval.
    """

    difference: float
    low: float
    high: float
    level: float

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where the interval leaves 0 out, else "no difference shown"."""
        if self.low <= 0 <= self.high:
            return "no difference shown"
        return "better" if self.low > 0 else "worse"


def paired_difference(right: ArrayLike, other: ArrayLike, *, level: float = LEVEL) -> PairedDifference:
    """Compare two classifiers by which images (N,) each gets right.

    The interval is Wald's after half an image is added to each cell of the 2 × 2 table (Agresti & Min 2005, "Simple
    improved confidence intervals for comparing matched proportions"); it keeps its level for small N and does not
    collapse where the two never differ.

    Args:
        right, other: (N,) booleans, whether each image is right by the one and by the other.
        level: of confidence.

    Raises:
        ValueError: the two do not fit each other, or hold no image.

    >>> found = paired_difference([True] * 18 + [False] * 2, [True] * 10 + [False] * 10)
    >>> round(found.difference, 2), round(found.low, 3), round(found.high, 3), found.verdict
    (0.4, 0.144, 0.584, 'better')
    """
    one, two = np.asarray(right, dtype=bool), np.asarray(other, dtype=bool)
    if one.ndim != 1 or one.shape != two.shape or not len(one):
        raise ValueError(f"the answers are {one.shape} and {two.shape}; expected two times the same (N,), N at least 1")
    gained, lost, trials = int((one & ~two).sum()), int((two & ~one).sum()), len(one)
    centre = (gained - lost) / (trials + 2)
    spread = math.sqrt(gained + lost + 1 - (gained - lost) ** 2 / (trials + 2)) / (trials + 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * spread
    return PairedDifference((gained - lost) / trials, max(-1.0, centre - half), min(1.0, centre + half), level)
