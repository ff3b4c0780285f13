"""Watching changes nothing: not one bit of the result, and not one attribute of PyTorch afterwards."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from fovea.doctor.finding import PROBES
from fovea.doctor.watching import Doctor

from .loops import Training, alarms, digits, network, watched


@pytest.mark.parametrize(
    "build",
    [network, lambda: nn.Sequential(*network(), nn.Identity()), lambda: network(norm=False, dropout=0.0)],
    ids=["dropout and norm", "nested", "plain"],
)
def test_a_watched_training_ends_with_the_weights_of_an_unwatched_one(build: Callable[[], nn.Module]) -> None:
    alone = Training(build=build).run()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    training = Training(build=build)
    watched(training)
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, training.model.state_dict()[name]), name
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_pytorch_is_left_as_it_was() -> None:
    def patched() -> list[object]:
        return [
            functional.cross_entropy.__code__, functional.mse_loss.__code__, torch.autograd.backward,
            torch.amp.GradScaler.step,
            DataLoader.__iter__, _BaseDataLoaderIter.__next__,
            dict(modules._global_forward_hooks), dict(modules._global_forward_pre_hooks),
            dict(optimizers._global_optimizer_pre_hooks), dict(optimizers._global_optimizer_post_hooks),
        ]  # fmt: skip

    before = patched()
    with Doctor() as doctor:
        assert patched() != before
        Training(epochs=1).run()
    assert patched() == before
    assert len(doctor.record.steps) == 38
    Training(epochs=1).run()
    assert len(doctor.record.steps) == 38


def test_a_fault_of_the_doctor_is_told_and_never_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr("fovea.doctor.writing.channel_statistics", broken)
    with Doctor() as doctor:
        training = Training(epochs=1).run()
    assert len(doctor.record.steps) == 38
    assert doctor.record.unseen == ["RuntimeError: out of order"]
    assert "not seen: RuntimeError: out of order" in doctor.text()
    alone = Training(epochs=1).run()
    assert torch.equal(alone.model[0].weight, training.model[0].weight)


def test_a_probe_that_breaks_costs_its_own_answer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(record: object) -> object:
        raise ZeroDivisionError("no images")

    entry = PROBES["overfitting"]
    monkeypatch.setitem(PROBES._entries, "overfitting", dataclasses.replace(entry, build=broken))
    doctor = watched(Training(epochs=1, zero_grad=False))
    assert alarms(doctor)[:1] == ["missing-zero-grad"]
    assert doctor.record.unseen == ["overfitting: ZeroDivisionError: no images"]


def test_the_first_layer_that_puts_out_what_is_not_finite_is_named() -> None:
    class Root(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return (values - 10).sqrt()

    doctor = watched(Training(build=lambda: nn.Sequential(nn.Conv2d(1, 1, 1), Root(), *network(norm=False)), epochs=1))
    found = doctor.record.nonfinite
    assert found is not None and (found.step, found.what, found.name) == (0, "output of", "1")


def test_gradients_are_on_again_after_looking() -> None:
    with Doctor(strict=True) as doctor:
        Training(epochs=1).run()
        assert torch.is_grad_enabled()
        with torch.no_grad():
            functional.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]))
            assert not torch.is_grad_enabled()
    assert doctor.record.losses[-1].phase == "eval"


def test_evaluation_without_no_grad_is_told_from_training() -> None:
    images, labels = digits()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with Doctor(strict=True) as doctor:
        for start in range(0, 96, 32):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[start : start + 32]), labels[start : start + 32]).backward()
            optimizer.step()
            functional.cross_entropy(model(images[1000:1050]), labels[1000:1050])  # its graph is never used
    assert [step.images for step in doctor.record.steps] == [32, 32, 32]
    assert [each.images for each in doctor.record.rounds] == [50, 50, 50]
    assert all(each.grad_enabled == 1 for each in doctor.record.rounds)


def test_accumulated_gradients_are_one_step_and_no_fault() -> None:
    images, labels = digits()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with Doctor(strict=True) as doctor:
        for start in range(0, 1024, 64):
            optimizer.zero_grad()
            for part in (slice(start, start + 32), slice(start + 32, start + 64)):
                (functional.cross_entropy(model(images[part]), labels[part]) / 2).backward()
            optimizer.step()
    assert [(step.batches, step.images) for step in doctor.record.steps] == [(2, 64)] * 16
    assert "missing-zero-grad" not in alarms(doctor)


def test_a_closure_that_holds_forward_and_backward_is_followed() -> None:
    images, labels = digits()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with Doctor(strict=True) as doctor:
        for start in range(0, 640, 32):

            def closure(part: slice = slice(start, start + 32)) -> torch.Tensor:
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(images[part]), labels[part])
                loss.backward()
                return loss

            optimizer.step(closure)
    assert [step.images for step in doctor.record.steps] == [32] * 20
    weight = doctor.record.networks[0].parameters["0.weight"]
    assert all(value > 0 for value in [*weight.update, *weight.gradient])
    assert "missing-zero-grad" not in alarms(doctor)


def test_nothing_trained_is_said() -> None:
    with Doctor() as doctor:
        pass
    assert doctor.healthy
    assert doctor.text() == "doctor: no training was seen: no optimiser took a step (0 steps and 0 evaluations)"
