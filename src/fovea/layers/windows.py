"""The windows that pooling looks through: which places of a map lie in each. What is made of them is for `pooling`.

torch cuts its windows inside its kernels. Where those have what a layer needs (maximum, mean) they are used, and a mean
weighted by another map is computed place by place; else the windows are laid out as an axis, so that a layer is a
formula over it. That costs memory: kernel² / stride² times the map. Half precision is raised to float32.
"""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.layers.frames import Frame, weighted_mean

_LEAST = -1e30  # beyond the map, where nothing may count: finite, since 0 · inf is no number
Size = int | tuple[int, int]


class _Kernel(TypedDict):
    kernel_size: Size | None


class Geometry(_Kernel, total=False):
    """What every pooling layer is told about its windows, under the names of `nn.MaxPool2d`; the kernel is a must."""

    stride: Size | None
    padding: Size
    dilation: Size
    ceil_mode: bool


class Windows:
    """The windows of one map (B,C,H,W). In the shapes N is the number of places in a window.

    Args:
        x: the map.
        frame: the geometry; None for one window that is the whole map.
    """

    def __init__(self, x: Tensor, frame: Frame | None) -> None:
        self.map = precise(x)
        self.frame = frame
        self._margins = (0, 0, 0, 0) if frame is None else frame.margins(x)
        self._values: Tensor | None = None

    @property
    def values(self) -> Tensor:
        """What lies in each window, (B,C,N,H',W'): 0 where it reaches beyond the map."""
        if self._values is None:
            self._values = self._laid_out(self.map, fill=0.0)
        return self._values

    @property
    def barrier(self) -> Tensor | None:
        """0 inside and -inf beyond the map, (1,1,N,H',W'); None where no window reaches beyond."""
        if max(self._margins) <= 0:
            return None
        return self._laid_out(self.map.new_zeros((1, 1, *self.map.shape[-2:])), fill=-math.inf)

    def barred(self, logits: Tensor) -> Tensor:
        """Return logits (B,C,N,H',W') with -inf where a window reaches beyond the map."""
        barrier = self.barrier
        return logits if barrier is None else logits + barrier

    def largest(self) -> Tensor:
        """Return the maximum of each window, (B,C,H',W')."""
        if self.frame is None:
            return self.map.amax((2, 3), keepdim=True)
        return F.max_pool2d(
            self.map,
            self.frame.kernel,
            self.frame.stride,
            self.frame.padding,
            self.frame.dilation,
            self.frame.ceil_mode,
        )

    def count(self) -> Tensor | int:
        """Return how many places of each window lie in the map."""
        barrier = self.barrier
        return self.values.shape[2] if barrier is None else barrier.exp().sum(2)

    def mean(self) -> Tensor:
        """Return the mean of each window, (B,C,H',W')."""
        if self.frame is None:
            return self.map.mean((2, 3), keepdim=True)
        if self.frame.dilation == (1, 1):
            frame = self.frame
            return F.avg_pool2d(
                self.map, frame.kernel, frame.stride, frame.padding, frame.ceil_mode, count_include_pad=False
            )
        return self.values.sum(2) / self.count()

    def weighted_mean(self, logits: Tensor) -> Tensor:
        """Return Σ eᵍa / Σ eᵍ of each window, (B,C,H',W'), for logits g of shape (B,C,N,H',W').

        The softmax subtracts the window's largest logit first, so none is too large for it. Dividing the mean of eᵍa by
        that of eᵍ, as most papers write it, overflows in float32 from g = 89 on.
        """
        return (torch.softmax(self.barred(logits), 2) * self.values).sum(2)

    def weighted_by(self, logits: Tensor) -> Tensor:
        """Return the same for logits that are a map (B,C,H,W), which need not be laid out for it."""
        other = Windows(logits, self.frame)
        if self.frame is None or _is_followed():
            return self.weighted_mean(other.values)
        return weighted_mean(self._padded(self.map, 0.0), self._padded(other.map, -math.inf), self.frame)

    def weighted_by_itself(self) -> Tensor:
        """Return the same for logits that are the values."""
        if self.frame is None or _is_followed():
            return self.weighted_mean(self.values)
        return weighted_mean(self._padded(self.map, _LEAST), None, self.frame)

    def _padded(self, x: Tensor, fill: float) -> Tensor:
        return x if self._margins == (0, 0, 0, 0) else F.pad(x, self._margins, value=fill)

    def _laid_out(self, x: Tensor, *, fill: float) -> Tensor:
        frame = self.frame
        if frame is None:
            return x.flatten(2)[..., None, None]  # (B,C,H,W) -> (B,C,H*W,1,1)
        x = self._padded(x, fill)
        size = frame.slices(x[:1, :1])[0].shape[2:]  # (H',W')
        columns = F.unfold(x, frame.kernel, frame.dilation, stride=frame.stride)  # (B,C*N,H'*W')
        return columns.view(*x.shape[:2], -1, *size)


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
        """Return the windows of a map (B,C,H,W)."""
        if self.kernel_size is None or self.stride is None:
            return Windows(x, None)
        return Windows(x, Frame(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode))

    def extra_repr(self) -> str:
        """Show the geometry as torch does."""
        if self.kernel_size is None:
            return "the whole map"
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


def _is_followed() -> bool:
    """Whether somebody follows the operators, to compile or to export them: they are to find formulas, no loop."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def pair(size: Size) -> tuple[int, int]:
    """Return a size as (height, width).

    >>> pair(3), pair((2, 4))
    ((3, 3), (2, 4))
    """
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def precise(x: Tensor) -> Tensor:
    """Return half precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
