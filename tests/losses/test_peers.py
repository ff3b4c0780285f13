"""The numbers that two libraries give for the same losses: segmentation-models-pytorch and pytorch-metric-learning.

Neither is installed with fovea (docs/decisions/0008). The numbers are theirs, of versions 0.6.0 and 2.9.0, for the
waves below, where every class has pixels; triplets that cost nothing count too, by their `MeanReducer`.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses import LOSSES


def waves(*shape: int) -> Tensor:
    return 2 * torch.sin(0.7 * torch.arange(math.prod(shape), dtype=torch.float32)).reshape(shape)


MAPS, IDS = waves(3, 4, 5, 6), (torch.arange(90) * 7 // 3 % 4).reshape(3, 5, 6)
ONE_MAP, MASK = waves(3, 1, 5, 6), (torch.arange(90) ** 2 // 5 % 2).reshape(3, 1, 5, 6)
EMBEDDINGS, LABELS = waves(12, 5), torch.arange(12) % 3
COSINES = functional.normalize(EMBEDDINGS) @ functional.normalize(waves(5, 3).cos(), dim=0)


@pytest.mark.parametrize(
    ("name", "options", "given", "theirs"),
    [
        ("dice", {}, (MAPS, IDS), 0.715478),
        ("dice", {"smooth": 0.0}, (MAPS, IDS), 0.747582),
        ("dice", {}, (ONE_MAP, MASK), 0.489416),
        ("tversky", {"alpha": 0.3, "beta": 0.7}, (MAPS, IDS), 0.715078),
        ("tversky", {"alpha": 1.0, "beta": 1.0}, (MAPS, IDS), 0.833963),  # their Jaccard
        ("lovasz", {}, (MAPS, IDS), 0.792224),
        ("lovasz", {"over": "image"}, (MAPS, IDS), 0.791940),
        ("lovasz", {}, (ONE_MAP, MASK), 1.678859),
        ("sigmoid_focal", {"alpha": None}, (ONE_MAP, MASK), 0.515731),
    ],
)
def test_masks_cost_what_segmentation_models_pytorch_says(
    name: str, options: dict[str, Any], given: tuple[Tensor, Tensor], theirs: float
) -> None:
    assert LOSSES[name].build(**options)(*given).item() == pytest.approx(theirs, abs=2e-5)


@pytest.mark.parametrize(
    ("name", "options", "scores", "theirs"),
    [
        ("triplet", {"margin": 0.5, "miner": "all"}, EMBEDDINGS, 1.560086),
        ("triplet", {"margin": 0.5, "miner": "batch_hard"}, EMBEDDINGS, 4.069285),
        ("arcface", {"margin": 0.5, "scale": 64.0}, COSINES, 34.9187),
        ("cosface", {"margin": 0.35, "scale": 64.0}, COSINES, 27.4958),
    ],
)
def test_embeddings_cost_what_pytorch_metric_learning_says(
    name: str, options: dict[str, Any], scores: Tensor, theirs: float
) -> None:
    assert LOSSES[name].build(**options)(scores, LABELS).item() == pytest.approx(theirs, rel=1e-5)
