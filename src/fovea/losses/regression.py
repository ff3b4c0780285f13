"""Losses of numbers: how far predictions are from targets, element by element, and norm-in-norm over a batch.

Scores and target have the same shape, any one for the first five; broadcasting is refused, because (B, 1) against (B,)
would compare every prediction with every target.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES, Loss
from fovea.losses.checks import as_values, expect_range


@LOSSES.register("l1", summary="absolute difference; learns the median (Bishop 2006, §1.5.5)")
class L1(Loss):
    """|s - t|. `torch.nn.functional.l1_loss`.

    Scores and target (…); source: Bishop 2006, §1.5.5.

    >>> L1()(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]))
    tensor(2.)
    """

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the absolute differences."""
        return functional.l1_loss(scores, as_values(scores, target), reduction="none"), None


@LOSSES.register("l2", summary="squared difference; learns the mean (Bishop 2006, §1.5.5)")
class L2(Loss):
    """(s - t)², without a half. `torch.nn.functional.mse_loss`.

    Scores and target (…); source: Bishop 2006, §1.5.5.

    >>> L2()(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]))
    tensor(5.)
    """

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the squared differences."""
        return functional.mse_loss(scores, as_values(scores, target), reduction="none"), None


@LOSSES.register("smooth_l1", summary="a parabola near 0, slope 1 beyond β (Girshick 2015, §2.3)")
class SmoothL1(Loss):
    """d²/(2β) where |d| < β, else |d| - β/2, with d = s - t. `torch.nn.functional.smooth_l1_loss`.

    Scores and target (…); source: Girshick 2015, §2.3 with β = 1. At β = 0 it is L1; β times it is `huber` at δ = β.

    Args:
        beta: where the parabola ends, from 0 on, in units of the target.
        reduction: as in `Loss`.

    >>> SmoothL1(reduction="none")(torch.tensor([0.5, 3.0]), torch.zeros(2))
    tensor([0.1250, 2.5000])
    """

    def __init__(self, *, beta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        expect_range("beta", beta, 0)
        self.beta = beta

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the smoothed absolute differences."""
        return functional.smooth_l1_loss(scores, as_values(scores, target), reduction="none", beta=self.beta), None


@LOSSES.register("huber", summary="half the square near 0, slope δ beyond δ (Huber 1964)")
class Huber(Loss):
    """d²/2 where |d| ≤ δ, else δ(|d| - δ/2), with d = s - t. `torch.nn.functional.huber_loss`.

    Scores and target (…); source: Huber 1964. For δ → ∞ it is half of L2.

    Args:
        delta: where the parabola ends, above 0, in units of the target.
        reduction: as in `Loss`.

    >>> Huber(delta=2, reduction="none")(torch.tensor([1.0, 4.0]), torch.zeros(2))
    tensor([0.5000, 6.0000])
    """

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        if not delta > 0:
            raise ValueError(f"delta is {delta}, expected a number above 0")
        self.delta = delta

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the bounded-slope squares."""
        return functional.huber_loss(scores, as_values(scores, target), reduction="none", delta=self.delta), None


@LOSSES.register("charbonnier", summary="L1 rounded at 0, for restored images (Lai et al. 2017, §3.2)")
class Charbonnier(Loss):
    """√((s - t)² + ε²): L1 with a gradient everywhere.

    Scores and target (…); sources: Charbonnier et al. 1994; Lai et al. 2017, §3.2. At ε = 0 it is L1; a perfect
    prediction costs ε, not 0.

    Args:
        epsilon: ε from 0 on, in units of the target; 1e-3 suits pixels from 0 to 1.
        reduction: as in `Loss`.

    >>> Charbonnier(epsilon=3)(torch.tensor([4.0]), torch.zeros(1))
    tensor(5.)
    """

    def __init__(self, *, epsilon: float = 1e-3, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        expect_range("epsilon", epsilon, 0)
        self.epsilon = epsilon

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the rounded absolute differences."""
        difference = scores - as_values(scores, target)
        return torch.hypot(difference, torch.full_like(difference, self.epsilon)), None


@LOSSES.register("norm_in_norm", summary="distance of normalised quality scores (Li, Jiang & Jiang 2020, §3)")
class NormInNorm(Loss):
    """Σ_i |ŝ_i - t̂_i|^p, where ^ takes the batch's mean off and divides by the q-norm: order and spacing count.

    Source: Li, Jiang & Jiang 2020 (arXiv 2008.03889), §3, without its constant factor. At p = q = 2 it is
    2(1 - Pearson's correlation). It is one number for a batch: scores and target (B,), or (B, K) for K qualities, each
    by itself. So the batch size is part of it, and the scores come out on any scale: fit a line to them afterwards.
    A batch of one, or of equal targets, says nothing: its loss is 0, or constant.

    Args:
        p: power of the difference, from 1 on.
        q: of the norm that is divided by, from 1 on.
        reduction: over the K qualities.

    >>> loss = NormInNorm(p=2, q=2)
    >>> loss(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([30.0, 20.0, 10.0]))  # the reverse order: 2 (1 + 1)
    tensor(4.0000)
    """

    def __init__(self, *, p: float = 1.0, q: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        expect_range("p", p, 1)
        expect_range("q", q, 1)
        self.p = p
        self.q = q

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the distance of each quality (K,), or of the only one ()."""
        values = as_values(scores, target)
        if scores.ndim not in (1, 2):
            raise ValueError(f"scores have shape {tuple(scores.shape)}, expected (B,) or (B, K)")
        difference = self._normalised(scores) - self._normalised(values)
        return difference.abs().pow(self.p).sum(0), None

    def _normalised(self, values: Tensor) -> Tensor:
        """Take the mean off and divide by the q-norm; values that differ by rounding alone become 0."""
        centred = values - values.mean(0)
        length = torch.linalg.vector_norm(centred, self.q, dim=0)
        rounding = 8 * torch.finfo(values.dtype).eps * torch.linalg.vector_norm(values, self.q, dim=0)
        return centred / length.where(length > rounding, torch.inf)
