"""SphereFace, CosFace and ArcFace: scaled cosine softmax without margin, their formulas with it, beyond 180° too."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from fovea.losses.classes import CrossEntropy
from fovea.losses.margin_softmax import CosineClassifier, MarginSoftmax, arcface, cosface, sphereface

COSINES = torch.rand(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.98 - 0.99
IDS = torch.arange(30) % 5


@pytest.mark.parametrize(
    "loss", [arcface(margin=0, scale=16), cosface(margin=0, scale=16), sphereface(margin=1, scale=16)]
)
def test_without_margin_it_is_scaled_cosine_softmax(loss: MarginSoftmax) -> None:
    torch.testing.assert_close(loss(COSINES, IDS), CrossEntropy()(16 * COSINES, IDS))


@pytest.mark.parametrize(
    ("loss", "worse"),
    [
        (arcface(margin=0.5, scale=8, reduction="none"), lambda angle: np.cos(angle + 0.5)),
        (cosface(margin=0.35, scale=8, reduction="none"), lambda angle: np.cos(angle) - 0.35),
        (sphereface(margin=2, scale=8, reduction="none"), lambda angle: np.cos(2 * angle)),
    ],
)
def test_the_targets_score_is_made_worse_by_the_formula(
    loss: MarginSoftmax, worse: Callable[[np.ndarray], np.ndarray]
) -> None:
    near = COSINES.clone()
    near[torch.arange(30), IDS] = near[
        torch.arange(30), IDS
    ].abs()  # within 90°, where the formulas need no continuation
    logits = near.numpy().copy()
    own = logits[np.arange(30), IDS.numpy()]
    logits[np.arange(30), IDS.numpy()] = worse(np.arccos(own))
    expected = functional.cross_entropy(8 * torch.as_tensor(logits), IDS, reduction="none")
    torch.testing.assert_close(loss(near, IDS), expected)


@pytest.mark.parametrize("loss", [arcface, sphereface])
def test_the_target_falls_as_its_angle_grows_all_the_way(loss: Callable[..., MarginSoftmax]) -> None:
    angles = torch.linspace(0.01, math.pi - 0.01, 400, dtype=torch.float64)
    cosines = torch.stack([angles.cos(), torch.zeros_like(angles)], 1)
    values = loss(scale=4.0, reduction="none")(cosines, torch.zeros(400, dtype=torch.long))
    steps = values.diff()
    assert steps.min() > 0 and steps.max() < 0.2  # no jump either
    assert values[-1] > values[0] + 4


def test_the_margin_is_met_only_by_a_smaller_angle() -> None:
    # two classes: even chances at cos(θ + m) = cos θ', so a lead of m radians makes the loss ln 2
    first = torch.tensor(0.7, dtype=torch.float64)
    cosines = torch.stack([first.cos(), (first + 0.5).cos()]).unsqueeze(0)
    assert arcface(margin=0.5, scale=30)(cosines, torch.tensor([0])).item() == pytest.approx(math.log(2))


def test_the_classifier_makes_cosines() -> None:
    torch.manual_seed(0)
    head, embeddings = CosineClassifier(6, 4), torch.randn(5, 6)
    expected = functional.cosine_similarity(embeddings.unsqueeze(1), head.weight.unsqueeze(0), dim=2)
    torch.testing.assert_close(head(embeddings), expected)
    torch.testing.assert_close(head(100 * embeddings), head(embeddings))
    with torch.autocast("cpu", torch.bfloat16):
        assert head(embeddings.bfloat16()).dtype == torch.float32


def test_classes_are_learnt_with_a_margin() -> None:
    torch.manual_seed(0)
    embeddings, ids = torch.randn(24, 6), torch.arange(24) % 3
    embeddings[torch.arange(24), ids] += 3
    head = CosineClassifier(6, 3)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        loss = arcface(margin=0.3, scale=8)(head(embeddings), ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (head(embeddings).argmax(1) == ids).all()


def test_misuse_is_told() -> None:
    with pytest.raises(
        ValueError, match="scores run from -3 to 9, expected cosines from -1 to 1: normalise embeddings"
    ):
        arcface()(torch.tensor([[-3.0, 9.0]]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"multiply is 0\.5, expected a number from 1 on"):
        sphereface(margin=0.5)
    with pytest.raises(ValueError, match="scale is 0, expected a number above 0"):
        cosface(scale=0)
