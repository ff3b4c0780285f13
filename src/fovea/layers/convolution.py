"""Convolutions other than the plain one. Wraps torch and torchvision; each is a few of their layers in a row.

All take (in_channels, out_channels) and torch's names, and map (B,C,H,W) to (B,C',H',W'). `padding` is by default what
keeps the size at stride 1, for odd kernels. k is the kernel, C and C' the channels before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from timm.models import register_notrace_module
from torch import Tensor, nn
from torchvision.ops import DeformConv2d, deform_conv2d

from fovea.core.registry import Registry
from fovea.layers.windows import precise

CONVOLUTION: Registry[Callable[..., nn.Module]] = Registry("convolution")


@CONVOLUTION.register("dilated", summary="a kernel whose taps lie `dilation` apart (Yu & Koltun 2016, §2)")
def dilated(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    dilation: int = 2,
    padding: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """Return a convolution that sees (k − 1) · dilation + 1 places with the weights of k.

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Yu & Koltun 2016, "Multi-scale context aggregation by dilated convolutions", section 2.

    >>> dilated(3, 8, dilation=2)(torch.zeros(1, 3, 9, 9)).shape
    torch.Size([1, 8, 9, 9])
    """
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        _same(kernel_size, padding, dilation),
        dilation=dilation,
        bias=bias,
    )


@CONVOLUTION.register("hybrid_dilated", summary="dilated ones in a row whose rates leave no holes (Wang 2018, §3.2)")
def hybrid_dilated(
    in_channels: int, out_channels: int, *, rates: Sequence[int] = (1, 2, 5), kernel_size: int = 3, bias: bool = True
) -> nn.Module:
    """Return one dilated convolution for each rate, with ReLUs between, if `dilation_fault` finds none in the rates.

    Shape: (B,C,H,W) -> (B,C',H,W).

    Raises:
        ValueError: some places in the field of view are never seen, and why.

    Source: Wang et al. 2018, "Understanding convolution for semantic segmentation", section 3.2.

    >>> hybrid_dilated(3, 8, rates=(1, 2, 5))(torch.zeros(1, 3, 9, 9)).shape
    torch.Size([1, 8, 9, 9])
    """
    if fault := dilation_fault(rates, kernel_size=kernel_size):
        raise ValueError(f"rates {tuple(rates)} leave holes in what the last layer sees: {fault}; (1, 2, 5) does not")
    steps: list[nn.Module] = []
    for position, rate in enumerate(rates):
        channels = in_channels if position == 0 else out_channels
        steps += [dilated(channels, out_channels, kernel_size=kernel_size, dilation=rate, bias=bias), nn.ReLU()]
    return nn.Sequential(*steps[:-1])


def dilation_fault(rates: Sequence[int], *, kernel_size: int = 3) -> str | None:
    """Say what is wrong with the rates of dilated convolutions in a row, or None where they leave no holes.

    The rule: with Mₙ = rₙ and Mᵢ = max(Mᵢ₊₁ − 2rᵢ, 2rᵢ − Mᵢ₊₁, rᵢ), the largest distance between two places that are
    seen, M₂ must be at most the kernel's size. It takes for granted that the first rate is 1 and that the rates have no
    common factor; so what is seen is also counted.

    Source: Wang et al. 2018, section 3.2, equation 2.

    >>> dilation_fault((1, 2, 5)), dilation_fault((1, 2, 9))
    (None, 'the distance M₂ is 5, the kernel 3')
    >>> dilation_fault((2, 2, 2))
    'along a side only 7 of 13 places are seen'
    """
    if not rates or min(rates) < 1:
        raise ValueError(f"rates are {tuple(rates)}; each is a whole number from 1 on")
    distance = rates[-1]
    for rate in reversed(rates[1:-1]):
        distance = max(distance - 2 * rate, 2 * rate - distance, rate)
    if len(rates) > 1 and distance > kernel_size:
        return f"the distance M₂ is {distance}, the kernel {kernel_size}"
    seen = {0}
    for rate in rates:
        seen = {place + tap * rate for place in seen for tap in range(kernel_size)}
    side = max(seen) + 1
    return None if len(seen) == side else f"along a side only {len(seen)} of {side} places are seen"


@register_notrace_module
class _Deformable(nn.Module):
    """What both versions share: a convolution whose taps are moved by offsets that another convolution reads."""

    signals: int  # how many numbers are read for each tap: two coordinates, and in version 2 how much it counts

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.taps = kernel_size**2
        padding = _same(kernel_size, padding, dilation)
        self.conv = DeformConv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias)
        self.guide = nn.Conv2d(in_channels, self.signals * self.taps, kernel_size, stride, padding, dilation)
        for parameter in self.guide.parameters():
            nn.init.zeros_(parameter)

    def convolve(self, x: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
        """Convolve in float32 or better, which is all that torchvision's kernel knows on a CPU."""
        with torch.autocast(x.device.type, enabled=False):
            moved = deform_conv2d(
                precise(x),
                precise(offsets),
                precise(self.conv.weight),
                None if self.conv.bias is None else precise(self.conv.bias),
                self.conv.stride,
                self.conv.padding,
                self.conv.dilation,
                None if mask is None else precise(mask),
            )
        return moved.to(x.dtype)


@CONVOLUTION.register("deformable", summary="taps moved by learnt offsets (Dai 2017, §2.1)")
class DeformableConv2d(_Deformable):
    """A convolution each of whose taps reads where a learnt offset sends it, between places bilinearly.

    The offsets (`guide`) begin at 0, that is as the plain convolution.

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Dai et al. 2017, "Deformable convolutional networks", section 2.1.

    >>> DeformableConv2d(3, 8, stride=2)(torch.zeros(1, 3, 9, 9)).shape
    torch.Size([1, 8, 5, 5])
    """

    signals = 2

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C',H',W')."""
        return self.convolve(x, self.guide(x), None)


@CONVOLUTION.register("deformable_v2", summary="taps moved and weighted, by learnt offsets and masks (Zhu 2019, §3.2)")
class ModulatedDeformableConv2d(_Deformable):
    """As `DeformableConv2d`, and each tap counts by a learnt factor between 0 and 1, a sigmoid.

    It begins with offsets of 0 and factors of a half, that is as half the plain convolution, as in the paper.

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Zhu et al. 2019, "Deformable ConvNets v2", section 3.2.

    >>> ModulatedDeformableConv2d(3, 8)(torch.zeros(1, 3, 9, 9)).shape
    torch.Size([1, 8, 9, 9])
    """

    signals = 3

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C',H',W')."""
        offsets, mask = self.guide(x).split([2 * self.taps, self.taps], dim=1)
        return self.convolve(x, offsets, torch.sigmoid(mask))


@CONVOLUTION.register("depthwise_separable", summary="k×k in each channel, then 1×1 across them (Howard 2017, §3.1)")
def depthwise_separable(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    dilation: int = 1,
    padding: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """Return a spatial convolution of each channel and a 1×1 convolution: 1/C' + 1/k² of the plain one's work.

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Howard et al. 2017, "MobileNets", section 3.1; also Chollet 2017, "Xception".

    >>> sum(weight.numel() for weight in depthwise_separable(16, 32, bias=False).parameters())  # 16·9 + 16·32
    656
    """
    padding = _same(kernel_size, padding, dilation)
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, kernel_size, stride, padding, dilation, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias),
    )


