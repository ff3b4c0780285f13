"""What every loss shares: the registry, how it is called, how it is reduced.

`loss(scores, target)` checks what it is given, computes one value per element in at least float32, and reduces.
Autocast is off inside: a sum of thousands of bfloat16 values is no number to train on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fovea.core.registry import Registry
from fovea.losses.checks import IGNORE_INDEX

REDUCTIONS = ("mean", "sum", "none")

LOSSES: Registry[Callable[..., nn.Module]] = Registry("loss")


class Loss(nn.Module):
    """A loss that is called as `loss(scores, target)`.

    A subclass computes `each`: the values of the elements, and their weights where they do not all count the same.

    Args:
        reduction: "mean", weighted and over what counts, so that ignored elements and classes of weight 0 do not dilute
            it; "sum"; or "none", a value per element. The mean of nothing is 0.

    Raises:
        ValueError: shapes, types or, on the CPU, values that do not fit. On other devices values are not looked at,
            because that would wait for the device in every step.
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction is {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
        self.reduction = reduction

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the reduced loss, or with reduction "none" a value for each element."""
        if not scores.is_floating_point():
            raise ValueError(f"scores are {scores.dtype}, expected floating-point numbers")
        with torch.autocast(scores.device.type, enabled=False):
            values, weights = self.each(at_least_float32(scores), at_least_float32(target))
            return reduced(values, weights, self.reduction)

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the weighted loss of each element, and the weight of each; None where all weigh 1."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return the options, as `print(loss)` shows them."""
        options = {name: value for name, value in vars(self).items() if isinstance(value, (int, float, str))}
        return ", ".join(f"{name}={value!r}" for name, value in options.items() if name != "training")


class WeightedLoss(Loss):
    """A loss whose classes may weigh differently, and some of whose targets may not count.

    Args:
        weight: one number from 0 on for each class (C,); None for equal ones.
        ignore_index: a target of this value does not count.
        reduction: as in `Loss`.
    """

    def __init__(
        self,
        *,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.ignore_index = ignore_index
        self.weight: Tensor | None
        self.register_buffer("weight", _class_weights(weight), persistent=False)

    def weight_for(self, scores: Tensor) -> Tensor | None:
        """Return the weights (C,) in the type of scores (B, C, …), checked to be as many as there are classes."""
        if self.weight is None:
            return None
        if len(self.weight) != scores.shape[1]:
            raise ValueError(
                f"weight has {len(self.weight)} numbers, expected one for each class of scores {tuple(scores.shape)}"
            )
        return self.weight.to(scores.dtype)


def at_least_float32(values: Tensor) -> Tensor:
    """Return half-precision numbers as float32; leave everything else alone."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def reduced(values: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """Reduce losses that were weighted already.

    Args:
        values: the losses, zero where an element is ignored.
        weights: of the same shape, what the mean divides by; None where all weigh 1.
        reduction: one of `REDUCTIONS`.

    >>> reduced(torch.tensor([2.0, 4.0, 0.0]), torch.tensor([1.0, 2.0, 0.0]), "mean")
    tensor(2.)
    >>> reduced(torch.zeros(0), None, "mean")
    tensor(0.)
    """
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    total = values.new_tensor(values.numel()) if weights is None else weights.sum()
    return values.sum() / torch.where(total > 0, total, 1)


def _class_weights(weight: Sequence[float] | Tensor | None) -> Tensor | None:
    """Return the weights of C classes as a tensor (C,), checked to be finite and not negative."""
    if weight is None:
        return None
    weights = torch.as_tensor(weight, dtype=torch.float32)
    if weights.ndim != 1 or not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError(f"weight is {weight}, expected one finite number from 0 on for each class")
    return weights
