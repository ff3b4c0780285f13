"""Losses between distributions: scipy's Wasserstein distance, cross-entropy of a teacher that is certain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch.nn import functional

from fovea.losses.classes import CrossEntropy
from fovea.losses.distributions import Distillation, EarthMover

GENERATOR = torch.Generator().manual_seed(0)
SCORES, TEACHER = 2 * torch.randn(2, 12, 10, generator=GENERATOR, dtype=torch.float64)


def test_emd_is_the_wasserstein_distance_of_grades() -> None:
    grades, shares = np.arange(10), TEACHER.softmax(1)
    ours = 10 * EarthMover(r=1, reduction="none")(SCORES, shares)
    guesses = SCORES.softmax(1).numpy()
    theirs = [wasserstein_distance(grades, grades, p, q) for p, q in zip(guesses, shares.numpy(), strict=True)]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12)


def test_emd_at_2_is_the_root_mean_square_of_the_cumulated_difference() -> None:
    shares = TEACHER.softmax(1)
    ahead = np.cumsum((SCORES.softmax(1) - shares).numpy(), axis=1)
    np.testing.assert_allclose(
        EarthMover(reduction="none")(SCORES, shares).numpy(), np.sqrt(np.square(ahead).mean(axis=1)), rtol=1e-12
    )


def test_emd_grows_with_the_number_of_grades_that_cross_entropy_does_not_see() -> None:
    near, far = torch.eye(5)[:, [0]].T * 50, torch.eye(5)  # certain of grade 0; the truth is grade 0, 1 … 4
    distances = EarthMover(r=1, reduction="none")(near.expand(5, 5), far)
    assert distances.tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8], abs=1e-6)
    assert CrossEntropy(reduction="none")(near.expand(5, 5), far)[1:].unique().numel() == 1


def test_emd_of_a_perfect_guess_has_a_finite_gradient() -> None:
    scores = SCORES.clone().requires_grad_(True)
    loss = EarthMover()(scores, scores.detach().softmax(1))
    assert loss == 0 and torch.autograd.grad(loss, scores)[0].isfinite().all()


def test_a_teacher_that_is_certain_gives_cross_entropy() -> None:
    ids = torch.arange(12) % 10
    certain = 1e4 * functional.one_hot(ids, 10).double()
    torch.testing.assert_close(Distillation(temperature=1)(SCORES, certain), CrossEntropy()(SCORES, ids))


def test_distillation_is_cross_entropy_less_the_teachers_entropy() -> None:
    soft = TEACHER.softmax(1)
    entropy = -(soft * soft.log()).sum(1).mean()
    torch.testing.assert_close(Distillation(temperature=1)(SCORES, TEACHER), CrossEntropy()(SCORES, soft) - entropy)
    assert Distillation()(TEACHER + 3, TEACHER).abs() < 1e-12  # a shift of all logits is no difference


def test_hot_distillation_matches_centred_logits() -> None:
    # Hinton et al. 2015, §2.1: for T → ∞ and logits of mean 0 the gradient is (s - t) / C
    scores, teacher = (values - values.mean(1, keepdim=True) for values in (SCORES, TEACHER))
    scores = scores.requires_grad_(True)
    (slope,) = torch.autograd.grad(Distillation(temperature=1e4, reduction="sum")(scores, teacher), scores)
    torch.testing.assert_close(slope, (scores - teacher) / 10, rtol=0, atol=2e-3)


def test_dense_distillation_is_that_of_each_pixel() -> None:
    dense = [values.reshape(3, 4, 10).movedim(2, 1) for values in (SCORES, TEACHER)]  # (B, C, P)
    torch.testing.assert_close(
        Distillation(reduction="none")(*dense).flatten(), Distillation(reduction="none")(SCORES, TEACHER)
    )


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match=r"target is torch\.int64, expected probabilities"):
        EarthMover()(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="target holds no distributions"):
        EarthMover()(torch.zeros(2, 3), torch.full((2, 3), 10.0))
    with pytest.raises(ValueError, match="temperature is 0, expected a number above 0"):
        Distillation(temperature=0)
    with pytest.raises(ValueError, match=r"target has shape \(2,\), expected that of the scores, \(2, 3\)"):
        Distillation()(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
