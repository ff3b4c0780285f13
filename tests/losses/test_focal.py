"""The focal loss: cross-entropy at γ = 0, torchvision's numbers, and gradients that stay finite."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from fovea.losses.classes import CrossEntropy
from fovea.losses.focal import Focal, SigmoidFocal
from fovea.losses.margins import Logistic

GENERATOR = torch.Generator().manual_seed(0)
SCORES = 3 * torch.randn(30, 4, generator=GENERATOR, dtype=torch.float64)


def test_without_fading_it_is_cross_entropy() -> None:
    ids, answers = torch.arange(30) % 4, (SCORES.cos() > 0).double()
    torch.testing.assert_close(Focal(gamma=0)(SCORES, ids), CrossEntropy()(SCORES, ids))
    weighted = [1.0, 2.0, 0.0, 3.0]
    torch.testing.assert_close(Focal(gamma=0, weight=weighted)(SCORES, ids), CrossEntropy(weight=weighted)(SCORES, ids))
    torch.testing.assert_close(SigmoidFocal(gamma=0, alpha=None)(SCORES, answers), Logistic()(SCORES, answers))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_sigmoid_focal_is_torchvisions(gamma: float) -> None:
    answers = (SCORES.cos() > 0).double()
    for alpha in (None, 0.25):
        theirs = sigmoid_focal_loss(SCORES, answers, -1 if alpha is None else alpha, gamma)
        torch.testing.assert_close(SigmoidFocal(gamma=gamma, alpha=alpha, reduction="none")(SCORES, answers), theirs)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_over_two_classes_it_is_the_sigmoid_of_their_difference(gamma: float) -> None:
    ids = torch.arange(30) % 2
    two = Focal(gamma=gamma)(SCORES[:, :2], ids)
    torch.testing.assert_close(two, SigmoidFocal(gamma=gamma, alpha=None)(SCORES[:, 1] - SCORES[:, 0], ids))


def test_a_fractional_gamma_keeps_a_gradient_where_the_sigmoid_rounds_to_1() -> None:
    scores, yes = torch.tensor([20.0], requires_grad=True), torch.ones(1)
    (theirs,) = torch.autograd.grad(sigmoid_focal_loss(scores, yes, gamma=0.5).sum(), scores)
    assert theirs.isnan().all()  # once this fails torchvision's can be wrapped instead
    for loss, given, target in (
        (SigmoidFocal(gamma=0.5), scores, yes),
        (Focal(gamma=0.5), torch.stack([scores, -scores], 1), torch.zeros(1, dtype=torch.long)),
    ):
        (ours,) = torch.autograd.grad(loss(given, target), scores)
        assert ours.isfinite().all() and ours.abs() < 1e-6


def test_what_is_right_fades_against_what_is_wrong() -> None:
    right, wrong = torch.tensor([[3.0]]), torch.tensor([[-3.0]])
    plain = Logistic()(wrong, torch.ones(1, 1)) / Logistic()(right, torch.ones(1, 1))
    faded = SigmoidFocal(gamma=2)(wrong, torch.ones(1, 1)) / SigmoidFocal(gamma=2)(right, torch.ones(1, 1))
    # the ratio grows by ((1 - p) / p)^2 with p = sigmoid(3): e^6
    assert (faded / plain).item() == pytest.approx(torch.tensor(6.0).exp().item(), rel=1e-4)


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="gamma is -1, expected a number from 0 on"):
        Focal(gamma=-1)
    with pytest.raises(ValueError, match="alpha is 2, expected a number from 0 to 1"):
        SigmoidFocal(alpha=2)
