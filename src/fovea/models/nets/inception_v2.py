"""Inception v2, or BN-Inception (Ioffe and Szegedy 2015, arXiv 1502.03167, appendix, figure 5).

GoogLeNet with batch normalisation, two 3 × 3 convolutions in the place of each 5 × 5, and stride in the blocks between
stages. As in the paper, the first convolution is separable, with 8 maps for each colour.
"""

from __future__ import annotations

import torch
from timm.layers import ClassifierHead, ConvNormAct
from torch import Tensor, nn

from fovea.models.nets.net import Net, Stage, initialise
from fovea.models.nets.registry import register

_MULTIPLIER = 8  # maps for each input channel in the first convolution
_EPS = {"eps": 1e-3}


def conv(inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1) -> nn.Module:
    """Return convolution, batch normalisation and ReLU; the size stays, or is divided by the stride."""
    return ConvNormAct(inputs, outputs, kernel, stride, padding=kernel // 2, norm_kwargs=_EPS)


class Inception(nn.Module):
    """Branches side by side, joined along the channels: (B, C, H, W) -> (B, width, H, W).

    Args:
        inputs: C.
        one: channels of the 1 × 1 branch.
        three: of the 3 × 3 branch, (before, behind).
        five: of the branch with two 3 × 3, which see 5 × 5, (before, behind).
        pool: "avg" or "max".
        projected: channels of the pooled branch.
    """

    def __init__(
        self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: str, projected: int
    ) -> None:
        super().__init__()
        pooling: nn.Module = nn.MaxPool2d(3, 1, 1)
        if pool == "avg":
            pooling = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.one = conv(inputs, one)
        self.three = nn.Sequential(conv(inputs, three[0]), conv(three[0], three[1], 3))
        self.five = nn.Sequential(conv(inputs, five[0]), conv(five[0], five[1], 3), conv(five[1], five[1], 3))
        self.pool = nn.Sequential(pooling, conv(inputs, projected))
        self.width = one + three[1] + five[1] + projected

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class Reduction(nn.Module):
    """The block that halves the size; what it pools is passed through: (B, C, H, W) -> (B, width, H/2, W/2)."""

    def __init__(self, inputs: int, three: tuple[int, int], five: tuple[int, int]) -> None:
        super().__init__()
        self.three = nn.Sequential(conv(inputs, three[0]), conv(three[0], three[1], 3, stride=2))
        self.five = nn.Sequential(conv(inputs, five[0]), conv(five[0], five[1], 3), conv(five[1], five[1], 3, stride=2))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.width = three[1] + five[1] + inputs

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.three(x), self.five(x), self.pool(x)], 1)


def _separable(in_chans: int) -> nn.Sequential:
    maps = _MULTIPLIER * in_chans
    depthwise = nn.Conv2d(in_chans, maps, 7, 2, 3, groups=in_chans, bias=False)
    return nn.Sequential(depthwise, conv(maps, 64))


@register("inception_v2", summary="Inception v2: GoogLeNet with batch normalisation", first_conv="stages.0.0")
def inception_v2(*, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0) -> Net:
    """Build Inception v2."""
    a3 = Inception(192, 64, (64, 64), (64, 96), "avg", 32)
    b3 = Inception(256, 64, (64, 96), (64, 96), "avg", 64)
    c3 = Reduction(320, (128, 160), (64, 96))
    a4 = Inception(576, 224, (64, 96), (96, 128), "avg", 128)
    b4 = Inception(576, 192, (96, 128), (96, 128), "avg", 128)
    c4 = Inception(576, 160, (128, 160), (128, 160), "avg", 96)
    d4 = Inception(576, 96, (128, 192), (160, 192), "avg", 96)
    e4 = Reduction(576, (128, 192), (192, 256))
    a5 = Inception(1024, 352, (192, 320), (160, 224), "avg", 128)
    b5 = Inception(1024, 352, (192, 320), (192, 224), "max", 128)
    stages = [
        Stage(_separable(in_chans), 64, 2),
        Stage(nn.Sequential(nn.MaxPool2d(3, 2, 1), conv(64, 64), conv(64, 192, 3)), 192, 4),
        Stage(nn.Sequential(nn.MaxPool2d(3, 2, 1), a3, b3), b3.width, 8),
        Stage(nn.Sequential(c3, a4, b4, c4, d4), d4.width, 16),
        Stage(nn.Sequential(e4, a5, b5), b5.width, 32),
    ]
    head = ClassifierHead(b5.width, num_classes, drop_rate=drop_rate)
    net = Net(stages, head, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate)
    return net.apply(initialise)
