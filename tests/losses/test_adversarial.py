"""GAN losses: the values of their papers, optimal discriminators, gradients of generators, the gradient penalty."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from fovea.losses.adversarial import (
    AdversarialLoss,
    HingeGan,
    LeastSquares,
    Minimax,
    NonSaturating,
    Wasserstein,
    gradient_penalty,
)

REAL, FAKE = torch.randn(2, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
KINDS = [Minimax, NonSaturating, LeastSquares, HingeGan, Wasserstein]


@pytest.mark.parametrize("kind", KINDS)
def test_the_discriminators_loss_is_that_of_both_kinds_of_image(kind: type[AdversarialLoss]) -> None:
    loss = kind(reduction="sum")
    together = loss(torch.cat([REAL, FAKE]), torch.cat([torch.ones(20), torch.zeros(20)]))
    torch.testing.assert_close(loss.discriminator(REAL, FAKE), together)


def test_minimax_is_binary_cross_entropy_and_its_generator_plays_against_it() -> None:
    loss = Minimax()
    bce = functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(
        loss.discriminator(REAL, FAKE), bce(REAL, torch.ones_like(REAL)) + bce(FAKE, torch.zeros_like(FAKE))
    )
    torch.testing.assert_close(loss.generator(FAKE), -bce(FAKE, torch.zeros_like(FAKE)))
    torch.testing.assert_close(NonSaturating().generator(FAKE), bce(FAKE, torch.ones_like(FAKE)))


def test_only_the_non_saturating_generator_learns_when_it_is_found_out() -> None:
    scores = torch.tensor([-20.0], requires_grad=True)
    slopes = [abs(torch.autograd.grad(kind().generator(scores), scores)[0].item()) for kind in (Minimax, NonSaturating)]
    assert slopes[0] < 1e-8 and slopes[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "best", "value"),
    [
        # a point that is real with probability 0.7: the best score, and the loss there
        (Minimax, math.log(7 / 3), -(0.7 * math.log(0.7) + 0.3 * math.log(0.3))),
        (LeastSquares, 0.7, (0.7 * 0.3**2 + 0.3 * 0.7**2) / 2),
        (HingeGan, 1.0, 0.6),
    ],
)
def test_the_best_score_of_a_doubtful_image(kind: type[AdversarialLoss], best: float, value: float) -> None:
    scores = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    loss = kind(reduction="none")
    mixed = 0.7 * loss(scores, torch.ones(6001)) + 0.3 * loss(scores, torch.zeros(6001))
    assert scores[mixed.argmin()].item() == pytest.approx(best, abs=1e-3)
    assert mixed.min().item() == pytest.approx(value, abs=1e-6)


def test_hinge_and_wasserstein_generators_raise_the_score() -> None:
    for kind in (HingeGan, Wasserstein):
        assert kind().generator(FAKE).item() == pytest.approx(-FAKE.mean().item())
    assert Wasserstein().discriminator(REAL, FAKE).item() == pytest.approx((FAKE.mean() - REAL.mean()).item())
    assert LeastSquares().generator(FAKE).item() == pytest.approx(((FAKE - 1) ** 2).mean().item() / 2)


def test_generators_sum_bfloat16_scores_in_float32() -> None:
    assert NonSaturating().generator(FAKE.bfloat16()).dtype == torch.float32


def test_the_gradient_penalty_of_a_linear_critic_is_known() -> None:
    critic = nn.Linear(6, 1, bias=False).double()
    real, fake = torch.randn(2, 8, 6, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, weight=3)
    length = critic.weight.norm()
    assert penalty.item() == pytest.approx(3 * (length.item() - 1) ** 2)
    (slope,) = torch.autograd.grad(penalty, critic.weight)  # through the gradient
    torch.testing.assert_close(slope, (6 * (length - 1) * critic.weight / length).detach())


def test_the_points_lie_between_real_and_generated_images_and_follow_the_generator() -> None:
    seen = []

    def critic(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.detach())
        return images.square().flatten(1).sum(1)

    real, fake = torch.zeros(50, 1, 2, 2), torch.ones(50, 1, 2, 2)
    for seed in (0, 0, 1):
        gradient_penalty(critic, real, fake, generator=torch.Generator().manual_seed(seed))
    first = seen[0].flatten(1)
    assert (first == first[:, :1]).all() and first.min() > 0 and first.max() < 1 and first.std() > 0.2
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match=r"real images are \(4, 3\), generated \(5, 3\); expected one shape"):
        gradient_penalty(lambda images: images.sum(1), torch.zeros(4, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"target runs from 0 to 2, expected 0 \(no\) to 1"):
        Minimax()(torch.zeros(2), torch.tensor([0, 2]))
