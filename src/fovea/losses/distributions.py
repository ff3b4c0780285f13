"""Losses between distributions over classes: ordered ones (EMD) and those of a teacher (distillation).

Scores (B, C) or (B, C, …), classes on axis 1 as in torch; the target has the same shape.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES, Loss
from fovea.losses.checks import as_distributions, as_values, expect_classes, expect_range


@LOSSES.register("emd", summary="earth mover's distance of ordered ratings (Talebi & Milanfar 2018, eq. 1)")
class EarthMover(Loss):
    """(1/C Σ_k |CDF_p(k) - CDF_t(k)|^r)^(1/r) with p = softmax(s): being one grade off costs less than five.

    Scores and target (B, C, …), the target a distribution over C ordered grades, such as shares of votes; source: NIMA,
    Talebi & Milanfar 2018, eq. 1. C times the value at r = 1 is the Wasserstein distance of grades one apart.

    Args:
        r: power, from 1 on; the paper trains with 2.
        reduction: as in `Loss`.

    >>> far = torch.tensor([[0.0, 0.0, 1.0]])
    >>> EarthMover(r=1)(torch.tensor([[100.0, 0.0, 0.0]]), far)  # everything is moved by two grades: 2 / 3
    tensor(0.6667)
    """

    def __init__(self, *, r: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        expect_range("r", r, 1)
        self.r = r

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the distance (B, …) of each pair of distributions."""
        shares = as_distributions(scores, target)
        ahead = (scores.softmax(1) - shares).cumsum(1)
        return torch.linalg.vector_norm(ahead, self.r, dim=1) / scores.shape[1] ** (1 / self.r), None


@LOSSES.register("distillation", summary="divergence from a teacher's softened answers (Hinton et al. 2015, §2)")
class Distillation(Loss):
    """T² · KL(softmax(t/T) ‖ softmax(s/T)): learn what the teacher holds likely, also among the wrong classes.

    `torch.nn.functional.kl_div`. Scores and target (B, C, …), both logits; source: Hinton, Vinyals & Dean 2015, §2. T²
    keeps the size of the gradient when T changes (§2.1). At T = 1 a teacher that is certain makes it cross-entropy. The
    teacher's part carries a gradient if its logits do: compute them under `torch.no_grad()`.

    Args:
        temperature: T above 0; higher shows more of the unlikely classes.
        reduction: as in `Loss`.

    >>> Distillation(temperature=1)(torch.zeros(1, 2), torch.tensor([[100.0, 0.0]]))  # ln 2
    tensor(0.6931)
    """

    def __init__(self, *, temperature: float = 4.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}, expected a number above 0")
        self.temperature = temperature

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the divergence (B, …) of each row of logits from the teacher's."""
        expect_classes(scores)
        student = (scores / self.temperature).log_softmax(1)
        teacher = (as_values(scores, target) / self.temperature).log_softmax(1)
        divergence = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        return divergence * self.temperature**2, None
