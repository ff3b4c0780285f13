"""Softmax over angles with a margin: SphereFace, CosFace and ArcFace, one formula with three settings.

The scores are cosines between embeddings and one direction for each class; `CosineClassifier` makes them. With angle θ
to the target's direction, its score becomes s·(ψ(m1·θ + m2) - m3) and the others' s·cos θ_c; the rest is cross-entropy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fovea.losses.base import LOSSES, at_least_float32
from fovea.losses.checks import IGNORE_INDEX, expect_range, may_look
from fovea.losses.classes import ClassLoss

_ROUNDING = 1e-2  # of cosines in bfloat16
_EDGE = 1e-6  # the angle's gradient is infinite at a cosine of 1


class MarginSoftmax(ClassLoss):
    """CE over s·cos θ_c, the target's angle made worse by margins (Deng et al. 2019, §2.1, eq. 4).

    ψ(φ) is cos φ up to φ = π and goes on falling beyond, as Liu et al. 2017, eq. 7 have it: (-1)^k cos φ - 2k between
    kπ and (k+1)π. Cosines (B, C), target (B,).

    Args:
        multiply: m1 from 1 on, a factor of the angle.
        add: m2, an angle in radians from 0 to π.
        subtract: m3 from 0 on, taken off the cosine.
        scale: s above 0. Too small, and no probability can come near 1.
        weight, ignore_index, reduction: as in `ClassLoss`.
    """

    def __init__(
        self,
        *,
        multiply: float = 1.0,
        add: float = 0.0,
        subtract: float = 0.0,
        scale: float = 64.0,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        expect_range("multiply", multiply, 1)
        expect_range("add", add, 0, math.pi)
        expect_range("subtract", subtract, 0)
        if not scale > 0:
            raise ValueError(f"scale is {scale}, expected a number above 0")
        self.multiply, self.add, self.subtract, self.scale = multiply, add, subtract, scale

    def cost(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return the cross-entropy of each target after its margin."""
        if may_look(scores) and scores.detach().abs().max() > 1 + _ROUNDING:
            low, high = scores.detach().aminmax()
            raise ValueError(
                f"scores run from {low:.4g} to {high:.4g}, expected cosines from -1 to 1: normalise embeddings and"
                " class directions, as CosineClassifier does"
            )
        index = ids.unsqueeze(1)
        own = scores.gather(1, index)
        if self.multiply != 1 or self.add != 0:
            angle = own.clamp(-1 + _EDGE, 1 - _EDGE).acos()
            own = _falling_cosine(self.multiply * angle + self.add)
        return functional.cross_entropy(
            self.scale * scores.scatter(1, index, own - self.subtract), ids, reduction="none"
        )


@LOSSES.register("sphereface", summary="softmax over angles, the target's multiplied (Liu et al. 2017, §3.2)")
def sphereface(*, margin: float = 4.0, scale: float = 64.0, reduction: str = "mean") -> MarginSoftmax:
    """ψ(m·θ): the target's angle counts m times. Cosines (B, C), target (B,); source: Liu et al. 2017, §3.2.

    The paper scales by the length of the embedding and mixes plain softmax in while it learns; here the scale is fixed,
    as Deng et al. 2019 compare it. At margin 1 it is scaled cosine softmax.

    >>> sphereface(margin=2, scale=1)(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))  # cos 2·90° = -1: ln(1 + e)
    tensor(1.3133)
    """
    return MarginSoftmax(multiply=margin, scale=scale, reduction=reduction)


@LOSSES.register("cosface", summary="softmax over angles, the target's cosine reduced (Wang et al. 2018, §3.1)")
def cosface(*, margin: float = 0.35, scale: float = 64.0, reduction: str = "mean") -> MarginSoftmax:
    """cos θ - m. Cosines (B, C), target (B,); source: Wang et al. 2018, §3.1. At margin 0: scaled cosine softmax.

    >>> cosface(margin=1, scale=1)(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))  # ln(1 + e)
    tensor(1.3133)
    """
    return MarginSoftmax(subtract=margin, scale=scale, reduction=reduction)


@LOSSES.register("arcface", summary="softmax over angles, the target's widened (Deng et al. 2019, §2.1)")
def arcface(*, margin: float = 0.5, scale: float = 64.0, reduction: str = "mean") -> MarginSoftmax:
    """cos(θ + m), m in radians. Cosines (B, C), target (B,); source: Deng et al. 2019, §2.1.

    At margin 0 it is scaled cosine softmax.

    >>> arcface(margin=math.pi / 2, scale=1)(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))  # cos 180°: ln(1 + e)
    tensor(1.3133)
    """
    return MarginSoftmax(add=margin, scale=scale, reduction=reduction)


class CosineClassifier(nn.Module):
    """A direction for each class: embeddings (B, D) in, cosines (B, C) out. The head that margin softmax trains.

    Args:
        features: D.
        classes: C.

    >>> CosineClassifier(8, 3)(torch.randn(2, 8)).shape
    torch.Size([2, 3])
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(functional.normalize(torch.randn(classes, features)))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the cosine of each embedding with each direction, in at least float32: angles need the digits."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return functional.normalize(at_least_float32(embeddings)) @ functional.normalize(self.weight).T


def _falling_cosine(angle: Tensor) -> Tensor:
    """Return ψ: cos φ to π, then (-1)^k cos φ - 2k, which keeps falling."""
    turns = (angle.detach() / math.pi).floor()
    return (1 - 2 * (turns % 2)) * angle.cos() - 2 * turns
