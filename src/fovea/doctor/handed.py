"""Which batch of a loader a network is given.

Not always the one that was loaded last: accelerate and timm fetch one ahead, Hugging Face's Trainer as many as it
accumulates, and some scripts keep a list of batches. A batch is known by its tensors; where they were copied to another
device, by a few of their values; and where it stays unclear, it is not known, for wrong labels are worse than none.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from fovea.doctor.files.linking import FileWatch

_KEPT = 64  # batches
_VALUES = 64  # of a tensor by which it is told from others
_MOVED = 3e-4  # of the spread, by which mean or spread of other images differ at least
_CLOSE = 0.02  # half precision may lie between


@dataclass
class Batch:
    """A batch as a loader handed it out; its tensors are not kept alive, its labels are."""

    tensors: list[weakref.ref[torch.Tensor]]
    values: torch.Tensor | None  # (<= 64,) of its first floating tensor
    labels: torch.Tensor | None
    loader: int | None
    step: int
    files: tuple[str, ...] | None = None  # that its images were read from, where that is known

    def mask_like(self, scores: torch.Tensor) -> torch.Tensor | None:
        """Return the last of its tensors, if that is still there and may be masks for scores (B, C, H, W)."""
        last = self.tensors[-1]() if len(self.tensors) > 1 else None
        return last if last is not None and scores.ndim == 4 and last.shape == scores.shape else None


class Handed:
    """The last batches that loaders have handed out."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque(maxlen=_KEPT)
        self._new: dict[int | None, int] = {}  # of each loader, since a network was last called
        self._ahead: dict[int | None, int] = {}  # of each loader: batches that no call of a network came after
        self._unclear = False
        self.files = FileWatch()

    def begins(self, loader: int) -> None:
        """A loader is iterated from its start."""
        self._new[loader] = self._ahead[loader] = 0

    def add(self, tensors: Iterable[torch.Tensor], labels: torch.Tensor | None, loader: int | None, step: int) -> None:
        """A batch is handed out."""
        tensors = list(tensors)
        first = next((each for each in tensors if each.is_floating_point() and each.ndim >= 2), None)
        values = None if first is None else some_values(first)
        files = self.files.take(next((len(each) for each in tensors if each.ndim >= 3), None))
        self._batches.append(Batch([weakref.ref(each) for each in tensors], values, labels, loader, step, files))
        self._new[loader] = self._new.get(loader, 0) + 1

    def given(self, inputs: torch.Tensor | None, *, step: int) -> list[Batch]:
        """Return the batch that a network is given with these inputs; several, if a look at the values has to tell."""
        batches = self._given(inputs, step=step)
        files = self.files.take(None if inputs is None else len(inputs))
        if files is None or len(batches) > 1:
            return batches
        return [replace(batches[0] if batches else Batch([], None, None, None, step), files=files)]  # without a loader

    def _given(self, inputs: torch.Tensor | None, *, step: int) -> list[Batch]:
        new = sum(self._new.values())
        for loader, count in self._new.items():
            self._ahead[loader] = self._ahead.get(loader, 0) + max(0, count - 1)
        self._new.clear()
        if not self._batches:
            return []
        last = self._batches[-1]
        if new:
            self._unclear = new > 1 or self._ahead[last.loader] > 0
        for batch in reversed(self._batches):
            if inputs is not None and any(_same(each(), inputs) for each in batch.tensors):
                return [batch]
        if self._unclear:
            return list(self._batches)
        return [last] if new or (last.step == step and not _others(last, inputs)) else []


def the_one(batches: list[Batch], inputs: torch.Tensor | None) -> Batch | None:
    """Return the one of several batches whose values the inputs have, or None."""
    if len(batches) < 2:
        return batches[0] if batches else None
    if inputs is None:
        return None
    values = some_values(inputs)
    alike = [each for each in batches if each.values is not None and _close(each.values, values)]
    return alike[-1] if alike and all(_agree(each.labels, alike[-1].labels) for each in alike) else None


def some_values(tensor: torch.Tensor) -> torch.Tensor:
    """Return a few values of a tensor, evenly spread over it, on the CPU."""
    flat = tensor.detach().reshape(-1)
    return flat[:: len(flat) // _VALUES | 1][:_VALUES].float().cpu()  # an odd step does not stay in one column


def _agree(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=_CLOSE, atol=_CLOSE)


def _others(batch: Batch, inputs: torch.Tensor | None) -> bool:
    """Whether inputs are clearly not those of a batch that a network was given before, nor these flipped or turned."""
    first = next((one for each in batch.tensors if (one := each()) is not None and one.is_floating_point()), None)
    if first is None or inputs is None or not inputs.is_floating_point() or first.ndim < 2:
        return False
    if len(first) != len(inputs):
        return True
    one, other = (each.detach().float() for each in (first, inputs))
    spread = float(one.std()) + 1e-6
    moved = abs(float(one.mean()) - float(other.mean())) / spread, abs(1 - float(other.std()) / spread)
    return max(moved) > _MOVED


def _same(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    """Whether a tensor is another or a view of all of it."""
    if one is None or one.is_sparse or other.is_sparse:
        return False
    return one is other or (one.data_ptr() == other.data_ptr() != 0 and one.numel() == other.numel())
