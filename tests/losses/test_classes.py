"""Losses over classes: equal to torch's and scikit-learn's, reductions, weights, pixels left out, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import hinge_loss, log_loss, zero_one_loss
from torch.nn import functional

from fovea.losses.classes import CrossEntropy, Log, MultiHinge, ZeroOne, label_smoothing
from fovea.losses.focal import Focal
from fovea.losses.margins import Hinge

SCORES = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IDS = torch.arange(40) % 5
WEIGHT = [0.5, 1.0, 2.0, 0.0, 4.0]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_is_torchs(reduction: str, smoothing: float) -> None:
    dense, target = SCORES.reshape(4, 5, 2, 5), (torch.arange(40) % 6 - 1).reshape(4, 2, 5)  # -1 is left out
    ours = CrossEntropy(smoothing=smoothing, weight=WEIGHT, ignore_index=-1, reduction=reduction)(dense, target)
    theirs = functional.cross_entropy(
        dense,
        target,
        weight=torch.tensor(WEIGHT, dtype=torch.float64),
        ignore_index=-1,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    torch.testing.assert_close(ours, theirs)


def test_label_smoothing() -> None:
    torch.testing.assert_close(label_smoothing(smoothing=0)(SCORES, IDS), CrossEntropy()(SCORES, IDS))
    spread = 0.9 * functional.one_hot(IDS, 5).double() + 0.1 / 5
    torch.testing.assert_close(label_smoothing(smoothing=0.1)(SCORES, IDS), CrossEntropy()(SCORES, spread))
    # the best score is a finite one: p = 0.9 + 0.1 / 2 of two classes, a lead of ln(0.95 / 0.05)
    lead = torch.tensor(math.log(0.95 / 0.05), dtype=torch.float64, requires_grad=True)
    loss = label_smoothing(smoothing=0.1)(torch.stack([lead, lead * 0]).unsqueeze(0), torch.tensor([0]))
    assert torch.autograd.grad(loss, lead)[0].abs() < 1e-12


def test_log_of_a_softmax_is_cross_entropy() -> None:
    probabilities = SCORES.softmax(1)
    torch.testing.assert_close(Log()(probabilities, IDS), CrossEntropy()(SCORES, IDS))
    assert Log()(probabilities, IDS).item() == pytest.approx(log_loss(IDS.numpy(), probabilities.numpy()))
    assert Log()(torch.tensor([[0.0, 1.0]]), torch.tensor([0])).item() == pytest.approx(-math.log(1.1754944e-38))


def test_zero_one_is_what_accuracy_leaves() -> None:
    expected = zero_one_loss(IDS.numpy(), SCORES.argmax(1).numpy())
    assert 0 < expected < 1
    assert ZeroOne()(SCORES, IDS).item() == pytest.approx(expected)
    assert not ZeroOne()(SCORES.clone().requires_grad_(True), IDS).requires_grad


def test_multi_hinge_against_the_worst_rival_is_scikit_learns() -> None:
    assert MultiHinge()(SCORES, IDS).item() == pytest.approx(hinge_loss(IDS.numpy(), SCORES.numpy()))


def test_multi_hinge_against_all_rivals_is_torchs() -> None:
    dense, target = SCORES.reshape(4, 5, 2, 5), IDS.reshape(4, 2, 5)
    rows = dense.movedim(1, -1).reshape(-1, 5)
    expected = functional.multi_margin_loss(rows, target.flatten(), reduction="none")
    torch.testing.assert_close(MultiHinge(rivals="all", reduction="none")(dense, target).flatten(), expected)


def test_multi_hinge_of_two_classes_is_the_hinge_of_their_difference() -> None:
    pairs, target = SCORES[:, :2], IDS % 2
    torch.testing.assert_close(MultiHinge()(pairs, target), Hinge()(pairs[:, 1] - pairs[:, 0], target))


@pytest.mark.parametrize("loss", [CrossEntropy, MultiHinge, Focal, ZeroOne])
@pytest.mark.parametrize("mark", [255, -100, 0])  # 0: a class of its own, such as the background
def test_what_is_left_out_might_as_well_not_be_there(loss: type[CrossEntropy], mark: int) -> None:
    marked = IDS.clone()
    marked[::3] = mark
    kept = marked != mark
    for reduction in ("mean", "sum"):
        apart = loss(weight=WEIGHT, reduction=reduction)(SCORES[kept], IDS[kept])
        torch.testing.assert_close(loss(weight=WEIGHT, ignore_index=mark, reduction=reduction)(SCORES, marked), apart)
    assert loss(ignore_index=mark, reduction="none")(SCORES, marked)[~kept].abs().max() == 0


@pytest.mark.parametrize("loss", [CrossEntropy, MultiHinge, Focal])
def test_nothing_to_learn_from_costs_nothing(loss: type[CrossEntropy]) -> None:
    scores = SCORES.clone().requires_grad_(True)
    nothing = loss()(scores, torch.full((40,), -100))
    (slope,) = torch.autograd.grad(nothing, scores)
    assert nothing == 0 and not slope.any()


@pytest.mark.parametrize("loss", [CrossEntropy, MultiHinge, Focal, ZeroOne])
def test_one_class_is_no_question(loss: type[CrossEntropy]) -> None:
    scores = torch.randn(3, 1, requires_grad=True)
    answer = loss()(scores, torch.zeros(3, dtype=torch.uint8))
    assert answer == 0
    if answer.requires_grad:
        assert not torch.autograd.grad(answer, scores)[0].any()


def test_misuse_is_told() -> None:
    loss = CrossEntropy()
    with pytest.raises(
        ValueError, match=r"target has shape \(2, 1\), expected \(2,\): one class id for each of scores"
    ):
        loss(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.long))
    with pytest.raises(
        ValueError, match=r"target runs from 0 to 255, expected 0 to 2 .* goes into ignore_index, which is -100"
    ):
        loss(torch.zeros(2, 3), torch.tensor([0, 255]))
    for given in (loss, MultiHinge()):
        with pytest.raises(ValueError, match=r"target is torch.float32, expected whole class ids"):
            given(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"target holds no distributions: over axis 1 a sum is off 1 by 2"):
        loss(torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"weight has 2 numbers, expected one for each class of scores \(2, 3\)"):
        CrossEntropy(weight=[1, 2])(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(
        ValueError, match=r"scores run from -3 to 5, expected probabilities; for logits use cross_entropy"
    ):
        Log()(torch.tensor([[-3.0, 5.0]]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"smoothing is 1\.5, expected a number from 0 to 1"):
        label_smoothing(smoothing=1.5)
    with pytest.raises(ValueError, match="rivals is 'some', expected 'worst' or 'all'"):
        MultiHinge(rivals="some")


def test_weights_move_with_the_module() -> None:
    loss = CrossEntropy(weight=WEIGHT).to(torch.float64)
    assert loss.weight is not None and loss.weight.dtype == torch.float64
    assert np.isclose(loss(SCORES[:5], IDS[:5]).item(), CrossEntropy(weight=WEIGHT)(SCORES[:5], IDS[:5]).item())
