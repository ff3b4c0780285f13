"""The loss of a training, and the weights of classes in it.

Targets may be class ids (B,), soft distributions (B, C) made by mixup, or indicator rows (B, C) of multi-label data.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from fovea.core.recipe import TrainRecipe

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def build_objective(settings: TrainRecipe, *, counts: np.ndarray, multilabel: bool) -> Objective:
    """Return a function of (logits (B, C), targets) to one loss per image (B,).

    Losses come per image, not averaged, so that the loop can average over all devices exactly.

    Args:
        settings: label smoothing and class weights of the recipe.
        counts: training images per class (C,).
        multilabel: targets are indicator rows, and each class is a yes-or-no question.
    """
    weights = torch.as_tensor(class_weights(counts, settings.class_weights), dtype=torch.float32)

    def many(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        smooth = targets.float() * (1 - settings.label_smoothing) + settings.label_smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none")
        return (losses * weights.to(logits.device)).mean(dim=1)

    def one(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(
            logits.float(),
            targets,
            weight=weights.to(logits.device),
            label_smoothing=settings.label_smoothing,
            reduction="none",
        )

    return many if multilabel else one


def class_weights(counts: np.ndarray, kind: str) -> np.ndarray:
    """Return a weight per class (C,) whose mean over the training images is 1.

    "balanced" is inverse to the class's size, "sqrt_balanced" to its square root; classes without images get 1.

    >>> class_weights(np.array([30, 10]), "balanced").round(2).tolist()
    [0.67, 2.0]
    """
    weights = np.ones(len(counts))
    if kind != "none":
        power = 1.0 if kind == "balanced" else 0.5
        present = counts > 0
        weights[present] = counts[present] ** -power
        weights[present] *= counts.sum() / (weights * counts).sum()
    return weights
