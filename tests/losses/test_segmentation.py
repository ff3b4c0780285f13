"""Overlap losses: closed forms on hard masks, dice = Tversky at ½, Lovász by the definition of its set function."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.segmentation import Dice, Lovasz, RegionLoss, Tversky

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(3, 4, 6, 5, generator=GENERATOR, dtype=torch.float64)
IDS = torch.randint(0, 4, (3, 6, 5), generator=GENERATOR)
MASKS = torch.randint(0, 2, (3, 4, 6, 5), generator=GENERATOR)
LOSSES = [Dice, Tversky, Lovasz]


def certain(ids: Tensor) -> Tensor:
    """Scores that leave no doubt."""
    return 200 * functional.one_hot(ids, 4).movedim(-1, 1).double()


def test_dice_and_jaccard_of_hard_masks_are_counted() -> None:
    guesses = IDS.roll(1, dims=2)
    for index in range(4):
        guess, truth = (ids.numpy() == index for ids in (guesses, IDS))
        both, union = (guess & truth).sum(), (guess | truth).sum()
        dice = Dice(smooth=0, reduction="none")(certain(guesses), IDS)[0, index]
        jaccard = Tversky(alpha=1, beta=1, smooth=0, reduction="none")(certain(guesses), IDS)[0, index]
        assert dice.item() == pytest.approx(1 - 2 * both / (guess.sum() + truth.sum()))
        assert jaccard.item() == pytest.approx(1 - both / union)
        assert Lovasz(reduction="none")(certain(guesses), IDS)[0, index].item() == pytest.approx(1 - both / union)


@pytest.mark.parametrize("smooth", [0.0, 1.0, 50.0])
@pytest.mark.parametrize("over", ["batch", "image"])
@pytest.mark.parametrize("target", [IDS, MASKS])
def test_tversky_at_a_half_is_dice(smooth: float, over: str, target: Tensor) -> None:
    tversky = Tversky(alpha=0.5, beta=0.5, smooth=smooth, over=over, reduction="none")(SCORES, target)
    torch.testing.assert_close(tversky, Dice(smooth=smooth, over=over, reduction="none")(SCORES, target))


def test_tversky_prices_misses_and_false_alarms() -> None:
    truth = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0]).reshape(1, 1, 2, 4)
    for guess, expected in (([1, 0, 0, 0, 0, 0, 0, 0], 1 - 1 / (1 + 0.9 * 2)), ([1] * 5 + [0] * 3, 1 - 3 / 3.2)):
        scores = 400.0 * torch.tensor(guess).reshape(1, 1, 2, 4) - 200
        assert Tversky(alpha=0.1, beta=0.9, smooth=0)(scores, truth).item() == pytest.approx(expected, abs=1e-6)


def jaccard_loss(wrong: frozenset[int], truth: frozenset[int]) -> float:
    """Δ(M) = |M| / |truth ∪ M|, the Jaccard loss if the pixels M are wrong; Δ(∅) = 0."""
    return len(wrong) / len(truth | wrong) if wrong else 0.0


def extension(errors: tuple[float, ...], truth: frozenset[int]) -> float:
    """Def. 2 of Berman et al. 2018, spelt out."""
    order = sorted(range(len(errors)), key=lambda pixel: -errors[pixel])
    gains = [
        jaccard_loss(frozenset(order[: rank + 1]), truth) - jaccard_loss(frozenset(order[:rank]), truth)
        for rank in range(len(order))
    ]
    return sum(errors[pixel] * gain for pixel, gain in zip(order, gains, strict=True))


def test_the_lovasz_hinge_is_its_definition_for_all_orders_and_masks() -> None:
    cases = [
        (errors, frozenset(pixel for pixel in range(4) if mask[pixel]), mask)
        for errors in itertools.permutations((1.7, 0.9, 0.4, 0.0))
        for mask in itertools.product((0, 1), repeat=4)
    ]
    masks = torch.tensor([mask for *_, mask in cases]).reshape(-1, 1, 1, 4)
    errors = torch.tensor([errors for errors, *_ in cases], dtype=torch.float64).reshape(-1, 1, 1, 4)
    scores = (1 - errors) * (2 * masks - 1)  # whose hinge errors these are
    ours = Lovasz(over="image", reduction="none")(scores, masks).flatten()
    np.testing.assert_allclose(ours.numpy(), [extension(errors, truth) for errors, truth, _ in cases], atol=1e-12)


def test_lovasz_softmax_is_its_definition() -> None:
    ours = Lovasz(over="image", reduction="none")(SCORES, IDS)
    probabilities = SCORES.softmax(1)
    for image, index in itertools.product(range(3), range(4)):
        truth = (IDS[image] == index).flatten()
        errors = (truth.double() - probabilities[image, index].flatten()).abs()
        expected = extension(tuple(errors.tolist()), frozenset(truth.nonzero().flatten().tolist()))
        assert ours[image, index].item() == pytest.approx(expected, rel=1e-9)


def test_lovasz_softmax_leaves_absent_classes_out_of_the_mean() -> None:
    ids = IDS.clamp(max=1)
    each = Lovasz(reduction="none")(SCORES, ids)
    assert each[0, 2:].tolist() == [0, 0]
    torch.testing.assert_close(Lovasz()(SCORES, ids), each[0, :2].mean())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("target", [IDS, MASKS])
def test_pixels_left_out_might_as_well_not_be_there(loss: type[RegionLoss], target: Tensor) -> None:
    marked = target.clone()
    marked[..., :2] = 255
    cropped = loss(reduction="none")(SCORES[..., 2:], target[..., 2:])
    torch.testing.assert_close(loss(ignore_index=255, reduction="none")(SCORES, marked), cropped)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_can_be_what_is_left_out(loss: type[RegionLoss]) -> None:
    marked = torch.where(IDS == 0, 255, IDS)
    torch.testing.assert_close(
        loss(ignore_index=0, reduction="none")(SCORES, IDS), loss(ignore_index=255, reduction="none")(SCORES, marked)
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_over_images_each_image_is_judged_by_itself(loss: type[RegionLoss]) -> None:
    each = loss(over="image", reduction="none")(SCORES, IDS)
    apart = torch.cat([loss(reduction="none")(SCORES[[image]], IDS[[image]]) for image in range(3)])
    torch.testing.assert_close(each, apart)
    assert not torch.allclose(each.mean(), loss()(SCORES, IDS))


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_classes(loss: type[RegionLoss]) -> None:
    each = loss(reduction="none")(SCORES, IDS)[0]
    weight = torch.tensor([1.0, 0.0, 2.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(loss(weight=weight)(SCORES, IDS), (each * weight).sum() / 8)
    with pytest.raises(ValueError, match=r"weight has 2 numbers, expected one for each class of scores \(3, 4, 6, 5\)"):
        loss(weight=[1, 2])(SCORES, IDS)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("over", ["batch", "image"])
def test_an_empty_mask(loss: type[RegionLoss], over: str) -> None:
    empty = torch.zeros(2, 1, 3, 3)
    for scores, nearly in ((torch.full_like(empty, -200), 0.0), (torch.full_like(empty, 200), 1.0)):
        given = scores.requires_grad_(True)
        value = loss(over=over)(given, empty)
        assert torch.autograd.grad(value, given)[0].isfinite().all()
        assert value == 0 if nearly == 0 else value > 0.7


@pytest.mark.parametrize("make", [lambda: Dice(smooth=0), lambda: Tversky(smooth=0), Lovasz])
def test_all_pixels_left_out(make: Callable[[], RegionLoss]) -> None:
    scores = SCORES.clone().requires_grad_(True)
    for target in (torch.full_like(IDS, -100), torch.full_like(MASKS, -100)):
        value = make()(scores, target)
        assert value == 0 and not torch.autograd.grad(value, scores)[0].any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32])
def test_one_mask_without_its_channel_is_no_loss_of_zero(loss: type[RegionLoss], kind: torch.dtype) -> None:
    """A softmax over one class would be 1 everywhere, whatever the mask."""
    with pytest.raises(ValueError, match=r"of one mask, which needs its channel, too: target.unsqueeze\(1\)"):
        loss()(torch.randn(2, 1, 3, 3), torch.zeros(2, 3, 3, dtype=kind))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("over", ["batch", "image"])
def test_no_images_cost_nothing(loss: type[RegionLoss], over: str) -> None:
    for target in (torch.zeros(0, 2, 3, 3), torch.zeros(0, 3, 3, dtype=torch.long)):
        assert loss(over=over)(torch.zeros(0, 2, 3, 3), target) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_misuse_is_told(loss: type[RegionLoss]) -> None:
    with pytest.raises(ValueError, match=r"scores have shape \(2, 3\), expected \(B, C, H, W\)"):
        loss()(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"target has shape \(2, 4, 4\) beside scores \(2, 4, 4\); expected class ids"):
        loss()(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match=r"target runs from 0 to 255, expected 0 \(no\) to 1"):
        loss()(torch.zeros(1, 1, 2, 2), torch.tensor([0, 255, 0, 0]).reshape(1, 1, 2, 2))
    with pytest.raises(ValueError, match="over is 'pixel', expected 'batch' or 'image'"):
        loss(over="pixel")
