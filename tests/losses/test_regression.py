"""Losses of numbers: their limits are each other, norm-in-norm is a correlation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fovea.losses.regression import L1, L2, Charbonnier, Huber, NormInNorm, SmoothL1

GENERATOR = torch.Generator().manual_seed(0)
SCORES, TARGET = 3 * torch.randn(2, 50, generator=GENERATOR, dtype=torch.float64)


def test_l1_and_l2_by_hand() -> None:
    assert L1()(SCORES, TARGET).item() == pytest.approx(np.abs((SCORES - TARGET).numpy()).mean())
    assert L2(reduction="sum")(SCORES, TARGET).item() == pytest.approx(np.square((SCORES - TARGET).numpy()).sum())


def test_smooth_l1_becomes_l1() -> None:
    gaps = [(SmoothL1(beta=beta)(SCORES, TARGET) - L1()(SCORES, TARGET)).abs().item() for beta in (1, 0.1, 1e-6, 0)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-6 and gaps[3] == 0


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_huber_is_delta_times_smooth_l1(delta: float) -> None:
    torch.testing.assert_close(Huber(delta=delta)(SCORES, TARGET), delta * SmoothL1(beta=delta)(SCORES, TARGET))


def test_huber_has_slope_delta_outside_and_half_of_l2_inside() -> None:
    scores = torch.tensor([-7.0, 0.5, 7.0], requires_grad=True)
    (slope,) = torch.autograd.grad(Huber(delta=2, reduction="sum")(scores, torch.zeros(3)), scores)
    assert slope.tolist() == [-2.0, 0.5, 2.0]
    torch.testing.assert_close(Huber(delta=1e6)(SCORES, TARGET), L2()(SCORES, TARGET) / 2)


def test_charbonnier_becomes_l1_and_stays_smooth() -> None:
    torch.testing.assert_close(Charbonnier(epsilon=0)(SCORES, TARGET), L1()(SCORES, TARGET))
    scores = torch.zeros(1, requires_grad=True)
    loss = Charbonnier(epsilon=1e-3)(scores, torch.zeros(1))
    assert loss.item() == pytest.approx(1e-3) and torch.autograd.grad(loss, scores)[0].item() == 0


def test_norm_in_norm_is_twice_what_correlation_leaves() -> None:
    correlation = np.corrcoef(SCORES.numpy(), TARGET.numpy())[0, 1]
    assert NormInNorm(p=2, q=2)(SCORES, TARGET).item() == pytest.approx(2 * (1 - correlation), rel=1e-12)


@pytest.mark.parametrize(("p", "q"), [(1, 2), (2, 1), (3, 4)])
def test_norm_in_norm_by_hand(p: float, q: float) -> None:
    def normalised(values: Tensor) -> np.ndarray:
        centred = values.numpy() - values.numpy().mean()
        return centred / (np.abs(centred) ** q).sum() ** (1 / q)

    expected = (np.abs(normalised(SCORES) - normalised(TARGET)) ** p).sum()
    assert NormInNorm(p=p, q=q)(SCORES, TARGET).item() == pytest.approx(expected, rel=1e-12)


def test_norm_in_norm_knows_neither_scale_nor_shift() -> None:
    loss = NormInNorm()
    torch.testing.assert_close(loss(5 * SCORES - 100, TARGET), loss(SCORES, TARGET))
    torch.testing.assert_close(loss(3 * TARGET + 7, TARGET), torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)


def test_norm_in_norm_judges_each_quality_by_itself() -> None:
    scores, target = SCORES.reshape(25, 2), TARGET.reshape(25, 2)
    each = NormInNorm(reduction="none")(scores, target)
    one = [NormInNorm()(scores[:, column].contiguous(), target[:, column].contiguous()) for column in (0, 1)]
    torch.testing.assert_close(each, torch.stack(one))


@pytest.mark.parametrize("level", [0.0, 0.3, 1e4])
def test_norm_in_norm_of_equal_scores_makes_nothing_of_rounding(level: float) -> None:
    flat = torch.full((6,), level, requires_grad=True)
    loss = NormInNorm(p=2, q=2)(flat, torch.arange(6.0))
    assert loss.item() == pytest.approx(1)  # the target's own norm is left
    assert torch.autograd.grad(loss, flat)[0].isfinite().all()


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match=r"target has shape \(5,\), expected that of the scores, \(5, 1\)"):
        L2()(torch.zeros(5, 1), torch.zeros(5))
    with pytest.raises(ValueError, match=r"target is torch\.bool, expected numbers"):
        L1()(torch.zeros(2), torch.tensor([True, False]))
    with pytest.raises(ValueError, match="delta is 0, expected a number above 0"):
        Huber(delta=0)
    with pytest.raises(ValueError, match=r"p is 0\.5, expected a number from 1 on"):
        NormInNorm(p=0.5)
    with pytest.raises(ValueError, match=r"scores have shape \(2, 3, 4\), expected \(B,\) or \(B, K\)"):
        NormInNorm()(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))
