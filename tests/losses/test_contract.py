"""What every registered loss keeps: source, reduction, gradient, bfloat16, extreme scores, a batch of one, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from fovea.losses import LOSSES

Make = Callable[[int], Tensor]  # from the batch size


@dataclass(frozen=True)
class Case:
    """How one loss is built and fed: the shape of an image's scores, its target, and where its scores end."""

    scores: tuple[int, ...]
    target: Make
    options: dict[str, Any] = field(default_factory=dict)
    extremes: tuple[float, float] = (-1e4, 1e4)
    squash: Callable[[Tensor], Tensor] = torch.Tensor.clone
    per_batch: bool = False  # "none" does not give one value per image

    def draw(self, batch: int = 6) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(batch)
        scores = torch.randn(batch, *self.scores, generator=generator, dtype=torch.float64)
        return self.squash(scores), self.target(batch)


def ids(*shape: int, classes: int = 4) -> Make:
    return lambda batch: (torch.arange(batch * max(1, int(torch.tensor(shape).prod()))) % classes).reshape(
        batch, *shape
    )


def answers(*shape: int) -> Make:
    return lambda batch: ids(*shape, classes=2)(batch).double()


def values(*shape: int) -> Make:
    return lambda batch: torch.linspace(-2, 3, batch * int(torch.tensor(shape).prod()), dtype=torch.float64).reshape(
        batch, *shape
    )


def shares(batch: int) -> Tensor:
    return (torch.arange(batch * 4, dtype=torch.float64) % 7).reshape(batch, 4).softmax(1)


def cosines(scores: Tensor) -> Tensor:
    return scores.clamp(-2.5, 2.5) / 2.6


NETWORK = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 1)).double()
CLASSES, QUESTIONS, NUMBERS = Case((4, 2), ids(2)), Case((3,), answers(3)), Case((3,), values(3))
MASKS, ANGLES = Case((4, 2, 3), ids(2, 3), per_batch=True), Case((4,), ids(), extremes=(-1, 1), squash=cosines)
EMBEDDINGS = Case((5,), ids(classes=3), per_batch=True)
CASES = {
    **dict.fromkeys(("logistic", "hinge", "modified_huber", "exponential", "sigmoid_focal"), QUESTIONS),
    **dict.fromkeys(("zero_one", "cross_entropy", "label_smoothing", "multi_hinge", "focal"), CLASSES),
    "log": Case((4,), ids(), extremes=(0, 1), squash=lambda scores: scores.softmax(1)),
    **dict.fromkeys(("l1", "l2", "smooth_l1", "huber", "charbonnier"), NUMBERS),
    "norm_in_norm": Case((3,), values(3), {"p": 2.0}, per_batch=True),
    "emd": Case((4,), shares),
    "distillation": Case((4, 2), values(4, 2)),
    **dict.fromkeys(("dice", "tversky", "lovasz"), MASKS),
    **dict.fromkeys(("contrastive", "triplet"), EMBEDDINGS),
    **dict.fromkeys(("sphereface", "cosface", "arcface"), ANGLES),
    "perceptual": Case((3, 5, 5), values(3, 5, 5), {"network": NETWORK, "layers": {"0": 1.0, "2": 2.0}}),
    **{f"gan_{name}": QUESTIONS for name in ("minimax", "non_saturating", "least_squares", "hinge", "wasserstein")},
}
NAMES = sorted(CASES)


def build(name: str, *, reduction: str = "mean") -> nn.Module:
    return LOSSES[name].build(**CASES[name].options, reduction=reduction)


def test_every_loss_is_under_contract() -> None:
    assert set(LOSSES.names()) == set(CASES)


def test_the_page_has_a_row_for_every_loss() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "losses.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(LOSSES.names())


@pytest.mark.parametrize("name", NAMES)
def test_source_and_shapes_are_said(name: str) -> None:
    assert re.search(r"\([A-Z][^()]* (19|20)\d\d[^()]*\)$", LOSSES[name].summary), LOSSES[name].summary
    said = LOSSES[name].build.__doc__ or ""
    assert re.search(r"[Ss]ources?: ", said) and re.search(r"\((B, |B,\)|…\))", said)


@pytest.mark.parametrize("name", NAMES)
def test_sum_and_mean_follow_from_the_values(name: str) -> None:
    scores, target = CASES[name].draw()
    each = build(name, reduction="none")(scores, target)
    assert each.numel() > 1
    assert CASES[name].per_batch or len(each) == len(scores)
    torch.testing.assert_close(build(name, reduction="sum")(scores, target), each.sum())
    torch.testing.assert_close(build(name)(scores, target), each.mean())


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"zero_one"}))
def test_the_gradient_is_the_slope(name: str) -> None:
    scores, target = CASES[name].draw(batch=4)
    loss = build(name, reduction="none")
    assert gradcheck(lambda given: loss(given, target), scores.requires_grad_(True), fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_scores_are_summed_in_float32(name: str) -> None:
    drawn, target = CASES[name].draw()
    scores = drawn.bfloat16().requires_grad_(True)
    target = target.bfloat16() if name not in ("emd",) and target.is_floating_point() else target
    loss = build(name).float()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = loss(scores, target)
    plain = loss(scores.float(), target.float() if target.is_floating_point() else target)
    assert under_autocast.dtype == torch.float32
    torch.testing.assert_close(under_autocast, plain, rtol=0, atol=0)
    if name != "zero_one":
        under_autocast.backward()
        assert scores.grad is not None and scores.grad.isfinite().all() and scores.grad.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("signs", ["random", "low", "high"])
def test_extreme_scores_leave_loss_and_gradient_finite(name: str, signs: str) -> None:
    drawn, target = CASES[name].draw()
    low, high = CASES[name].extremes
    high_where = {
        "random": drawn > drawn.median(),
        "low": torch.zeros_like(drawn) > 0,
        "high": torch.ones_like(drawn) > 0,
    }
    scores = torch.where(high_where[signs], high, low).float().requires_grad_(True)
    loss = build(name).float()(scores, target.float() if target.is_floating_point() else target)
    assert loss.isfinite()
    if name != "zero_one":
        loss.backward()
        assert scores.grad is not None and scores.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one(name: str) -> None:
    scores, target = CASES[name].draw(batch=1)
    loss = build(name)(scores.requires_grad_(True), target)
    assert loss.shape == () and loss.isfinite()
    if name != "zero_one":
        (slope,) = torch.autograd.grad(loss, scores)
        assert slope.isfinite().all()
    if name in ("contrastive", "triplet", "norm_in_norm"):  # nothing to compare with
        assert loss == 0


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_is_refused(name: str) -> None:
    scores, target = CASES[name].draw()
    loss = build(name)
    with pytest.raises(ValueError, match=r"scores are torch.int64, expected floating-point numbers"):
        loss(scores.long(), target)
    with pytest.raises(ValueError, match=rf"shape \({len(target) - 1}"):
        loss(scores, target[1:])
    with pytest.raises(ValueError, match="expected"):
        loss(scores, target.unsqueeze(0))
    with pytest.raises(ValueError, match="reduction is 'average', expected one of mean, sum, none"):
        build(name, reduction="average")


def test_printed_it_shows_its_options() -> None:
    assert repr(LOSSES["huber"].build(delta=2)) == "Huber(reduction='mean', delta=2)"


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"perceptual"}))
def test_a_loss_adds_nothing_to_a_model_folder(name: str) -> None:
    assert not build(name).state_dict()
