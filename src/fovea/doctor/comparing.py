"""What somebody's own comparison of answers with labels tells: the labels, and whether the answers are the scores'.

Evaluations without a loss and without a DataLoader name their labels only here, in `(scores.argmax(1) == labels)`; and
only here shows what a script makes of its scores. Nothing is changed; what is wrong is for the probes to say.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fovea.doctor.pace import Pace
from fovea.doctor.record import Compared, Place, Record
from fovea.doctor.senses.places import calling_place

_ANYWAY = 100  # comparisons that are read even if that takes more than the share


@dataclass(frozen=True)
class Comparison:
    """Answers and labels of one call of a network, as they were compared.

    Attributes:
        labels: (B,) as they were given.
        right: of B answers.
        of_scores: how many would be right as the scores decide: the highest, or for yes and no above 0, or above 0.5
            where all scores lie between 0 and 1.
        answers: how many different ones there are.
        cut: whether they are yes where a score lies above some value, and no below, or all the same; None where scores
            are no yes and no.
        spread: whether shapes such as (B, 1) and (B,) made B × B results of B.
    """

    labels: Tensor
    right: int
    of_scores: int
    answers: int
    cut: bool | None
    spread: bool


def read_comparison(scores: Tensor, labels: Tensor | None, one: Tensor, other: Tensor) -> Comparison | None:
    """Return what a comparison of two tensors tells of a call of a network, or None where it was of something else.

    Args:
        scores: (B, C), or (B,) or (B, 1) for yes and no.
        labels: (B,) or (B, 1) where they are known.
        one, other: what was compared.

    >>> import torch
    >>> scores = torch.tensor([[0.1, 2.0], [1.0, 0.0], [0.3, 0.4]])
    >>> found = read_comparison(scores, None, scores.argmax(1), torch.tensor([1, 0, 0]))
    >>> found.labels.tolist(), found.right, found.of_scores, found.spread
    ([1, 0, 0], 2, 2, False)
    """
    count = len(scores)
    if one.numel() != count or other.numel() != count or count < 2:
        return None
    said = decisions(scores)
    if said is None:
        return None
    spread = max(one.ndim, other.ndim) > 1 and one.shape != other.shape
    pair = one.detach().flatten(), other.detach().flatten()
    if labels is not None:
        known = labels.detach().flatten()
        if len(known) != count:
            return None
        answers = next((pair[1 - place] for place in (0, 1) if _equal(pair[place], known)), None)
    else:
        place = next((place for place in (0, 1) if _equal(pair[place], said)), None)
        if place is None:  # answers to yes and no may be cut where the scores are not
            place = next((place for place in (0, 1) if _is_cut(scores, pair[place])), None)
        if place is None or not _are_labels(pair[1 - place], scores):
            return None
        answers, known = pair[place], pair[1 - place]
    if answers is None or (spread and _equal(answers, known)):  # labels with each other: which are of one class
        return None
    right = int((answers == known.to(answers.device)).sum())
    of_scores = int((said == known.to(said.device)).sum())
    return Comparison(known, right, of_scores, len(answers.unique()), _is_cut(scores, answers), spread)


class Comparisons:
    """Adds up what comparisons tell, for each line of somebody's code that makes them."""

    def __init__(self, record: Record, pace: Pace) -> None:
        self._record, self._pace = record, pace
        self._lines: dict[tuple[Place, bool], Compared] = {}
        self._read = 0

    def enough(self) -> bool:
        """Whether more of them would take more than the doctor's share of the time."""
        return self._read >= _ANYWAY and not self._pace.has_time()

    def add(self, found: Comparison, scores: Tensor, pair: tuple[Tensor, Tensor]) -> None:
        """Count a comparison of the line that is running."""
        self._read += 1
        where, yes_or_no = calling_place(), found.cut is not None
        if where is None:
            return
        line = self._lines.get((where, yes_or_no))
        if line is None:
            line = self._lines[where, yes_or_no] = Compared(where, yes_or_no)
            line.shapes = tuple(tuple(each.shape) for each in pair)
            self._record.compared.append(line)
        line.calls += 1
        line.images += len(scores)
        line.right += found.right
        line.of_scores += found.of_scores
        line.alike += found.answers == 1
        line.cut += bool(found.cut)
        line.spread += found.spread


def decisions(scores: Tensor) -> Tensor | None:
    """Return what scores say: the class with the highest one (B,), or yes and no (B,); None for other shapes."""
    if scores.ndim == 2 and scores.shape[1] > 1:
        return scores.detach().argmax(1)
    if scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1):
        flat = scores.detach().flatten()
        of_probabilities = bool((flat >= 0).all() and (flat <= 1).all())
        return flat > (0.5 if of_probabilities else 0.0)
    return None


def _is_cut(scores: Tensor, answers: Tensor) -> bool | None:
    if scores.ndim == 2 and scores.shape[1] > 1:
        return None
    flat, yes = scores.detach().flatten().float(), answers.to(scores.device).bool()
    if not ((answers == 0) | (answers == 1)).all():
        return False
    return bool(yes.all() or not yes.any() or flat[yes].min() >= flat[~yes].max())


def _are_labels(found: Tensor, scores: Tensor) -> bool:
    """Whether values can be the numbers of classes."""
    classes = scores.shape[1] if scores.ndim == 2 and scores.shape[1] > 1 else 2
    whole = bool((found == found.round()).all()) if found.is_floating_point() else True
    return whole and bool((found >= 0).all() and (found < classes).all())


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool((one.to(other.device) == other).all())
