"""Losses of generative adversarial networks: what the discriminator and the generator each minimise.

`loss(scores, target)` is the discriminator's, with target 1 for real and 0 for generated images. Usually one calls
`loss.discriminator(real, generated)` in one step and `loss.generator(generated)` in the other; each takes the
discriminator's scores (logits, before any sigmoid) in any shape, (B,) or maps of patches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES, Loss, at_least_float32, reduced
from fovea.losses.checks import as_answers, expect_range


class AdversarialLoss(Loss):
    """What the losses below share: `real` and `generated` are the discriminator's costs, `fooling` the generator's.

    Args:
        reduction: as in `Loss`.
    """

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the discriminator's cost of each score."""
        answers, _ = as_answers(scores, target)
        return answers * self.real(scores) + (1 - answers) * self.generated(scores), None

    def discriminator(self, real: Tensor, generated: Tensor) -> Tensor:
        """Return what the discriminator minimises: the loss of real images plus that of generated ones.

        Detach the generated images first, or this step trains the generator to be found out.
        """
        return self(real, torch.ones_like(real)) + self(generated, torch.zeros_like(generated))

    def generator(self, generated: Tensor) -> Tensor:
        """Return what the generator minimises, from the scores of its images."""
        return reduced(self.fooling(at_least_float32(generated)), None, self.reduction)

    def real(self, scores: Tensor) -> Tensor:
        """Return the cost of scores of real images."""
        raise NotImplementedError

    def generated(self, scores: Tensor) -> Tensor:
        """Return the cost of scores of generated images."""
        raise NotImplementedError

    def fooling(self, scores: Tensor) -> Tensor:
        """Return the generator's cost of the scores of its images."""
        raise NotImplementedError


@LOSSES.register("gan_minimax", summary="the two-player game as it was proposed (Goodfellow et al. 2014, §3, eq. 1)")
class Minimax(AdversarialLoss):
    """Discriminator: -ln D(x) - ln(1 - D(z)); generator: ln(1 - D(z)), with D = sigmoid(s).

    Scores (…); source: Goodfellow et al. 2014, §3, eq. 1. Of images that are found out for
    sure the generator learns nothing.

    >>> loss = Minimax()
    >>> loss.discriminator(torch.zeros(3), torch.zeros(3)), loss.generator(torch.zeros(3))  # 2 ln 2, -ln 2
    (tensor(1.3863), tensor(-0.6931))
    """

    def real(self, scores: Tensor) -> Tensor:
        """Return -ln D."""
        return functional.softplus(-scores)

    def generated(self, scores: Tensor) -> Tensor:
        """Return -ln(1 - D)."""
        return functional.softplus(scores)

    def fooling(self, scores: Tensor) -> Tensor:
        """Return ln(1 - D)."""
        return -functional.softplus(scores)


@LOSSES.register("gan_non_saturating", summary="the generator maximises ln D instead (Goodfellow et al. 2014, §3)")
class NonSaturating(Minimax):
    """Discriminator as in `Minimax`; generator: -ln D(z), whose gradient does not vanish where it is found out.

    Scores (…); source: Goodfellow et al. 2014, §3, last paragraph.

    >>> NonSaturating().generator(torch.zeros(3))  # ln 2
    tensor(0.6931)
    """

    def fooling(self, scores: Tensor) -> Tensor:
        """Return -ln D."""
        return self.real(scores)


@LOSSES.register("gan_least_squares", summary="squares instead of logarithms: LSGAN (Mao et al. 2017, §3.2)")
class LeastSquares(AdversarialLoss):
    """Discriminator: ½(s(x) - 1)² + ½s(z)²; generator: ½(s(z) - 1)².

    Scores (…); source: Mao et al. 2017, §3.2, with the labels 0, 1 and 1 of its eq. 9.

    >>> LeastSquares().generator(torch.tensor([-1.0, 3.0]))
    tensor(2.)
    """

    def real(self, scores: Tensor) -> Tensor:
        """Return ½(s - 1)²."""
        return (scores - 1).square() / 2

    def generated(self, scores: Tensor) -> Tensor:
        """Return ½s²."""
        return scores.square() / 2

    def fooling(self, scores: Tensor) -> Tensor:
        """Return ½(s - 1)²."""
        return self.real(scores)


@LOSSES.register("gan_hinge", summary="a margin for the discriminator (Lim & Ye 2017; Miyato et al. 2018, eq. 16)")
class HingeGan(AdversarialLoss):
    """Discriminator: max(0, 1 - s(x)) + max(0, 1 + s(z)); generator: -s(z).

    Scores (…); sources: Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17.

    >>> HingeGan().discriminator(torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.0]))  # ½·0.5 + ½·1
    tensor(0.7500)
    """

    def real(self, scores: Tensor) -> Tensor:
        """Return max(0, 1 - s)."""
        return functional.relu(1 - scores)

    def generated(self, scores: Tensor) -> Tensor:
        """Return max(0, 1 + s)."""
        return functional.relu(1 + scores)

    def fooling(self, scores: Tensor) -> Tensor:
        """Return -s."""
        return -scores


@LOSSES.register("gan_wasserstein", summary="difference of mean scores: WGAN (Arjovsky et al. 2017, §3)")
class Wasserstein(AdversarialLoss):
    """Critic: s(z) - s(x); generator: -s(z). Bounded only for a critic of bounded slope: add `gradient_penalty`.

    Scores (…); source: Arjovsky, Chintala & Bottou 2017, §3.

    >>> Wasserstein().discriminator(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 1.0]))
    tensor(-2.)
    """

    def real(self, scores: Tensor) -> Tensor:
        """Return -s."""
        return -scores

    def generated(self, scores: Tensor) -> Tensor:
        """Return s."""
        return scores

    def fooling(self, scores: Tensor) -> Tensor:
        """Return -s."""
        return -scores


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    generated: Tensor,
    *,
    weight: float = 10.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return λ · mean (‖∇ critic(x̂)‖₂ - 1)² at random points x̂ between real and generated images (WGAN-GP).

    Source: Gulrajani et al. 2017, §4, eq. 3 and alg. 1. The critic must not mix the images of a batch: no BatchNorm.

    Args:
        critic: from images (B, …) to scores (B, …).
        real, generated: images (B, …) of one shape.
        weight: λ from 0 on.
        generator: of the random points; torch's own when None.

    >>> double = gradient_penalty(lambda images: 2 * images.sum(1), torch.rand(4, 1), torch.rand(4, 1))
    >>> round(float(double), 4)  # a slope of 2 everywhere: 10 (2 - 1)²
    10.0
    """
    if real.shape != generated.shape or real.ndim < 2:
        raise ValueError(
            f"real images are {tuple(real.shape)}, generated {tuple(generated.shape)}; expected one shape (B, …)"
        )
    expect_range("weight", weight, 0)
    shares = torch.rand(len(real), generator=generator, device=real.device, dtype=real.dtype)
    shares = shares.reshape(-1, *[1] * (real.ndim - 1))  # (B,) -> (B, 1, …)
    between = torch.lerp(generated.detach(), real.detach(), shares).requires_grad_(True)
    (slopes,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return weight * (torch.linalg.vector_norm(slopes.flatten(1), dim=1) - 1).square().mean()
