"""Calls that are not yet known to be training or evaluation: only a backward pass tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from fovea.doctor.handed import Batch, the_one
from fovea.doctor.record import Place


@dataclass(kw_only=True)
class _Pending:
    """What both kinds of call have."""

    grad: bool  # a backward may still reach it
    turn: int  # of evaluation, if it is one
    step: int
    reached: bool = field(default=False, init=False)  # by a backward
    passed: bool = field(default=False, init=False)  # over by a backward that did not reach it

    def reach(self) -> None:
        """A gradient has arrived."""
        self.reached = True


@dataclass(kw_only=True)
class Forward(_Pending):
    """A call of a network that is not yet known to be training or evaluation."""

    inputs: torch.Tensor | None
    scores: torch.Tensor
    labels: torch.Tensor | None
    network: int
    training: bool
    minds_mode: bool  # has layers that behave otherwise in training
    batches: list[Batch]  # of loaders, of which it may have been given one
    loader: int | None = None
    files: tuple[str, ...] | None = None  # of each image, where they are known
    told: bool = False  # a loss was given these labels; others come from the loader, and mixing may have changed them
    mask: torch.Tensor | None = None  # of zeros and ones, of the scores' shape, from the loader

    def settle(self) -> None:
        """Find out which batch it was given, and thereby the labels that nobody has told."""
        batch = the_one(self.batches, self.inputs)
        if self.batches:
            self.loader = (batch or self.batches[-1]).loader
        self.batches = []
        if batch is not None:
            self.files = batch.files
            self.mask = batch.mask_like(self.scores)
            if self.labels is None and batch.labels is not None and len(batch.labels) == len(self.scores):
                self.labels = batch.labels


@dataclass(kw_only=True)
class LossCall(_Pending):
    """A call of a loss function that is not yet known to be training or evaluation."""

    name: str
    scores: torch.Tensor
    target: torch.Tensor | None
    reduction: str
    value: torch.Tensor
    where: Place | None
    weight: torch.Tensor | None = field(default=None, init=False)  # of the value in what was propagated back

    def reach_with(self, weight: torch.Tensor) -> None:
        """A gradient has arrived."""
        self.weight = weight.detach()
        self.reach()

    @property
    def mean(self) -> float:
        """Its value, or the mean of those of all images."""
        return float(self.value if self.value.numel() == 1 else self.value.float().mean())

    @property
    def is_negated(self) -> bool:
        """Whether what was propagated back falls as this loss rises."""
        return self.weight is not None and float(self.weight.sum()) < 0

    @property
    def count(self) -> int:
        """Over how many labels a sum runs."""
        whole = self.target is not None and not self.target.is_floating_point()
        return self.target.numel() if whole and self.target is not None else len(self.scores)

    def average(self, scale: float) -> None:
        """Take a sum for the mean that it was made into afterwards, as Hugging Face's losses do.

        Args:
            scale: by which a gradient scaler has multiplied what was propagated back.
        """
        if self.reduction != "sum" or self.weight is None or self.weight.numel() != 1:
            return
        if abs(float(self.weight)) * self.count < _ONCE * scale:
            self.value, self.reduction = self.value / self.count, "mean"


def whose_scores(forwards: Sequence[Forward], scores: torch.Tensor) -> Forward | None:
    """Return the call of a network that put out these scores; where none did as they are, the last one."""
    for call in reversed(forwards):
        if call.scores.shape == scores.shape and call.scores.data_ptr() == scores.data_ptr() != 0:
            return call
    return forwards[-1] if forwards else None


_ONCE = 1.5  # of each label's loss, in what is propagated back, up to which it is a mean
_Call = TypeVar("_Call", bound=_Pending)


def sorted_out(calls: Iterable[_Call]) -> tuple[list[_Call], list[_Call]]:
    """After a backward, return the calls that are known to be training or evaluation, and those still to wait for.

    What was passed over once may still be wanted: a generator's images, by its own loss after that of its critic.
    """
    known, waiting = [], []
    for call in calls:
        if call.reached or call.passed or not call.grad:
            known.append(call)
        else:
            call.passed = True
            waiting.append(call)
    return known, waiting