@CONVOLUTION.register("spatially_separable", summary="k×1, then 1×k (Szegedy 2016, §3.2)")
def spatially_separable(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """Return a column and a row of k taps each in place of k×k: any kernel that is an outer product.

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Szegedy et al. 2016, "Rethinking the inception architecture", section 3.2.

    >>> sum(weight.numel() for weight in spatially_separable(16, 16, bias=False).parameters())  # 6 taps in place of 9
    1536
    """
    padding = _same(kernel_size, padding)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, (kernel_size, 1), (stride, 1), (padding, 0), bias=False),
        nn.Conv2d(out_channels, out_channels, (1, kernel_size), (1, stride), (0, padding), bias=bias),
    )


@CONVOLUTION.register("group_shuffle", summary="in groups of channels, which are then shuffled (Zhang 2018, §3.1)")
def group_shuffle(
    in_channels: int,
    out_channels: int,
    *,
    groups: int = 2,
    kernel_size: int = 1,
    stride: int = 1,
    padding: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """Return a convolution in groups, at 1/groups of the work, and a shuffle that lets the next one mix the groups.

    Args:
        groups: a divisor of both numbers of channels.

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Zhang et al. 2018, "ShuffleNet", section 3.1; groups alone are Krizhevsky's (2012, section 3.2).

    >>> layer = group_shuffle(4, 4, groups=2, bias=False)
    >>> layer[0].weight.data = torch.ones(4, 2, 1, 1)  # each group adds up its own two channels
    >>> layer(torch.tensor([1.0, 2.0, 3.0, 4.0])[None, :, None, None]).flatten().tolist()  # and then they alternate
    [3.0, 7.0, 3.0, 7.0]
    """
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, _same(kernel_size, padding), groups=groups, bias=bias
    )
    return nn.Sequential(conv, nn.ChannelShuffle(groups))


@CONVOLUTION.register("transposed", summary="the adjoint of a strided convolution, which enlarges (Zeiler 2010)")
def transposed(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 4,
    stride: int = 2,
    padding: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """Return a transposed convolution. By default it doubles the map; a kernel that is a multiple of the stride avoids
    checkerboards (Odena et al. 2016).

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Zeiler et al. 2010, "Deconvolutional networks"; Dumoulin & Visin 2016, "A guide to convolution arithmetic
    for deep learning", chapter 4.

    >>> transposed(8, 3)(torch.zeros(1, 8, 5, 7)).shape
    torch.Size([1, 3, 10, 14])
    """
    if padding is None:
        padding = max(0, kernel_size - stride) // 2
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)


@CONVOLUTION.register("pointwise", summary="1×1, a linear layer at each place (Lin 2014, §3.1)")
def pointwise(in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True) -> nn.Module:
    """Return a 1×1 convolution, W x + b at each place.

    Shape: (B,C,H,W) -> (B,C',H',W').

    Source: Lin, Chen & Yan 2014, "Network in network", section 3.1.

    >>> pointwise(8, 3)(torch.zeros(1, 8, 5, 7)).shape
    torch.Size([1, 3, 5, 7])
    """
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=bias)


def _same(kernel_size: int, padding: int | None, dilation: int = 1) -> int:
    """Return the padding that was asked for, or what keeps the size at stride 1."""
    return dilation * (kernel_size - 1) // 2 if padding is None else padding
