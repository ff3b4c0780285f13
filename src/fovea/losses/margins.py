"""Losses of a yes-or-no question, each a function of the margin: how far the score is on the right side of 0.

With y = ±1 for yes and no, the margin is m = y·s. Answers may lie between: an answer t costs t·φ(s) + (1-t)·φ(-s).
Scores and target have the same shape, any one: (B,), one question; (B, C), C labels each by itself; (B, H, W), a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES, WeightedLoss
from fovea.losses.checks import IGNORE_INDEX, as_answers

_STEEPEST = 50.0  # exponents above go on in a straight line: float32 overflows at 88, and sums need room


class MarginLoss(WeightedLoss):
    """What the losses below share.

    Args:
        weight: of no and of yes; what lies between weighs between.
        ignore_index, reduction: as in `WeightedLoss`.
    """

    def __init__(
        self,
        *,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        if self.weight is not None and len(self.weight) != 2:
            raise ValueError(f"weight has {len(self.weight)} numbers, expected 2: of no and of yes")

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of each answer and its weight."""
        answers, counts = as_answers(scores, target, ignore_index=self.ignore_index)
        weights = counts.to(scores.dtype)
        if self.weight is not None:
            of_no, of_yes = self.weight.to(scores.dtype)
            weights = weights * torch.lerp(of_no, of_yes, answers)
        return self.cost(scores, answers) * weights, weights

    def cost(self, scores: Tensor, answers: Tensor) -> Tensor:
        """Return the unweighted loss of each answer from 0 (no) to 1 (yes)."""
        raise NotImplementedError


@LOSSES.register("logistic", summary="logarithm of the probability of the right answer (Bishop 2006, §4.3.2)")
class Logistic(MarginLoss):
    """φ(m) = ln(1 + e^-m): minus the log-likelihood of a yes-or-no answer, s its log-odds.

    `torch.nn.functional.binary_cross_entropy_with_logits`. Scores and target (…); source: Bishop 2006, §4.3.2.

    >>> Logistic()(torch.tensor([0.0, 100.0]), torch.tensor([1, 1]))  # ln 2 / 2
    tensor(0.3466)
    """

    def cost(self, scores: Tensor, answers: Tensor) -> Tensor:
        """Return ln(1 + e^-m)."""
        return functional.binary_cross_entropy_with_logits(scores, answers, reduction="none")


@LOSSES.register("hinge", summary="distance to a margin of 1, zero beyond it (Cortes & Vapnik 1995, §3)")
class Hinge(MarginLoss):
    """φ(m) = max(0, 1 - m): the loss of the support vector machine.

    Scores and target (…); source: Cortes & Vapnik 1995, §3.

    >>> Hinge(reduction="none")(torch.tensor([2.0, 0.5, 0.5]), torch.tensor([1, 1, 0]))
    tensor([0.0000, 0.5000, 1.5000])
    """

    def cost(self, scores: Tensor, answers: Tensor) -> Tensor:
        """Return max(0, 1 - m)."""
        return _on_either_side(lambda margin: functional.relu(1 - margin), scores, answers)


@LOSSES.register("modified_huber", summary="squared hinge, a straight line for what is far wrong (Zhang 2004)")
class ModifiedHuber(MarginLoss):
    """φ(m) = max(0, 1 - m)² for m ≥ -1, else -4m: smooth, and outliers pull no harder than linearly.

    Scores and target (…); source: Zhang 2004, "Solving large scale linear prediction problems using stochastic gradient
    descent algorithms"; as scikit-learn's `SGDClassifier(loss="modified_huber")`.

    >>> ModifiedHuber(reduction="none")(torch.tensor([2.0, 0.5, -3.0]), torch.ones(3))
    tensor([ 0.0000,  0.2500, 12.0000])
    """

    def cost(self, scores: Tensor, answers: Tensor) -> Tensor:
        """Return the squared hinge, or its tangent where m < -1."""
        return _on_either_side(_modified_huber, scores, answers)


@LOSSES.register("exponential", summary="the loss that AdaBoost descends (Friedman, Hastie & Tibshirani 2000, §4.1)")
class Exponential(MarginLoss):
    """φ(m) = e^-m; for m < -50 its tangent at -50, so that nothing overflows.

    Scores and target (…); source: Friedman, Hastie & Tibshirani 2000, §4.1. One mislabelled image far on the wrong side
    outweighs all others.

    >>> Exponential()(torch.tensor([0.0]), torch.tensor([1]))
    tensor(1.)
    """

    def cost(self, scores: Tensor, answers: Tensor) -> Tensor:
        """Return e^-m."""
        return _on_either_side(_exponential, scores, answers)


def _on_either_side(penalty: Callable[[Tensor], Tensor], scores: Tensor, answers: Tensor) -> Tensor:
    """Return t·φ(s) + (1-t)·φ(-s)."""
    return answers * penalty(scores) + (1 - answers) * penalty(-scores)


def _modified_huber(margin: Tensor) -> Tensor:
    return torch.where(margin < -1, -4 * margin, functional.relu(1 - margin).square())


def _exponential(margin: Tensor) -> Tensor:
    within = margin.clamp(min=-_STEEPEST)
    return torch.exp(-within) * (1 + within - margin)
