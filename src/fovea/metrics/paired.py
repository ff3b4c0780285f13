"""Which of two classifiers is better, judged on the same images: the difference of their accuracies, with an interval.

Images that both get right, or both wrong, say nothing; the paired interval is therefore much narrower than two separate
ones. `paired_difference` speaks of other images, `crossed_difference` of other images and other trainings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

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


def crossed_difference(right: ArrayLike, other: ArrayLike, *, level: float = LEVEL) -> PairedDifference:
    """Compare two ways of training, each trained with several seeds and judged on the same images.

    Both the images and the trainings are a sample: what differs from one image to the next and what differs from one
    seed to the next both widen the interval. With many images the seeds decide, so that five of them can only show a
    difference that is large beside their own. With one seed it is `paired_difference`, and says nothing of others.

    Source: the analysis of readers and cases of Dorfman, Berbaum & Metz 1992, with the degrees of freedom of Hillis
    2007, "A comparison of denominator degrees of freedom methods for multiple observer ROC analysis". Seeds are the
    readers, of differences. Where nothing varies, the width is that of one image in N + 2, as in `paired_difference`.

    Args:
        right, other: (S, N) booleans, whether each image is right after training with each seed.
        level: of confidence.

    Raises:
        ValueError: the two do not fit each other, or hold no image.

    >>> rng = np.random.default_rng(0)
    >>> found = crossed_difference(rng.random((5, 400)) < 0.8, rng.random((5, 400)) < 0.7)
    >>> round(found.difference, 3), round(found.low, 3), round(found.high, 3), found.verdict
    (0.087, 0.047, 0.128, 'better')
    """
    one, two = np.asarray(right, dtype=bool), np.asarray(other, dtype=bool)
    if one.ndim != 2 or one.shape != two.shape or not one.size:
        raise ValueError(f"the answers are {one.shape} and {two.shape}; expected two times the same (S, N)")
    seeds, images = one.shape
    if seeds == 1:
        return paired_difference(one[0], two[0], level=level)
    differs = one.astype(np.float64) - two  # (S, N)
    mean, by_seed, by_image = float(differs.mean()), differs.mean(axis=1), differs.mean(axis=0)
    seed_square = images * ((by_seed - mean) ** 2).sum() / (seeds - 1)
    image_square = seeds * ((by_image - mean) ** 2).sum() / max(1, images - 1)
    rest = differs - by_seed[:, None] - by_image + mean
    rest_square = (rest**2).sum() / ((seeds - 1) * max(1, images - 1))
    both = seed_square + max(0.0, image_square - rest_square)
    freedom = (seeds - 1) * (both / seed_square) ** 2 if seed_square else math.inf
    spread = max(math.sqrt(both / (seeds * images)), 1 / (images + 2))
    half = spread * float(student_t.ppf((1 + level) / 2, freedom))
    return PairedDifference(mean, max(-1.0, mean - half), min(1.0, mean + half), level)
