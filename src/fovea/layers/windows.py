"""The windows that pooling looks through: which places of a map lie in each. What is made of them is for `pooling`.

torch cuts its windows inside its kernels; here they are laid out as an axis, so that a layer is a formula over it.
That costs memory: kernel² / stride² times the map. Half precision is raised to float32 for the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

import torch
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

Size = int | tuple[int, int]


class _Kernel(TypedDict):
    kernel_size: Size | None


class Geometry(_Kernel, total=False):
    """What every pooling layer is told about its windows, under the names of `nn.MaxPool2d`; the kernel is a must."""

    stride: Size | None
    padding: Size
    dilation: Size
    ceil_mode: bool


@dataclass(frozen=True)
class Windows:
    """The windows of one map. In the shapes N is the number of places in a window.

    Attributes:
        values: (B,C,H',W',N), 0 where a window reaches beyond the map.
        barrier: (1,1,H',W',N), 0 inside and -inf beyond the map; None where no window reaches beyond.
    """

    values: Tensor
    barrier: Tensor | None = None

    def barred(self, logits: Tensor) -> Tensor:
        """Return logits (B,C,H',W',N) with -inf where a window reaches beyond the map."""
        return logits if self.barrier is None else logits + self.barrier

    def largest(self) -> Tensor:
        """Return the maximum of each window, (B,C,H',W')."""
        return self.barred(self.values).amax(-1)

    def count(self) -> Tensor | int:
        """Return how many places of each window lie in the map."""
        return self.values.shape[-1] if self.barrier is None else self.barrier.exp().sum(-1)

    def mean(self) -> Tensor:
        """Return the mean of each window, (B,C,H',W')."""
        return self.values.sum(-1) / self.count()

    def weighted_mean(self, logits: Tensor) -> Tensor:
        """Return Σ eᵍa / Σ eᵍ of each window, (B,C,H',W'), for logits g of shape (B,C,H',W',N).

        The softmax subtracts the window's largest logit first, so none is too large for it. Dividing the mean of eᵍa by
        that of eᵍ, as most papers write it, overflows in float32 from g = 89 on.
        """
        return (torch.softmax(self.barred(logits), -1) * self.values).sum(-1)


@register_notrace_module
class WindowPool2d(nn.Module):
    """A pooling layer with the geometry of torch's: a subclass says in `pool` what it makes of the windows.

    Args:
        kernel_size: height and width of the window; None for the whole map, whatever its size.
        stride: by default the kernel's size.
        padding: places added on each side. They are in no mean and in no maximum.
        dilation: the distance between two places of a window.
        ceil_mode: whether a window that reaches beyond the map is kept.

    Raises:
        ValueError: a geometry that cannot be; when called, what is no map or smaller than the window.

    Shape: (B,C,H,W) -> (B,C,H',W') with H' as in `nn.MaxPool2d`; (B,C,1,1) without a kernel.
    """

    def __init__(
        self,
        *,
        kernel_size: Size | None,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = None if kernel_size is None else pair(kernel_size)
        self.stride = self.kernel_size if stride is None else pair(stride)
        self.padding, self.dilation = pair(padding), pair(dilation)
        self.ceil_mode = ceil_mode
        for name in ("kernel_size", "stride", "dilation"):
            if min(getattr(self, name) or (1,)) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a number of places from 1 on")
        if self.kernel_size and any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"padding is {self.padding}; at most half of the kernel {self.kernel_size} makes sense")

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B,C,H,W) in float32 or better and return the type that came."""
        if x.ndim != 4 or not x.is_floating_point():
            raise ValueError(f"pooling takes maps (B,C,H,W) of floating-point numbers, not {x.dtype} {tuple(x.shape)}")
        return self.pool(self.windows(x), x).to(x.dtype)

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Return (B,C,H',W') from the windows of the map `x`."""
        raise NotImplementedError

    def windows(self, x: Tensor) -> Windows:
        """Lay out the windows of a map (B,C,H,W)."""
        values = self._cut(precise(x), fill=0.0)
        if self.kernel_size is None or (self.padding == (0, 0) and not self.ceil_mode):
            return Windows(values)
        return Windows(values, self._cut(values.new_zeros((1, 1, *x.shape[-2:])), fill=-math.inf))

    def extra_repr(self) -> str:
        """Show the geometry as torch does."""
        if self.kernel_size is None:
            return "the whole map"
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )

    def _cut(self, x: Tensor, *, fill: float) -> Tensor:
        if self.kernel_size is None or self.stride is None:
            return x.flatten(2)[:, :, None, None]  # (B,C,H,W) -> (B,C,1,1,H*W)
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        top, left = self.padding
        bottom, right = (self._beyond(x.shape[axis + 2], spans[axis], axis) for axis in (0, 1))
        if (top, left, bottom, right) != (0, 0, 0, 0):  # below zero it crops: rows that no window reaches
            x = F.pad(x, (left, right, top, bottom), value=fill)
        for axis in (0, 1):
            x = x.unfold(axis + 2, spans[axis], self.stride[axis])
        return x[..., :: self.dilation[0], :: self.dilation[1]].flatten(-2)  # (B,C,H',W',kh,kw) -> (B,C,H',W',N)

    def _beyond(self, size: int, span: int, axis: int) -> int:
        """Return how far the last window reaches beyond the end of a map of that size."""
        assert self.stride is not None
        stride, padding = self.stride[axis], self.padding[axis]
        room = size + 2 * padding - span
        if room < 0:
            raise ValueError(f"a map of {size} places with padding {padding} is smaller than the window, {span}")
        steps = -(-room // stride) if self.ceil_mode else room // stride
        if self.ceil_mode and steps * stride >= size + padding:  # as torch: no window begins in the last padding
            steps -= 1
        return steps * stride + span - size - padding


def pair(size: Size) -> tuple[int, int]:
    """Return a size as (height, width).

    >>> pair(3), pair((2, 4))
    ((3, 3), (2, 4))
    """
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def precise(x: Tensor) -> Tensor:
    """Return half precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
