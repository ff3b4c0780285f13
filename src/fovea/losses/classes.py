"""Losses of a choice between classes, from a score for each class.

Scores (B, C) or, for dense prediction, (B, C, …); target (B,) or (B, …), class ids. Classes are on axis 1 as in torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES, WeightedLoss
from fovea.losses.checks import IGNORE_INDEX, as_class_ids, as_distributions, expect_classes, expect_range, may_look


class ClassLoss(WeightedLoss):
    """What the losses below share. With weights the mean divides by the weights of the targets, as in torch.

    Args:
        weight, ignore_index, reduction: as in `WeightedLoss`.
    """

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of each target and the weight of its class."""
        ids, weights = self.targets(scores, target)
        return self.cost(scores, ids) * weights, weights

    def targets(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return class ids (B, …), 0 where they do not count, and what each weighs."""
        ids, counts = as_class_ids(scores, target, ignore_index=self.ignore_index)
        weight = self.weight_for(scores)
        return ids, counts.to(scores.dtype) if weight is None else weight[ids] * counts

    def cost(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return the unweighted loss (B, …) of each class id (B, …)."""
        raise NotImplementedError


@LOSSES.register("zero_one", summary="1 where the likeliest class is not the target; a metric (Bishop 2006, §1.5.1)")
class ZeroOne(ClassLoss):
    """1 if argmax(s) ≠ y, else 0; its mean is 1 - accuracy. It has no gradient: for judging, not for training.

    Scores (B, C, …), target (B, …); source: Bishop 2006, §1.5.1. Ties go to the lower class id.

    >>> ZeroOne()(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
    tensor(0.5000)
    """

    def cost(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return 0 or 1 for each target."""
        return (scores.argmax(1) != ids).to(scores.dtype)


@LOSSES.register("log", summary="minus the logarithm of a given probability (Good 1952)")
class Log(ClassLoss):
    """-ln p_y of probabilities, not scores: for ensembles, calibrated outputs and anything else that sums to 1.

    Probabilities (B, C, …), target (B, …); source: Good 1952. Probabilities below the smallest normal number of their
    type are raised to it. From scores, `cross_entropy` is the accurate way.

    >>> Log()(torch.tensor([[0.25, 0.75]]), torch.tensor([0]))  # ln 4
    tensor(1.3863)
    """

    def cost(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return -ln p_y."""
        if may_look(scores):
            low, high = scores.detach().aminmax()
            if not (low >= 0 and high <= 1 + 1e-3):
                raise ValueError(
                    f"scores run from {low:.4g} to {high:.4g}, expected probabilities; for logits use cross_entropy"
                )
        own = scores.gather(1, ids.unsqueeze(1)).squeeze(1)
        return -own.clamp(min=torch.finfo(scores.dtype).tiny).log()


@LOSSES.register("cross_entropy", summary="minus the logarithm of the softmax of the target (Bishop 2006, §4.3.4)")
class CrossEntropy(ClassLoss):
    """-ln softmax(s)_y, or -Σ_c t_c ln softmax(s)_c of a distribution t.

    `torch.nn.functional.cross_entropy`. Scores (B, C, …), target (B, …) class ids or (B, C, …) distributions, such as
    mixup makes; source: Bishop 2006, §4.3.4.

    Args:
        smoothing: ε, the share of the target that is spread over all classes, from 0 to 1; see `label_smoothing`.
        weight, ignore_index, reduction: as in `ClassLoss`. A distribution weighs 1 in the mean, as in torch.

    >>> CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3]))  # ln 4
    tensor(1.3863)
    """

    def __init__(
        self,
        *,
        smoothing: float = 0.0,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        expect_range("smoothing", smoothing, 0, 1)
        self.smoothing = smoothing

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of each target and the weight of its class."""
        expect_classes(scores)
        if target.is_floating_point() and target.ndim == scores.ndim:
            return self._cross_entropy(scores, as_distributions(scores, target)), None
        _, weights = self.targets(scores, target)
        return self._cross_entropy(scores, target.long(), ignore_index=self.ignore_index), weights

    def _cross_entropy(self, scores: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
        weight = self.weight_for(scores)  # inside, because label smoothing weighs every class of a target
        return functional.cross_entropy(
            scores, target, weight, ignore_index=ignore_index, reduction="none", label_smoothing=self.smoothing
        )


@LOSSES.register("label_smoothing", summary="cross-entropy with part of the target spread (Szegedy et al. 2016, §7)")
def label_smoothing(
    *,
    smoothing: float = 0.1,
    weight: Sequence[float] | Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> CrossEntropy:
    """(1-ε)·CE(s, y) + ε/C · Σ_c -ln softmax(s)_c: no score gains from growing without end.

    Scores (B, C, …), target (B, …) or (B, C, …); options are those of `CrossEntropy`; source: Szegedy et al. 2016, §7.

    >>> label_smoothing()(torch.tensor([[10.0, 0.0]]), torch.tensor([0]))
    tensor(0.5000)
    """
    return CrossEntropy(smoothing=smoothing, weight=weight, ignore_index=ignore_index, reduction=reduction)


@LOSSES.register("multi_hinge", summary="hinge between the target and its rivals (Crammer & Singer 2001, §3)")
class MultiHinge(ClassLoss):
    """max(0, 1 + max_{c≠y} s_c - s_y), or the sum over all rivals c ≠ y divided by C.

    Scores (B, C, …), target (B, …). Sources: Crammer & Singer 2001, §3 for the worst rival; Weston & Watkins 1999 for
    all, which is `torch.nn.functional.multi_margin_loss`.

    Args:
        rivals: "worst" or "all".
        weight, ignore_index, reduction: as in `ClassLoss`.

    >>> MultiHinge()(torch.tensor([[2.0, 1.5, 1.0]]), torch.tensor([0]))
    tensor(0.5000)
    """

    def __init__(
        self,
        *,
        rivals: str = "worst",
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        if rivals not in ("worst", "all"):
            raise ValueError(f"rivals is {rivals!r}, expected 'worst' or 'all'")
        self.rivals = rivals

    def cost(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return how far the target falls short of a lead of 1."""
        rows = scores.movedim(1, -1).flatten(0, -2)  # (B, C, …) -> (N, C)
        flat = ids.flatten()
        if self.rivals == "all":
            losses = functional.multi_margin_loss(rows, flat, reduction="none")
        else:
            own = rows.gather(1, flat.unsqueeze(1))
            short = (1 + rows - own).scatter(1, flat.unsqueeze(1), 0.0)  # 0 for the target itself: it is no rival
            losses = short.amax(1).clamp(min=0)
        return losses.reshape(ids.shape)
