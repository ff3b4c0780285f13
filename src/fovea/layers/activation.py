"""Activations: what a unit makes of its sum. Wraps torch; maxout it has not.

Each maps any shape to the same shape, element by element; maxout alone looks across channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fovea.core.registry import Registry

ACTIVATION: Registry[Callable[..., nn.Module]] = Registry("activation")

for _name, _build, _summary in (
    ("sigmoid", nn.Sigmoid, "σ(x) = 1 / (1 + e⁻ˣ), between 0 and 1 (Rumelhart 1986)"),
    ("tanh", nn.Tanh, "(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ), between −1 and 1 (LeCun 1998, Efficient BackProp §4.4)"),
    ("relu", nn.ReLU, "max(0, x) (Nair & Hinton 2010, §2)"),
    ("relu6", nn.ReLU6, "min(max(0, x), 6), exact in few bits (Krizhevsky 2010; Sandler 2018, §4)"),
    ("leaky_relu", nn.LeakyReLU, "x, or 0.01 x below 0 (Maas 2013, §2)"),
    ("prelu", nn.PReLU, "x, or a·x below 0, a learnt (He 2015, §2.1)"),
    ("elu", nn.ELU, "x, or eˣ − 1 below 0 (Clevert 2016, §3)"),
    ("swish", nn.SiLU, "x σ(x), also SiLU (Ramachandran 2017, §4)"),
    ("hard_swish", nn.Hardswish, "x · relu6(x + 3) / 6, swish without an exponential (Howard 2019, §5.2)"),
    ("mish", nn.Mish, "x tanh(ln(1 + eˣ)) (Misra 2020, §3)"),
):
    ACTIVATION.register(_name, summary=_summary)(_build)


@ACTIVATION.register("maxout", summary="max over k linear maps of the channels, all learnt (Goodfellow 2013, §3)")
class Maxout(nn.Module):
    """The largest of `pieces` learnt affine maps, h = maxⱼ (Wⱼx + bⱼ): a convex function that is learnt, not chosen.

    On a map each place is treated alike, as by 1×1 convolutions. Costs `pieces` such convolutions.

    Args:
        channels: C, of input and output.
        pieces: k, how many affine maps there are.

    Shape: (B,C) or (B,C,H,W) -> the same.

    Raises:
        ValueError: there is no piece.

    Source: Goodfellow et al. 2013, "Maxout networks", section 3.

    >>> Maxout(4)(torch.zeros(2, 4, 5, 5)).shape
    torch.Size([2, 4, 5, 5])
    """

    def __init__(self, channels: int, *, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 1:
            raise ValueError(f"pieces is {pieces}; maxout needs at least one")
        self.pieces = pieces
        self.maps = nn.Linear(channels, pieces * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the largest of the maps."""
        mapped = self.maps(x.movedim(1, -1)).unflatten(-1, (self.pieces, -1))  # (B,C,…) -> (B,…,k,C)
        return torch.amax(mapped, -2).movedim(-1, 1)
