"""How right claims about copies are: recall for each transform, precision over pairs, purity of groups.

Pure functions on row numbers; knows nothing of contenders and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from audit_contenders import Claims
from copies import NAMED_FAMILIES, TRANSFORMS, Picture


@dataclass(frozen=True)
class Truth:
    """What each row of a folder shows: arrays of length N. `source` is the row of the original that it is a copy of."""

    origin: np.ndarray
    label: np.ndarray
    source: np.ndarray
    transform: np.ndarray

    @classmethod
    def of(cls, pictures: Sequence[Picture]) -> Truth:
        """Number the pictures in their order."""
        originals = {picture.origin: row for row, picture in enumerate(pictures) if not picture.transform}
        return cls(
            origin=np.array([picture.origin for picture in pictures]),
            label=np.array([picture.label for picture in pictures]),
            source=np.array([originals[picture.origin] for picture in pictures]),
            transform=np.array([picture.transform for picture in pictures]),
        )


@dataclass(frozen=True)
class Pairs:
    """Counts of claimed pairs: all, the right ones, and the wrong ones that join two originals of one class."""

    claimed: int
    right: int
    mates: int

    @property
    def precision(self) -> float:
        """The share of right ones; every other pair is wrong."""
        return self.right / self.claimed if self.claimed else float("nan")

    @property
    def precision_mates_aside(self) -> float:
        """The same without pairs of one class, which may be shots of one shelf from nearly the same spot."""
        counted = self.claimed - self.mates
        return self.right / counted if counted else float("nan")


@dataclass(frozen=True)
class Score:
    """How right one contender was, over pairs as it claimed them or over its groups.

    `found` tells of every copy whether it was joined with its original. `with_original` counts only pairs of which one
    is an original. `purity` is the share of grouped images that belong to the commonest original of their group.
    """

    found: np.ndarray
    pairs: Pairs
    with_original: Pairs
    purity: float

    def recall(self, truth: Truth, family: str | None = None) -> float:
        """Return the share of copies found: of all, of a family, or ("named") of the families that the issue names."""
        families = np.array([TRANSFORMS[name].family if name else "" for name in truth.transform])
        if family is None:
            wanted = families != ""
        else:
            wanted = np.isin(families, NAMED_FAMILIES if family == "named" else [family])
        return float(self.found[wanted].mean()) if wanted.any() else float("nan")

    def by_transform(self, truth: Truth) -> dict[str, float]:
        """Return the share of copies found for each transform, in the order of the transforms."""
        present = [name for name in TRANSFORMS if (truth.transform == name).any()]
        return {name: float(self.found[truth.transform == name].mean()) for name in present}


def pool(several: Sequence[tuple[Score, Truth]]) -> tuple[Score, Truth]:
    """Return the scores of several folders as those of one. The rows of `source` mean nothing any more."""
    scores, truths = zip(*several, strict=True)

    def total(kind: str) -> Pairs:
        counts = [getattr(score, kind) for score in scores]
        return Pairs(*(sum(getattr(count, name) for count in counts) for name in ("claimed", "right", "mates")))

    return (
        Score(
            found=np.concatenate([score.found for score in scores]),
            pairs=total("pairs"),
            with_original=total("with_original"),
            purity=float(np.mean([score.purity for score in scores])),
        ),
        Truth(
            *(np.concatenate([getattr(t, name) for t in truths]) for name in ("origin", "label", "source", "transform"))
        ),
    )


def score_pairs(claims: Claims, truth: Truth) -> Score:
    """Judge pairs as they were claimed; purity is that of the groups which they make."""
    first, second = claims.pairs[:, 0], claims.pairs[:, 1]
    right = truth.origin[first] == truth.origin[second]
    mates = (truth.label[first] == truth.label[second]) & ~right
    original = truth.transform == ""
    touching = original[first] | original[second]
    found = np.zeros(len(truth.origin), bool)
    found[second[right & original[first]]] = True
    found[first[right & original[second]]] = True
    return Score(
        found=found,
        pairs=Pairs(len(right), int(right.sum()), int(mates.sum())),
        with_original=Pairs(int(touching.sum()), int((right & touching).sum()), int((mates & touching).sum())),
        purity=purity(claims.groups, truth),
    )


def score_groups(claims: Claims, truth: Truth) -> Score:
    """Judge groups: every two members of a group count as a claimed pair."""
    group = np.full(len(truth.origin), -1)
    for number, members in enumerate(claims.groups):
        group[members] = number
    original = truth.transform == ""
    totals = np.zeros((2, 3), int)  # over all pairs and over those of two copies: claimed, right, of one class
    for members in claims.groups:
        for row, kept in enumerate((members, members[~original[members]])):
            right = count_pairs(truth.origin[kept])
            totals[row] += (len(kept) * (len(kept) - 1) // 2, right, count_pairs(truth.label[kept]) - right)
    return Score(
        found=(group == group[truth.source]) & (group >= 0),
        pairs=Pairs(*totals[0].tolist()),
        with_original=Pairs(*(totals[0] - totals[1]).tolist()),
        purity=purity(claims.groups, truth),
    )


def count_pairs(values: np.ndarray) -> int:
    """Return how many pairs of equal values there are."""
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def purity(groups: Sequence[np.ndarray], truth: Truth) -> float:
    """Return the share of grouped images that belong to the commonest original of their group."""
    commonest = sum(int(np.unique(truth.origin[members], return_counts=True)[1].max()) for members in groups)
    grouped = sum(len(members) for members in groups)
    return commonest / grouped if grouped else float("nan")
