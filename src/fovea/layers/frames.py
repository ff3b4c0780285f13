"""Where the windows of pooling lie in a map, and means weighted within them that are computed place by place.

Laid out as an axis, the windows of a map take kernel² / stride² times its memory, and softmax over that axis is slow. A
weighted mean needs neither: its sums run over views of the map, one for each place in a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


@dataclass(frozen=True)
class Frame:
    """The geometry of windows, as (height, width) each."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    ceil_mode: bool

    def margins(self, x: Tensor) -> tuple[int, int, int, int]:
        """Return how far windows reach beyond a map (B,C,H,W): left, right, top, bottom; below 0 what none reaches.

        Raises:
            ValueError: the map is smaller than the window.
        """
        (top, left), (bottom, right) = self.padding, (self._beyond(x.shape[axis + 2], axis) for axis in (0, 1))
        return left, right, top, bottom

    def slices(self, x: Tensor) -> list[Tensor]:
        """Return, for each place in a window, what lies there in every window: N views (B,C,H',W') of a padded map."""
        spans = [self._span(axis) for axis in (0, 1)]
        last = [x.shape[axis + 2] - spans[axis] for axis in (0, 1)]  # where the last window begins
        rows, columns = ([d * place for place in range(k)] for k, d in zip(self.kernel, self.dilation, strict=True))
        return [
            x[:, :, row : row + last[0] + 1 : self.stride[0], column : column + last[1] + 1 : self.stride[1]]
            for row in rows
            for column in columns
        ]

    def _span(self, axis: int) -> int:
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def _beyond(self, size: int, axis: int) -> int:
        """Return how far the last window reaches beyond the end of a map of that size."""
        stride, padding, span = self.stride[axis], self.padding[axis], self._span(axis)
        room = size + 2 * padding - span
        if room < 0:
            raise ValueError(f"a map of {size} places with padding {padding} is smaller than the window, {span}")
        steps = -(-room // stride) if self.ceil_mode else room // stride
        if self.ceil_mode and steps * stride >= size + padding:  # as torch: no window begins in the last padding
            steps -= 1
        return steps * stride + span - size - padding


def weighted_mean(values: Tensor, logits: Tensor | None, frame: Frame) -> Tensor:
    """Return Σ eᵍa / Σ eᵍ of each window.

    Args:
        values: a, a padded map (B,C,H,W); its padding is finite.
        logits: g, of that shape, or None where they are the values; the least of all where a window reaches beyond the
            map.
        frame: the geometry.

    Shape: (B,C,H,W), (B,C,H,W) -> (B,C,H',W').

    >>> frame = Frame(kernel=(1, 2), stride=(1, 2), padding=(0, 0), dilation=(1, 1), ceil_mode=False)
    >>> weighted_mean(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.0, 0.0]]]]), frame).item()
    2.0
    """
    if torch.is_grad_enabled() and (values.requires_grad or (logits is not None and logits.requires_grad)):
        return _WeightedMean.apply(values, logits, frame)[0]
    return _sums(values, logits, frame)[0]


def _sums(values: Tensor, logits: Tensor | None, frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted mean, the largest logit and Σ eᵍ⁻ˡᵃʳᵍᵉˢᵗ of each window."""
    pairs = _places(values, logits, frame)
    places = [place for _, place in pairs]
    largest = places[0].clone()
    for place in places[1:]:
        torch.maximum(largest, place, out=largest)
    total, mean, weight = torch.zeros_like(largest), torch.zeros_like(largest), torch.empty_like(largest)
    for value, place in pairs:
        torch.sub(place, largest, out=weight).exp_()
        total.add_(weight)
        mean.addcmul_(weight, value)
    return mean.div_(total), largest, total


class _WeightedMean(Function):
    """Keeps the two maps and three numbers of each window, not what lies in the windows."""

    @staticmethod
    def forward(values: Tensor, logits: Tensor | None, frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean and what the gradient needs of it."""
        return _sums(values, logits, frame)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor | None, Frame], output: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        """Keep what the gradient needs."""
        ctx.frame = inputs[2]
        ctx.save_for_backward(*inputs[:2], *output)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *others: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of values and logits: with w = eᵍ / Σ eᵍ and mean m, those of m are w and w (a - m)."""
        values, logits, mean, largest, total = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *_differentiable(values, logits, gradient, ctx.frame), None
        to_values = _zeros_by_channels(values)
        to_logits = None if logits is None else _zeros_by_channels(logits)
        scale, weight, beside = gradient / total, torch.empty_like(largest), torch.empty_like(largest)
        gradients = _places(to_values, to_logits, ctx.frame)
        for (value, place), (for_value, for_logit) in zip(_places(values, logits, ctx.frame), gradients, strict=True):
            torch.sub(place, largest, out=weight).exp_().mul_(scale)
            torch.sub(value, mean, out=beside)
            if to_logits is None:
                beside.add_(1)
            else:
                for_value.add_(weight)
            for_logit.addcmul_(weight, beside)
        return to_values, to_logits, None


def _differentiable(
    values: Tensor, logits: Tensor | None, gradient: Tensor, frame: Frame
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of values and logits in a way that has gradients itself."""
    value, place = (torch.stack(each, dim=-1) for each in zip(*_places(values, logits, frame), strict=True))
    mean = (torch.softmax(place, -1) * value).sum(-1)
    given = [each for each in (values, logits) if each is not None and each.requires_grad]
    found = iter(torch.autograd.grad(mean, given, gradient, create_graph=True))
    to_values, to_logits = (
        next(found) if each is not None and each.requires_grad else None for each in (values, logits)
    )
    return to_values, to_logits


def _places(values: Tensor, logits: Tensor | None, frame: Frame) -> list[tuple[Tensor, Tensor]]:
    """Return, for each place in a window, the values and the logits of all windows, each (B,C,H',W')."""
    of_values = frame.slices(_by_channels(values))
    return list(zip(of_values, of_values if logits is None else frame.slices(_by_channels(logits)), strict=True))


def _by_channels(x: Tensor) -> Tensor:
    """Return a map with its channels side by side in memory, where a view of every other place is read in long runs."""
    return x.contiguous(memory_format=torch.channels_last)


def _zeros_by_channels(x: Tensor) -> Tensor:
    return torch.zeros_like(x, memory_format=torch.channels_last)
