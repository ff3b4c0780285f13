"""Where the line of a rule runs, on records written by hand: what is alarmed at, and what only looks like it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fovea.core.registry import Entry
from fovea.doctor.diagnosis import diagnose
from fovea.doctor.reading import several_targets
from fovea.doctor.record import Batch, Group, Layer, Loss, Network, Optimiser, Parameter, Phase, Record, Round, Step


def trained(counts: Sequence[int], *, outputs: int | None = None, to: float = 0.05, right: int = 38) -> Record:
    """Return 60 steps of 40 images by cross-entropy, whose loss has fallen, with so many labels of each class."""
    losses = np.geomspace(2.0, to, 60)
    loss = Loss("cross_entropy", "train", None, "mean", calls=60, classes=outputs or len(counts), looked_at=20)
    loss.scores_shape, loss.label_counts = (40, outputs or len(counts)), np.array(counts)
    loss.labels_lowest, loss.labels_highest = int(np.flatnonzero(counts)[0]), len(counts) - 1
    loss.values = [(step, float(value), 40) for step, value in enumerate(losses)]
    steps = [Step(loss=float(value), batches=1, images=40, right=right) for value in losses]
    return Record(losses=[loss], steps=steps)


def evaluated(record: Record, confusion: np.ndarray) -> Record:
    """The same with an evaluation that came to these answers, rows true."""
    right, judged = int(np.diag(confusion).sum()), int(confusion.sum())
    record.rounds.append(Round(60, images=judged, judged=judged, right=right, batches=1, confusion=confusion))
    return record


def alarms(record: Record) -> list[str]:
    return [each.code for each in diagnose(record) if each.severity == "alarm"]


@pytest.mark.parametrize(
    ("losses", "accuracies", "expected"),
    [
        ([1.0, 0.5, 0.6, 0.8, 1.0, 1.3], [0.60, 0.85, 0.83, 0.80, 0.77, 0.74], ["overfitting"]),
        ([0.63, 0.36, 0.34, 0.42, 0.98, 0.61], [0.94, 0.85, 0.91, 0.91, 0.77, 0.86], []),  # accuracy swings as far
        (
            [7.8, 0.16, 0.83, 0.14, 0.34, 0.44],
            [0.38, 0.95, 0.73, 0.97, 0.90, 0.83],
            [],
        ),  # the loss has come back before
    ],
)
def test_a_curve_that_swings_is_no_overfitting(
    losses: Sequence[float], accuracies: Sequence[float], expected: list[str]
) -> None:
    record = trained([800, 800, 800])
    for place, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
        judged = Round(10 * place, images=400, judged=400, right=round(400 * accuracy), batches=4)
        judged.loss_sum, judged.loss_images = 400 * loss, 400
        record.rounds.append(judged)
    assert alarms(record) == expected


@pytest.mark.parametrize(("decay", "last", "expected"), [(0.3, 0.3, 1), (5e-4, 0.3, 0), (0.3, 2.2, 0)])
def test_decay_that_wears_weights_away_is_named_though_gradients_were_larger_at_first(
    decay: float, last: float, expected: int
) -> None:
    record = trained([800, 800, 800])
    weight = Parameter("0.weight", "0", "Linear", (3, 64), trainable=True, optimised=True, first_std=0.1)
    weight.steps, weight.weight, weight.gradient = [0, 1, 2, 32], [2.3, 2.28, 2.2, last], [1.5, 1.6, 1.5, 0.6]
    weight.update = [0.07, 0.1, 0.1, 0.001]
    record.networks = [Network("Linear", {weight.name: weight}, {})]
    record.optimisers = [
        Optimiser("SGD", [Group([weight.name], {"weight_decay": decay, "lr": 0.05})], None, [0.05] * 60)
    ]
    assert alarms(record).count("weight-decay-high") == expected


@pytest.mark.parametrize(("small", "expected"), [(0, ["imbalance"]), (9, [])])
def test_rare_classes_that_are_never_told_count_where_little_is_told_at_all(small: int, expected: list[str]) -> None:
    """Told right: a third of the common classes, and of the rare one nothing, or as much."""
    common = np.array([[10, 10, 10, 0], [10, 10, 10, 0], [10, 10, 10, 0]])
    confusion = np.vstack(
        [common + np.array([[18, 0, 0, 0], [0, 18, 0, 0], [0, 0, 18, 0]]), [[30 - small, 0, 0, small]]]
    )
    record = evaluated(trained([900, 900, 900, 45], to=0.9, right=30), confusion)
    assert alarms(record) == expected


def test_a_head_of_a_thousand_outputs_for_three_classes_is_named_on_few_images() -> None:
    assert alarms(trained([240, 240, 240], outputs=1000)) == ["wrong-head"]
    assert alarms(trained([1] * 80, outputs=1000)) == []  # of many classes only a few have come by


def test_labels_from_1_are_told_from_all_labels_that_loaders_gave() -> None:
    assert alarms(trained([0, *[24] * 10])) == ["class-map"]
    assert alarms(trained([0, *[9] * 10])) == []  # the first one may just be rare


@pytest.mark.parametrize(("off", "expected"), [(0.2, ["channel-order"]), (0.6, ["train-eval-transform"])])
def test_channels_are_swapped_though_the_means_of_few_images_differ_too(off: float, expected: list[str]) -> None:
    record = trained([800, 800, 800])
    for phase, mean in (("train", [0.14, -0.42, -1.02]), ("eval", [-1.02 + off, -0.42, 0.14 - off])):
        given(record, phase, mean, [0.9, 0.8, 0.75])
    assert alarms(record) == expected


def given(record: Record, phase: Phase, mean: Any, std: Any, **others: Any) -> None:
    """Add 24 batches of colour pictures whose channels have these means and standard deviations."""
    facts: dict[str, Any] = {"lowest": -2.1, "highest": 2.6, "values": 900, **others}
    for step in range(24):
        kind = {"step": step, "phase": phase, "shape": (40, 3, 32, 32), "dtype": "float32", "digest": str(step)}
        statistics = {"mean": np.array(mean), "std": np.array(std), "module_training": phase == "train"}
        record.batches.append(Batch(**kind, **statistics, **facts))


@pytest.mark.parametrize(("told", "expected"), [(True, []), (False, ["train-eval-transform"])])
def test_black_borders_of_moved_pictures_are_no_other_preparation(told: bool, expected: list[str]) -> None:
    """A tenth of each training picture is black, which is another value of each channel."""
    mean, std, black = np.array([0.43, 0.28, 0.25]), np.array([0.84, 0.47, 0.62]), np.array([-3.4, -3.7, -2.7])
    moved = 0.9 * mean + 0.1 * black
    spread = np.sqrt(0.9 * (std**2 + mean**2) + 0.1 * black**2 - moved**2)
    common = dict.fromkeys(black.tolist(), 0.1 / 3) if told else {}
    record = trained([800, 800, 800])
    given(record, "train", moved, spread, common=common)
    given(record, "eval", mean, std)
    assert alarms(record) == expected


@pytest.mark.parametrize(
    ("mistaken", "expected"),
    [
        ({(0, 1): 70, (1, 0): 40, (2, 3): 60, (3, 2): 45}, ["label-changing-augmentation"]),
        ({(0, 1): 70, (1, 0): 40}, ["label-changing-augmentation"]),  # the other two are told
        ({(0, 3): 70, (3, 0): 40, (1, 2): 60, (2, 1): 45}, []),  # these are no mirror images
        ({(0, 1): 8, (1, 0): 9, (2, 3): 6, (3, 2): 7}, []),
    ],
)
def test_classes_that_are_mirror_images_are_mistaken_in_pairs(
    mistaken: dict[tuple[int, int], int], expected: list[str]
) -> None:
    confusion = np.diag([100] * 4)
    for (one, other), count in mistaken.items():
        confusion[one, one] -= count
        confusion[one, other] += count
    record = evaluated(trained([600] * 4, to=0.8, right=26), confusion)
    rng, gallery = np.random.default_rng(0), record.galleries["eval"]
    corners = [(slice(0, 20), slice(0, 20)), (slice(0, 20), slice(44, 64))]
    corners += [(slice(40, 64), slice(4, 28)), (slice(40, 64), slice(36, 60))]
    for place in range(400):
        picture = rng.integers(0, 90, (64, 64)).astype(np.uint8)
        picture[corners[place % 4]] += 120
        gallery.pictures.append(picture)
    gallery.labels, gallery.steps = [place % 4 for place in range(400)], [60] * 400
    gallery.networks, gallery.sources = [0] * 400, [0] * 400
    assert alarms(record) == expected


@pytest.mark.parametrize(("right", "expected"), [(39, []), (12, ["loss-summed"])])
def test_a_sum_that_all_is_learnt_with_is_a_note(right: int, expected: list[str]) -> None:
    record = trained([800, 800, 800], right=right)
    record.losses[0].reduction = "sum"
    assert alarms(record) == expected
    assert "loss-summed" in [each.code for each in diagnose(record)]


@pytest.mark.parametrize(("cut_short", "expected"), [(False, ["schedule-unit"]), (True, [])])
def test_a_warm_up_may_outlast_a_training_that_was_cut_short(cut_short: bool, expected: list[str]) -> None:
    record = trained([800, 800, 800])
    optimiser = Optimiser("AdamW", [Group([], {"lr": 0.0, "initial_lr": 0.001})], None)
    optimiser.lr, optimiser.lr_set_at = [1e-6 * step for step in range(60)], list(range(1, 60))
    record.optimisers, record.cut_short = [optimiser], cut_short
    assert alarms(record) == expected


def test_a_renaming_that_gains_little_is_how_many_classes_of_few_images_are() -> None:
    """81 classes of four images: some pairs are mistaken for each other, and renaming six gains three points."""
    confusion = np.diag([3] * 75 + [0] * 6) + np.diag([1] * 80, 1)
    confusion[75:, 75:] = 4 * np.roll(np.eye(6, dtype=int), 1, axis=1) * (np.arange(6) < 3)[:, None] + np.diag([0] * 6)
    record = evaluated(trained([30] * 81, right=30), confusion)
    assert "class-map" not in alarms(record)
    everything = evaluated(trained([30] * 10, right=15, to=0.9), np.roll(12 * np.eye(10, dtype=int), 1, axis=1))
    assert alarms(everything) == ["class-map"]


@pytest.mark.parametrize(("channels", "expected"), [(1, ["under-capacity"]), (12, [])])
def test_a_needle_eye_is_named_where_a_plain_classifier_does_no_better(channels: int, expected: list[str]) -> None:
    record = trained([240] * 10, to=1.75, right=12)
    for step in record.steps[20:]:
        step.loss = 1.8
    sizes = {"0": channels, "1": 40}
    layers = {name: Layer(name, "Conv2d", {}, order=int(name)) for name in sizes}
    for name, width in sizes.items():
        layers[name].out_shape = (40, width, 16, 16)
    layers["2"] = Layer("2", "Linear", {}, order=2)
    layers["2"].out_shape = (40, 10)
    record.networks = [Network("Sequential", {}, layers)]
    rng = np.random.default_rng(0)
    gallery = record.galleries["train"]
    gallery.labels = (np.arange(400) % 10).tolist()
    gallery.pictures = [
        (rng.integers(0, 60, (64, 64)) + 90 * (np.arange(64)[:, None] // 7 == label)).astype(np.uint8)
        if place % 4 == 0
        else rng.integers(0, 150, (64, 64)).astype(np.uint8)
        for place, label in enumerate(gallery.labels)
    ]
    assert alarms(record) == expected


@pytest.mark.parametrize(("calls", "expected"), [(60, False), (120, True)])
def test_two_heads_are_told_by_their_losses_for_each_backward(calls: int, expected: bool) -> None:
    record = trained([800, 800, 800])
    record.losses[0].calls = calls
    assert several_targets(record) is expected


def test_what_libraries_warn_of_while_a_record_is_read_is_not_the_users_affair(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def warns(record: Record) -> list[Any]:
        warnings.warn("the number of unique classes is large", UserWarning, stacklevel=1)
        return []

    monkeypatch.setattr("fovea.doctor.diagnosis.PROBES", [Entry("warns", warns, "")])
    assert diagnose(Record()) == [] and not recwarn.list
