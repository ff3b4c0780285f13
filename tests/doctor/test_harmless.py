"""Choices that a rule knows as faults and that cost nothing here, beside the same where they do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from fovea.doctor.watching import Doctor

from .loops import CLASSES, Training, alarms, digits, epoch_by_hand, network, watched
from .test_faults import optimizer


def notes(doctor: Doctor) -> list[str]:
    return [each.code for each in doctor.findings if each.severity == "note"]


def summed(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(scores, labels, reduction="sum")


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_sum_whose_gradient_is_cut_to_one_length_anyway_is_a_note(clip: float | None) -> None:
    doctor = watched(Training(loss=summed, clip=clip, optimizer=optimizer(lr=0.01), epochs=1, most_steps=12))
    assert ("loss-summed" in notes(doctor), "loss-summed" in alarms(doctor)) == (clip is not None, clip is None)


@pytest.mark.parametrize(("epochs", "harms"), [(16, False), (1, True)])
def test_what_costs_accuracy_is_a_note_where_nearly_all_is_told_right(epochs: int, harms: bool) -> None:
    """Dropout of 70 % twice: training looks poor, evaluation is not."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 384), nn.ReLU(), nn.Dropout(0.7), nn.Linear(384, 384), nn.ReLU(),
            nn.Dropout(0.7), nn.Linear(384, CLASSES),
        )  # fmt: skip

    doctor = watched(Training(build=build, optimizer=optimizer("Adam", lr=2e-3), epochs=epochs))
    assert (doctor.record.rounds[-1].accuracy < 0.97) == harms
    assert ("dropout-misuse" in alarms(doctor), "dropout-misuse" in notes(doctor)) == (harms, not harms)


class Columns(nn.Module):
    """Two columns that are held in a dictionary."""

    def __init__(self, kind: Callable[..., object]) -> None:
        super().__init__()
        self.columns = kind({str(size): nn.Conv2d(1, 8, size, padding=size // 2) for size in (3, 5)})
        self.head = nn.Linear(16 * 64, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([each(images).relu() for each in self.columns.values()], dim=1).flatten(1))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [dict, OrderedDict, nn.ModuleDict])
def test_layers_in_dictionaries_of_any_kind_are_missed_by_the_optimiser(kind: type) -> None:
    doctor = watched(Training(build=lambda: Columns(kind), epochs=1))
    assert alarms(doctor)[:1] == ([] if kind is nn.ModuleDict else ["optimizer-misses-parameters"]), doctor.text()


class Stack(nn.Module):
    """Three convolutions, with a BatchNorm each or one for all."""

    def __init__(self, norms: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(each, 16, 3, padding=1, bias=False) for each in (1, 16, 16))
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(norms))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for place, convolution in enumerate(self.convolutions):
            images = self.norms[place % len(self.norms)](convolution(images)).relu()
        return self.head(images.amax(dim=(2, 3)))


@pytest.mark.parametrize(("norms", "expected"), [(1, ["batchnorm-mode"]), (3, [])])
def test_one_batchnorm_in_several_places_is_named(norms: int, expected: list[str]) -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = Stack(norms)
    adam = torch.optim.Adam(model.parameters(), lr=5e-3)
    with Doctor(strict=True) as doctor:
        for _ in range(8):
            epoch_by_hand(model, adam, images[:1200], labels[:1200])
            model.eval()
            with torch.no_grad():
                assert (model(images[1200:]).argmax(1) == labels[1200:]).shape == (597,)
    assert alarms(doctor) == expected, doctor.text()
    if expected:
        assert "norms.0 is called 3 times in a pass" in doctor.findings[0].message


def test_one_network_for_two_views_shares_its_batchnorm_rightly() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = network(dropout=0.0)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            model.train()
            for rows in torch.randperm(1200).split(40):
                adam.zero_grad()
                views = [model(images[rows] + 0.1 * torch.randn_like(images[rows])) for _ in range(2)]
                sum(functional.cross_entropy(each, labels[rows]) for each in views).backward()  # type: ignore[union-attr]
                adam.step()
            model.eval()
            with torch.no_grad():
                functional.cross_entropy(model(images[1200:]), labels[1200:])
    assert not alarms(doctor), doctor.text()


@pytest.mark.parametrize(("between", "expected"), [(nn.Identity, ["missing-nonlinearity"]), (nn.ReLU, [])])
def test_batchnorm_between_convolutions_is_no_nonlinearity(between: type[nn.Module], expected: list[str]) -> None:
    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for channels, kernel in ((1, 5), (16, 3), (16, 3)):
            layers += [nn.Conv2d(channels, 16, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(16), between()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES))

    doctor = watched(Training(build=build, optimizer=optimizer("Adam", lr=2e-3), epochs=1))
    assert [code for code in alarms(doctor) if code == "missing-nonlinearity"] == expected, doctor.text()


def test_training_and_test_images_told_one_after_the_other_are_two_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Both are called within one evaluation; each accuracy that is printed is that of its part."""
    torch.manual_seed(0)
    images, labels = digits()
    labels = torch.where(torch.arange(len(labels)) < 1200, labels, (labels + 5) % CLASSES)  # another map in the test
    model = network()
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            epoch_by_hand(model, adam, images[:1200], labels[:1200])
        model.eval()
        with torch.no_grad():
            for name, rows in (("resubstitution", slice(0, 1200)), ("test accuracy", slice(1200, None))):
                right = (model(images[rows]).argmax(1) == labels[rows]).float().mean().item()
                print(f"{name} {right:.3f}")  # noqa: T201 - what is printed is what this is about
    assert "test accuracy 0.0" in capsys.readouterr().out
    assert "metric-wrong" not in alarms(doctor), doctor.text()
