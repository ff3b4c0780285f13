"""ShuffleNet v1 (Zhang, Zhou, Lin and Sun 2017, arXiv 1707.01083, table 1 and figure 2).

`shufflenet_v1_1x` is the paper's main network (3 groups, width 1). The other widths are written 0_25x, 0_5x, 1_5x and
2x, other numbers of groups _g1, _g2, _g4 and _g8: `shufflenet_v1_0_5x_g8`. What the paper leaves open: the channels
inside a unit are the multiple of the groups that is nearest to a quarter of its output, and those of the first
convolution, which the authors do not scale like the rest, are theirs (at 0_25x, what gives the paper's 13 million
multiply-accumulates), rounded up to such a multiple.
"""

from __future__ import annotations

from functools import partial

import torch
from timm.layers import ClassifierHead, ConvNormAct
from torch import Tensor, nn

from fovea.models.nets.net import Net, Stage, initialise
from fovea.models.nets.registry import register

CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # groups -> output channels of stage 2 at width 1 (table 1)
# text in the name -> factor on the channels of the stages, channels of the first convolution
WIDTHS = {"0_25x": (0.25, 12), "0_5x": (0.5, 12), "1x": (1.0, 24), "1_5x": (1.5, 24), "2x": (2.0, 48)}
_REPEATS = (4, 8, 4)  # units of stages 2, 3 and 4


class Unit(nn.Module):
    """Figure 2 (b), and (c) with stride 2: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride).

    Args:
        groups: of both 1 × 1 convolutions.
        first_groups: of the first one, where it differs: on few channels it is not grouped (§3.2).
    """

    def __init__(self, inputs: int, outputs: int, *, groups: int, first_groups: int, stride: int) -> None:
        super().__init__()
        inside = max(1, round(outputs / 4 / groups)) * groups
        branch = outputs - inputs if stride == 2 else outputs
        self.expand = ConvNormAct(inputs, inside, 1, groups=first_groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.depthwise = ConvNormAct(inside, inside, 3, stride, padding=1, groups=inside, apply_act=False)
        self.project = ConvNormAct(inside, branch, 1, groups=groups, apply_act=False)
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.shuffle(self.expand(x))))
        return self.act(x + y if self.pool is None else torch.cat([self.pool(x), y], 1))


def _stage(inputs: int, outputs: int, *, groups: int, first_groups: int, repeats: int) -> nn.Sequential:
    units = [Unit(inputs, outputs, groups=groups, first_groups=first_groups, stride=2)]
    units += [Unit(outputs, outputs, groups=groups, first_groups=groups, stride=1) for _ in range(repeats - 1)]
    return nn.Sequential(*units)


def shufflenet_v1(
    *, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0, width: float, stem: int, groups: int
) -> Net:
    """Build a ShuffleNet v1.

    Args:
        width: factor on the channels of the stages.
        stem: channels of the first convolution.
        groups: of the 1 × 1 convolutions: 1, 2, 3, 4 or 8.
    """
    stem = -(-stem // groups) * groups  # rounded up
    second = round(CHANNELS[groups] * width)
    build = partial(_stage, groups=groups)
    stages = [
        Stage(ConvNormAct(in_chans, stem, 3, 2, padding=1), stem, 2),
        Stage(nn.MaxPool2d(3, 2, 1), stem, 4),
        Stage(build(stem, second, first_groups=1, repeats=_REPEATS[0]), second, 8),
        Stage(build(second, 2 * second, first_groups=groups, repeats=_REPEATS[1]), 2 * second, 16),
        Stage(build(2 * second, 4 * second, first_groups=groups, repeats=_REPEATS[2]), 4 * second, 32),
    ]
    head = ClassifierHead(4 * second, num_classes, drop_rate=drop_rate)
    net = Net(stages, head, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate)
    return net.apply(initialise)


for _text, (_width, _stem) in WIDTHS.items():
    for _groups in CHANNELS:
        register(
            f"shufflenet_v1_{_text}" + ("" if _groups == 3 else f"_g{_groups}"),
            summary=f"ShuffleNet v1, {_groups} groups, width {_width:g}",
            first_conv="stages.0.conv",
        )(partial(shufflenet_v1, width=_width, stem=_stem, groups=_groups))
