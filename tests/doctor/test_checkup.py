"""A checkup before a training: what it names, what it measures, and that it leaves everything as it was."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import fovea.doctor
from fovea.core.errors import DataError
from fovea.doctor.checking import Checkup, checkup

from .loops import CLASSES, digits, network, sgd
from .test_faults import Cut, constant, large_head, short_sighted


def loader(*, shuffle: bool = True, change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x) -> DataLoader[Any]:
    images, labels = digits()
    return DataLoader(TensorDataset(change(images[:320]), labels[:320]), batch_size=64, shuffle=shuffle)


def examined(model: nn.Module, given: DataLoader[Any] | None = None, **options: Any) -> Checkup:
    torch.manual_seed(0)
    return checkup(model, nn.CrossEntropyLoss(), loader() if given is None else given, **options)


def alarms(report: Checkup) -> list[str]:
    return [finding.code for finding in report.findings if finding.severity == "alarm"]


@pytest.mark.parametrize("norm", [True, False])
def test_a_sound_network_is_healthy_and_measured(norm: bool) -> None:
    torch.manual_seed(0)
    model = network(norm=norm)
    report = examined(model, optimizer=sgd(model))
    assert alarms(report) == [], report.text()
    assert report.healthy and "healthy" in report.text()
    assert "guessing among 10 classes loses 2.30" in report.measured["loss at the start"]
    assert report.measured["one batch by heart"].startswith("100 % right after ")
    assert report.measured["receptive field"] == "6 x 6 pixels at 5"
    told = json.loads(report.to_json())
    assert told["healthy"] is True and told["unseen"] == []
    assert set(told["measured"]) == set(report.measured)


def test_nothing_is_changed() -> None:
    model, given = network(), loader()
    given.generator = torch.Generator().manual_seed(5)
    optimiser = sgd(model)
    before, mode = copy.deepcopy(model.state_dict()), [each.training for each in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), given.generator.get_state()
    checkup(model, nn.CrossEntropyLoss(), given, optimizer=optimiser)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [each.training for each in model.modules()] == mode
    assert all(each.grad is None for each in model.parameters())
    assert not optimiser.state
    assert torch.equal(states[0], torch.get_rng_state()) and torch.equal(states[3], given.generator.get_state())
    assert states[1:3] == (random.getstate(), np.random.get_state()[1].tolist())


class Blind(nn.Module):
    """Answers the same whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores.expand(len(images), CLASSES) + 0 * images.mean()


@pytest.mark.parametrize(
    ("code", "build"),
    [
        ("softmax-before-loss", lambda: network().append(nn.Softmax(1))),
        ("constant-init", lambda: constant(0.01)),
        ("init-scale", large_head),
        ("detached-graph", Cut),
        ("input-ignored", Blind),
        ("receptive-field", short_sighted),
        ("wrong-head", lambda: nn.Sequential(*list(network())[:-1], nn.Linear(64, 5))),
        ("missing-nonlinearity", lambda: nn.Sequential(*list(network())[:-1], nn.Linear(64, 64), nn.Linear(64, 10))),
    ],
)
def test_a_fault_is_named_first(code: str, build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    report = examined(build())
    assert alarms(report)[:1] == [code], report.text()
    assert not report.healthy
    assert f"[{code}, " in report.text()


def test_a_network_that_cannot_learn_a_batch_is_too_small() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.MaxPool2d(4), nn.Flatten(), nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, CLASSES))
    report = examined(model)
    assert alarms(report)[:1] == ["under-capacity"], report.text()
    assert "one batch of 32 images is not learnt by heart" in report.findings[0].message


def test_unnormalised_pixels_and_the_optimiser_of_another_network() -> None:
    report = examined(network(norm=False), loader(change=lambda images: (images + 1) * 60 + 40))
    assert alarms(report)[:1] == ["not-normalised"], report.text()
    report = examined(network(), optimizer=sgd(network()))
    assert alarms(report) == ["optimizer-misses-parameters"]
    assert "none of 9 trainable parameters of 9" in report.findings[0].message


class Trembling(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images with noise that is new each time."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = digits()
        return images[index] + 0.1 * torch.randn(1, 8, 8), labels[index]


def test_images_that_differ_each_time_are_named_where_nothing_is_shuffled() -> None:
    report = examined(network(), DataLoader(Trembling(), batch_size=50))
    assert alarms(report) == ["augmented-validation"], report.text()
    assert examined(network(), DataLoader(Trembling(), batch_size=50, shuffle=True)).healthy


def test_the_mode_is_a_note() -> None:
    report = examined(network().eval())
    assert report.healthy
    assert [each.code for each in report.findings if each.code == "batchnorm-mode"] == ["batchnorm-mode"]


class Stream(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Digits without an index."""

    def __iter__(self) -> Any:
        return iter(list(zip(*(part[:64] for part in digits()), strict=True)))


def test_what_cannot_be_checked_is_said() -> None:
    model = network().requires_grad_(False)
    report = examined(model, DataLoader(Stream(), batch_size=32))
    assert report.unseen == (
        "learning one batch by heart: no parameter is trainable",
        "the index that is loaded twice: the dataset has none",
    )
    assert "not checked: learning one batch by heart" in report.text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: DataLoader(TensorDataset(*[part[:3] for part in digits()]), batch_size=8, drop_last=True), "no batch"),
        (lambda: DataLoader(TensorDataset(digits()[0][:9]), batch_size=8), "no images and labels were found"),
    ],
)
def test_a_loader_without_pairs_is_an_error(given: Callable[[], DataLoader[Any]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        checkup(network(), nn.CrossEntropyLoss(), given())
    assert caught.value.hint


def test_regression_and_mappings() -> None:
    images, _ = digits()
    pairs = [{"image": image, "label": image[:, :4].mean().reshape(1)} for image in images[:64]]
    model = nn.Sequential(*list(network())[:-1], nn.Linear(64, 1))
    torch.manual_seed(0)
    report = checkup(
        model, lambda scores, target: functional.mse_loss(scores, target), DataLoader(pairs, batch_size=32)
    )
    assert alarms(report) == [], report.text()
    assert "guessing" not in report.measured["loss at the start"]


def test_it_is_part_of_the_package() -> None:
    assert fovea.doctor.checkup is checkup
