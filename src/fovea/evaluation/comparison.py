"""What comes of training variants of one thing on equal terms: how good each is, and which differences are shown.

Differences are taken on the same images after training with the same seeds; their intervals hold all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from fovea.core.wording import counted, percent
from fovea.metrics.bootstrap import LEVEL
from fovea.metrics.paired import PairedDifference, crossed_difference


@dataclass(frozen=True)
class Terms:
    """What all trainings of a comparison had in common.

    Args:
        source: the data.
        split: which images were judged.
        images: how many.
        unread: how many more could not be read any more after one of the trainings.
        asked_seeds: how many seeds were asked for; the budget may have allowed fewer.
        choices: what the first training decided for all, in words.
        folder: where everything lies.
    """

    source: str
    split: str
    images: int
    unread: int
    asked_seeds: int
    choices: tuple[str, ...]
    folder: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A variant after its trainings.

    Args:
        name: what is different about it.
        right: (S, N) whether each image is right after training with each seed.
        epoch_s: seconds of an epoch with its validation, the median; None where none was trained.
        parameters, macs: of the network; macs is None where an operator has no formula.
    """

    name: str
    right: NDArray[Any]
    epoch_s: float | None
    parameters: int | None
    macs: int | None

    @property
    def accuracies(self) -> list[float]:
        """The accuracy after training with each seed."""
        return [float(share) for share in self.right.mean(axis=1)]

    @property
    def accuracy(self) -> float:
        """The mean over seeds."""
        return float(self.right.mean())


@dataclass(frozen=True)
class Comparison:
    """Variants beside the first of them.

    Args:
        trained: the variants, the one that others are held against first.
        against: for each but the first, its difference to the first.
        terms: what they had in common.
    """

    trained: tuple[Trained, ...]
    against: dict[str, PairedDifference]
    terms: Terms

    @property
    def seeds(self) -> int:
        """How many seeds each variant was trained with."""
        return len(self.trained[0].right)

    @property
    def answer(self) -> str:
        """In a sentence for each variant: better, worse, or no difference shown."""
        first = self.trained[0].name
        said = [f"{name}: {_said(found, first)}" for name, found in self.against.items()]
        if self.seeds == 1:
            said.append("one seed says nothing of other trainings: a second one may turn it round (--seeds 5)")
        return "\n".join(said)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the single images as JSON-ready values."""
        variants = [
            {
                "name": one.name,
                "accuracy": one.accuracy,
                "accuracies": one.accuracies,
                "epoch_s": one.epoch_s,
                "parameters": one.parameters,
                "macs": one.macs,
                "against": (found := self.against.get(one.name)) and {**asdict(found), "verdict": found.verdict},
            }
            for one in self.trained
        ]
        return {"baseline": self.trained[0].name, "seeds": self.seeds, "variants": variants, **asdict(self.terms)}


def compared(trained: Sequence[Trained], terms: Terms) -> Comparison:
    """Hold every variant against the first.

    With k variants beside the first, each interval has level 1 - 0.05 / k, so that all hold at once (Bonferroni).
    """
    first, *others = trained
    level = 1 - (1 - LEVEL) / max(1, len(others))
    against = {other.name: crossed_difference(other.right, first.right, level=level) for other in others}
    return Comparison(tuple(trained), against, terms)


def points(found: PairedDifference) -> str:
    """Return a difference with its interval in points of per cent.

    >>> points(PairedDifference(0.021, -0.004, 0.046, 0.95))
    '+2.1 points (-0.4 to +4.6)'
    """
    return f"{100 * found.difference:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def level_in_words(comparison: Comparison) -> str:
    """Say how sure the intervals are."""
    level = percent(LEVEL)
    if len(comparison.against) == 1:
        return f"{level} interval over images" + (" and seeds" if comparison.seeds > 1 else "")
    together = f"{counted(len(comparison.against), 'interval')} that hold all at once with {level}"
    return together + (", over images and seeds" if comparison.seeds > 1 else ", over images")


def _said(found: PairedDifference, first: str) -> str:
    verdict = found.verdict if found.verdict == "no difference shown" else f"{found.verdict} than {first}"
    return f"{verdict}, {points(found)}"
