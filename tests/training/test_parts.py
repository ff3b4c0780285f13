"""Schedules, optimisers, averaging, the loss, sampling and planning: the loop's parts, each on its own."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fovea.core.errors import UnknownName
from fovea.core.recipe import TrainRecipe
from fovea.training.ema import Ema
from fovea.training.objective import build_objective, class_weights
from fovea.training.optimisers import OPTIMISERS, build_optimiser, parameter_groups, peak_lr
from fovea.training.planning import MOST_EPOCHS, MOST_SCRATCH_EPOCHS, measure_step_s, plan_epochs, plan_tail
from fovea.training.sampling import batch_count, epoch_batches
from fovea.training.schedules import SCHEDULES, lr_factor


def _course(epochs: int = 10, **settings: object) -> list[float]:
    recipe = TrainRecipe(**settings)  # type: ignore[arg-type]
    return [lr_factor(step, steps_per_epoch=10, epochs=epochs, settings=recipe) for step in range(10 * epochs)]


def test_warmup_rises_linearly_and_cosine_falls_to_zero() -> None:
    course = _course(warmup=0.1, schedule="cosine")
    assert course[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert course[10] == 1.0
    assert course[55] == pytest.approx(0.5)
    assert 0 < course[-1] < 0.001
    assert course[10:] == sorted(course[10:], reverse=True)


def test_one_cycle_peaks_at_a_quarter() -> None:
    course = _course(schedule="one_cycle", warmup=0.3)
    assert int(np.argmax(course)) == 25
    assert course[0] == pytest.approx(0.04)


def test_step_drops_where_it_is_told_and_at_thirds_otherwise() -> None:
    told = _course(schedule="step", step_epochs=(2, 7), step_gamma=0.5, warmup=0.0)
    assert [told[19], told[20], told[69], told[70]] == [1.0, 0.5, 0.5, 0.25]
    thirds = _course(epochs=9, schedule="step", warmup=0.0)
    assert [thirds[29], thirds[30], thirds[60]] == pytest.approx([1.0, 0.1, 0.01])


def test_constant_is_constant_and_an_unknown_schedule_suggests() -> None:
    assert set(_course(schedule="constant", warmup=0.0)) == {1.0}
    with pytest.raises(UnknownName, match="unknown schedule 'cosin'") as error:
        _course(schedule="cosin")
    assert "did you mean 'cosine'" in error.value.hint


@pytest.mark.parametrize("name", OPTIMISERS.names())
def test_every_optimiser_lowers_a_quadratic(name: str) -> None:
    module = nn.Linear(4, 1, bias=False)
    nn.init.ones_(module.weight)
    groups = parameter_groups(module, [["weight"]], weight_decay=0.0, layer_decay=1.0)
    settings = TrainRecipe(optimizer=name)
    optimiser = build_optimiser(groups, lr=peak_lr(settings, from_scratch=True, devices=1), settings=settings)
    for _ in range(50):
        optimiser.zero_grad()
        module.weight.square().sum().backward()
        optimiser.step()
    assert float(module.weight.square().sum().detach()) < 3.9


def test_biases_and_norms_are_not_decayed_and_a_forgotten_parameter_is_an_error() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    names = [name for name, _ in net.named_parameters()]
    groups = parameter_groups(net, [names], weight_decay=0.1, layer_decay=0.5)
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.1, 2), (0.0, 4)]
    with pytest.raises(ValueError, match=r"1 parameters belong to no stage, for example 0\.weight"):
        parameter_groups(net, [names[1:]], weight_decay=0.1, layer_decay=0.5)


def test_the_learning_rate_scales_only_when_the_batch_is_per_device() -> None:
    total, each = TrainRecipe(lr=0.1), TrainRecipe(lr=0.1, batch_size_is="per_device")
    assert peak_lr(total, from_scratch=False, devices=4) == 0.1
    assert peak_lr(each, from_scratch=False, devices=4) == pytest.approx(0.4)


def test_ema_follows_early_and_steadies_later() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = Ema(module, decay=0.9)
    nn.init.ones_(module.weight)
    ema.update(module)
    assert float(ema.module.weight) == pytest.approx(0.9)  # keeps 1 / 10 of the start after no update
    for _ in range(200):
        ema.update(module)
    nn.init.zeros_(module.weight)
    ema.update(module)
    assert float(ema.module.weight) == pytest.approx(0.9)


def test_ema_copies_integer_buffers() -> None:
    module = nn.BatchNorm1d(2)
    ema = Ema(module, decay=0.9)
    module(torch.randn(4, 2))
    ema.update(module)
    assert int(ema.module.num_batches_tracked) == 1


def test_balanced_weights_average_to_one_over_the_images() -> None:
    counts = np.array([90, 9, 1, 0])
    for kind in ("none", "balanced", "sqrt_balanced"):
        weights = class_weights(counts, kind)
        assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    balanced = class_weights(counts, "balanced")
    assert balanced[0] * 90 == pytest.approx(balanced[2] * 1)


def test_class_weights_reach_the_loss_and_smoothing_too() -> None:
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    targets = torch.tensor([0, 1])
    plain = build_objective(TrainRecipe(label_smoothing=0.0), counts=np.array([9, 1]), multilabel=False)
    weighted = build_objective(
        TrainRecipe(label_smoothing=0.0, class_weights="balanced"), counts=np.array([9, 1]), multilabel=False
    )
    assert (weighted(logits, targets) / plain(logits, targets)).tolist() == pytest.approx([5 / 9, 5.0])
    smoothed = build_objective(TrainRecipe(label_smoothing=0.2), counts=np.array([1, 1]), multilabel=False)
    expected = -0.9 * math.log(1 / (1 + math.exp(-2))) - 0.1 * math.log(1 / (1 + math.exp(2)))
    assert float(smoothed(logits, targets)[0]) == pytest.approx(expected)


def test_multilabel_loss_is_one_number_an_image() -> None:
    objective = build_objective(TrainRecipe(label_smoothing=0.0), counts=np.array([1, 1, 1]), multilabel=True)
    losses = objective(torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    assert losses.tolist() == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 17, 33])
def test_every_image_comes_once_and_no_batch_has_a_single_image(count: int) -> None:
    batches = epoch_batches(np.zeros(count, int), batch_size=8, seed=0, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert count == 1 or min(len(batch) for batch in batches) > 1
    assert len(batches) == batch_count(count, 8)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(np.zeros(50, int), batch_size=8, seed=seed, epoch=epoch)).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) != order(2, 3)


def test_balanced_sampling_evens_the_classes_out() -> None:
    targets = np.repeat([0, 1, 2], [96, 3, 1])
    rows = np.concatenate(epoch_batches(targets, batch_size=8, seed=0, epoch=0, sampler="balanced"))
    counts = np.bincount(targets[rows], minlength=3)
    assert counts.tolist() == [34, 33, 33]
    assert len(set(rows[targets[rows] == 0])) == 34  # no image of the large class twice
    assert set(rows[targets[rows] == 1]) == {96, 97, 98}


def test_the_epochs_that_fit_are_planned_up_to_what_is_worth_it() -> None:
    assert plan_epochs(left_s=100, images=1000, image_s=0.03, from_scratch=False) == 3
    assert plan_epochs(left_s=10, images=1000, image_s=0.03, from_scratch=False) == 0
    assert plan_epochs(left_s=math.inf, images=1000, image_s=0.03, from_scratch=False) == MOST_EPOCHS
    assert plan_epochs(left_s=1e6, images=1000, image_s=0.03, from_scratch=True) == MOST_SCRATCH_EPOCHS


def test_the_deepest_cut_with_enough_views_is_planned() -> None:
    prefix, suffix = {4: 0.008, 6: 0.01}, {4: 0.02, 6: 0.004}
    assert plan_tail(left_s=300, images=1000, prefix_s=prefix, suffix_s=suffix, epochs=6)["cut"] == 4
    assert plan_tail(left_s=90, images=1000, prefix_s=prefix, suffix_s=suffix, epochs=6) == {
        "cut": 6,
        "views": 6,
        "epochs": 6,
    }
    assert plan_tail(left_s=20, images=1000, prefix_s=prefix, suffix_s=suffix, epochs=6) is None


def test_the_catalogue_of_schedules_and_optimisers_is_the_one_promised() -> None:
    assert SCHEDULES.names() == ("constant", "cosine", "one_cycle", "step")
    assert OPTIMISERS.names() == ("adadelta", "adagrad", "adam", "adamw", "rmsprop", "sgd")


class Hindered(nn.Linear):
    """Takes so many seconds for each of its calls, as on a machine that others use."""

    def __init__(self, *pauses_s: float) -> None:
        super().__init__(2, 2)
        self.pauses_s = list(pauses_s)

    def __deepcopy__(self, memo: object) -> Hindered:
        return self  # so that the test sees how often it was called

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.pauses_s.pop(0))
        return super().forward(x)


def test_the_quickest_step_counts_and_slow_ones_are_not_repeated() -> None:
    quick = Hindered(0.3, 0.2, 0.2, 0.0, 0.2, 0.2)
    assert measure_step_s(quick, torch.ones(1, 2)) < 0.15
    slow = Hindered(0.0, 0.6, 0.0)
    assert measure_step_s(slow, torch.ones(1, 2)) >= 0.6 and slow.pauses_s == [0.0]
