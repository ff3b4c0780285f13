"""Inception-ResNet v1 (Szegedy, Ioffe, Vanhoucke and Alemi 2016, arXiv 1602.07261, figures 10 to 15).

The smaller sibling of timm's `inception_resnet_v2`, at about the cost of Inception v3. Convolutions marked "V" in the
figures are not padded, so an image should have 96 pixels a side or more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ClassifierHead, ConvNormAct
from torch import Tensor, nn

from fovea.models.nets.net import Net, Stage, initialise
from fovea.models.nets.registry import register

_EPS = {"eps": 1e-3}
# What a block adds is scaled down, or training dies (§3.3: by 0.1 to 0.3).
_SCALE_A, _SCALE_B, _SCALE_C = 0.17, 0.10, 0.20


def conv(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, *, stride: int = 1, same: bool = True
) -> nn.Module:
    """Return convolution, batch normalisation and ReLU; padded to keep the size, or not at all."""
    high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (high // 2, wide // 2) if same else 0
    # timm hands the kernel to nn.Conv2d, which takes both; its own inception_resnet_v2 does this
    return ConvNormAct(inputs, outputs, kernel, stride, padding=padding, norm_kwargs=_EPS)  # type: ignore[arg-type]


class Residual(nn.Module):
    """x + scale · (branches side by side, brought back to the width of x by a 1 × 1 convolution), then ReLU.

    (B, width, H, W) in and out. Figures 10, 12 and 13 differ in their branches only.
    """

    def __init__(self, width: int, branches: Sequence[nn.Module], *, joined: int, scale: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.project = nn.Conv2d(joined, width, 1)
        self.act = nn.ReLU()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        added = self.project(torch.cat([branch(x) for branch in self.branches], 1))
        return self.act(x + self.scale * added)


class Reduction(nn.Module):
    """Branches of stride 2 and a max pooling side by side, without padding (figures 7 and 14)."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(branch(x) for branch in self.branches), self.pool(x)], 1)


def _block_a() -> Residual:
    branches = [
        conv(256, 32),
        nn.Sequential(conv(256, 32), conv(32, 32, 3)),
        nn.Sequential(conv(256, 32), conv(32, 32, 3), conv(32, 32, 3)),
    ]
    return Residual(256, branches, joined=96, scale=_SCALE_A)


def _block_b() -> Residual:
    branches = [conv(896, 128), nn.Sequential(conv(896, 128), conv(128, 128, (1, 7)), conv(128, 128, (7, 1)))]
    return Residual(896, branches, joined=256, scale=_SCALE_B)


def _block_c() -> Residual:
    branches = [conv(1792, 192), nn.Sequential(conv(1792, 192), conv(192, 192, (1, 3)), conv(192, 192, (3, 1)))]
    return Residual(1792, branches, joined=384, scale=_SCALE_C)


def _reduction_a() -> Reduction:
    branches = [
        conv(256, 384, 3, stride=2, same=False),
        nn.Sequential(conv(256, 192), conv(192, 192, 3), conv(192, 256, 3, stride=2, same=False)),
    ]
    return Reduction(branches)


def _reduction_b() -> Reduction:
    branches = [
        nn.Sequential(conv(896, 256), conv(256, 384, 3, stride=2, same=False)),
        nn.Sequential(conv(896, 256), conv(256, 256, 3, stride=2, same=False)),
        nn.Sequential(conv(896, 256), conv(256, 256, 3), conv(256, 256, 3, stride=2, same=False)),
    ]
    return Reduction(branches)


@register(
    "inception_resnet_v1",
    summary="Inception-ResNet v1: Inception blocks that add to what came in",
    first_conv="stages.0.0.conv",
    input_size=299,
    centred=True,
)
def inception_resnet_v1(*, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0) -> Net:
    """Build Inception-ResNet v1; the authors train with drop_rate 0.2."""
    first = [conv(in_chans, 32, 3, stride=2, same=False), conv(32, 32, 3, same=False), conv(32, 64, 3)]
    second = [nn.MaxPool2d(3, 2), conv(64, 80), conv(80, 192, 3, same=False)]
    third = [conv(192, 256, 3, stride=2, same=False), *(_block_a() for _ in range(5))]
    fourth = [_reduction_a(), *(_block_b() for _ in range(10))]
    fifth = [_reduction_b(), *(_block_c() for _ in range(5))]
    stages = [
        Stage(nn.Sequential(*first), 64, 2),
        Stage(nn.Sequential(*second), 192, 4),
        Stage(nn.Sequential(*third), 256, 8),
        Stage(nn.Sequential(*fourth), 896, 16),
        Stage(nn.Sequential(*fifth), 1792, 32),
    ]
    head = ClassifierHead(1792, num_classes, drop_rate=drop_rate)
    net = Net(stages, head, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate)
    return net.apply(initialise)
