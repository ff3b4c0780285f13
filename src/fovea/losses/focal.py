"""The focal loss: cross-entropy that fades for what is already right, so that the easy many do not drown the hard few.

torchvision's `sigmoid_focal_loss` is the same number; its gradient is NaN for 0 < γ < 1 where the sigmoid rounds to 1
(scores above 17 in float32), and it has no form for several classes. Hence our own lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES
from fovea.losses.checks import IGNORE_INDEX, expect_range
from fovea.losses.classes import ClassLoss
from fovea.losses.margins import MarginLoss


@LOSSES.register("focal", summary="cross-entropy that fades for what is right, over classes (Lin et al. 2017, §3.2)")
class Focal(ClassLoss):
    """-(1 - p_y)^γ ln p_y with p = softmax(s).

    Scores (B, C, …), target (B, …); source: Lin et al. 2017, §3.2. At γ = 0 it is cross-entropy.

    Args:
        gamma: γ from 0 on; how fast what is right fades.
        weight, ignore_index, reduction: as in `ClassLoss`; α of the paper is a weight of the classes.

    >>> Focal(gamma=2)(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))  # ln 2 / 4
    tensor(0.1733)
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        expect_range("gamma", gamma, 0)
        self.gamma = gamma

    def cost(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return the faded cross-entropy of each target."""
        others = scores.softmax(1).scatter(1, ids.unsqueeze(1), 0.0).sum(1)  # 1 - p_y, also where p_y rounds to 1
        return _faded(functional.cross_entropy(scores, ids, reduction="none"), others, self.gamma)


@LOSSES.register("sigmoid_focal", summary="the same for yes-or-no questions, as in RetinaNet (Lin et al. 2017, §3.2)")
class SigmoidFocal(MarginLoss):
    """-(1 - p)^γ ln p with p the probability of the right answer, a sigmoid.

    Scores and target (…), answers of 0 and 1; source: Lin et al. 2017, §3.2. At γ = 0 it is the logistic loss. The mean
    is over all questions; detectors divide the sum by the number of objects instead.

    Args:
        gamma: γ from 0 on.
        alpha: weight of yes, 1 - alpha that of no; None for neither. The paper has 0.25 beside γ = 2.
        ignore_index, reduction: as in `MarginLoss`.

    >>> SigmoidFocal(gamma=2, alpha=None)(torch.zeros(1), torch.ones(1))  # ln 2 / 4
    tensor(0.1733)
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | None = 0.25,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(ignore_index=ignore_index, reduction=reduction)
        expect_range("gamma", gamma, 0)
        self.gamma = gamma
        if alpha is not None:
            expect_range("alpha", alpha, 0, 1)
        self.alpha = alpha

    def cost(self, scores: Tensor, answers: Tensor) -> Tensor:
        """Return the faded logistic loss of each answer."""
        wrong = torch.lerp(scores.sigmoid(), (-scores).sigmoid(), answers)  # the probability of the other answer
        losses = functional.binary_cross_entropy_with_logits(scores, answers, reduction="none")
        if self.alpha is not None:
            losses = losses * (answers * self.alpha + (1 - answers) * (1 - self.alpha))
        return _faded(losses, wrong, self.gamma)


def _faded(losses: Tensor, wrong: Tensor, gamma: float) -> Tensor:
    """Return losses · wrong^γ; the floor keeps the gradient of a fractional power finite at 0."""
    return losses * wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** gamma
