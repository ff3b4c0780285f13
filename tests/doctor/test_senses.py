"""Trainings of all styles: counts of steps, images and evaluations are right, and healthy ones get no alarm."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fovea.doctor.tensors import channel_statistics, spread
from fovea.doctor.watching import Doctor

from .loops import Training, alarms, digits, network, sgd, watched


def loader(*, batch_size: int = 32, images: int = 1200, **options: Any) -> DataLoader[Any]:
    values, labels = digits()
    data = TensorDataset(values[:images], labels[:images])
    return DataLoader(data, batch_size=batch_size, shuffle=True, drop_last=True, **options)


def held_out() -> DataLoader[Any]:
    images, labels = digits()
    return DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=100)


def rounds(doctor: Doctor) -> list[tuple[int, int, int]]:
    return [(each.images, each.judged, each.training_mode) for each in doctor.record.rounds]


def step_images(doctor: Doctor) -> set[int]:
    return {step.images for step in doctor.record.steps}


def wrapped() -> nn.Module:
    return torch.compile(network(), backend="eager")  # type: ignore[return-value]


def in_place() -> nn.Module:
    model = network()
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize("build", [wrapped, in_place])
def test_a_compiled_network_is_followed_from_outside(build: Any) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    alone = Training(build=build, epochs=1).run()
    compiled, breaks = dict(counters["stats"]), dict(counters["graph_break"])
    torch._dynamo.reset()
    counters.clear()
    training = Training(build=build, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of hooks on compiled modules: there are none while they run
        doctor = watched(training)
    assert (dict(counters["stats"]), dict(counters["graph_break"])) == (compiled, breaks) != ({}, {})
    assert all(torch.equal(*pair) for pair in zip(alone.model.parameters(), training.model.parameters(), strict=True))
    assert step_images(doctor) == {32, 16}
    assert rounds(doctor) == [(597, 597, 0)]
    assert doctor.record.unseen == ["the layers within Sequential, which is compiled"]
    assert alarms(doctor) == []


def test_what_was_compiled_before_is_followed_and_left_as_it_was() -> None:
    model = in_place()
    call = model._compiled_call_impl
    with Doctor(strict=True) as doctor:
        assert model._compiled_call_impl is not call
        Training(build=lambda: model, epochs=1).run()
    assert model._compiled_call_impl is call
    assert rounds(doctor) == [(597, 597, 0)]


def test_nothing_of_it_stays_in_pytorch() -> None:
    from torch._dynamo.eval_frame import OptimizedModule
    from torch.nn.modules import module as modules

    def touched() -> list[object]:
        hooks = (modules._global_forward_hooks, modules._global_forward_hooks_with_kwargs)
        return [torch.compile, nn.Module.compile, OptimizedModule.__call__, *map(dict, hooks)]

    before = touched()
    with Doctor(strict=True):
        assert all(one != other for one, other in zip(before, touched(), strict=True))
        wrapped()(digits()[0][:4])
    assert touched() == before


def test_networks_within_a_compiled_function_are_said_to_be_unseen() -> None:
    model = network(norm=False, dropout=0.0)
    optimizer = sgd(model)

    @torch.compile(backend="eager")
    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(images), labels)

    with Doctor(strict=True) as doctor:
        for images, labels in loader(images=320):
            optimizer.zero_grad()
            loss_of(images, labels).backward()
            optimizer.step()
    assert len(doctor.record.steps) == 10
    assert all(0.5 < step.loss < 4 for step in doctor.record.steps)
    assert doctor.record.unseen == ["the network in training: within a compiled function there are no hooks"]
    assert alarms(doctor) == []


def test_mixed_precision_with_a_scaler_counts_the_steps_that_are_skipped() -> None:
    model = network()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with Doctor(strict=True) as doctor:
        for number, (images, labels) in enumerate(loader()):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(images), labels)
            scaler.scale(loss * float("inf") if number in (3, 7) else loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    assert (len(doctor.record.steps), doctor.record.skipped_steps) == (35, 2)
    assert step_images(doctor) == {32}
    assert doctor.record.steps[0].loss == pytest.approx(2.3, abs=0.3)  # not the scaled one
    assert alarms(doctor) == []


class Computing(nn.Module):
    """A model in Hugging Face's style: it is given everything by name and computes its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.net(pixel_values)
        return {} if labels is None else {"loss": functional.cross_entropy(logits, labels), "logits": logits}


class Accelerated:
    """An optimiser that is wrapped, as accelerate does it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        self.optimizer.step()


def test_a_model_that_computes_its_own_loss_is_judged_by_its_logits() -> None:
    model = Computing()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            model.train()
            for images, labels in loader():
                model(pixel_values=images, labels=labels)["loss"].backward()
                Accelerated(optimizer).step()
                optimizer.zero_grad()
            model.eval()
            with torch.no_grad():
                for images, labels in held_out():
                    model(pixel_values=images, labels=labels)
    assert step_images(doctor) == {32}
    assert all(step.right >= 0 for step in doctor.record.steps)
    assert rounds(doctor) == [(597, 597, 0)] * 2
    assert doctor.record.rounds[-1].accuracy > 0.8
    assert alarms(doctor) == []


class SoftTargets(nn.Module):
    """Cross-entropy written by hand, as timm's."""

    def forward(self, scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.sum(-target * functional.log_softmax(scores, dim=-1), dim=-1).mean()


@pytest.mark.parametrize("loss", [SoftTargets(), nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()])
def test_mixed_up_soft_targets_and_an_averaged_copy(loss: nn.Module) -> None:
    model = network(dropout=0.0)
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            model.train()
            for images, labels in loader():
                share = float(torch.distributions.Beta(0.4, 0.4).sample())
                target = 0.9 * functional.one_hot(labels, 10).float() + 0.01
                mixed = share * images + (1 - share) * images.flip(0)
                optimizer.zero_grad()
                loss(model(mixed), share * target + (1 - share) * target.flip(0)).backward()
                optimizer.step()
                averaged.update_parameters(model)
            for each in (model, averaged):
                each.eval()
                with torch.no_grad():
                    for images, labels in held_out():
                        functional.cross_entropy(each(images), labels)
    assert len(doctor.record.steps) == 74
    assert step_images(doctor) == {32}
    assert rounds(doctor) == [(597, 597, 0)] * 4
    assert doctor.record.rounds[2].accuracy > 0.7
    assert alarms(doctor) == []


def test_a_generator_and_its_critic() -> None:
    generator = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
    critic = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    first, second = (torch.optim.Adam(each.parameters(), 2e-4, betas=(0.5, 0.999)) for each in (critic, generator))
    judge = nn.BCEWithLogitsLoss()
    with Doctor(strict=True) as doctor:
        for images, _ in loader():
            real, ones = images.flatten(1).clamp(-1, 1), torch.ones(len(images), 1)
            made = generator(torch.randn(len(real), 16))
            first.zero_grad()
            (judge(critic(real), ones) + judge(critic(made.detach()), 0 * ones)).backward()
            first.step()
            second.zero_grad()
            judge(critic(made), ones).backward()  # adds to the critic's gradients too, which are cleared above
            second.step()
    assert [step.images for step in doctor.record.steps] == [64, 32] * 37
    assert doctor.record.rounds == []
    for place, optimised in enumerate(([True] * 4, [True] * 4)):
        parameters = doctor.record.networks[place].parameters.values()
        assert [each.optimised for each in parameters] == optimised
        assert all(len(each.steps) >= 2 for each in parameters), "two networks with the same names of parameters"
    assert alarms(doctor) == []


def test_one_body_with_two_heads_and_two_losses() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU())
    head, decoder = nn.Linear(48, 10), nn.Linear(48, 64)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters(), *decoder.parameters()], 3e-3)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            for images, labels in loader():
                features = body(images)
                loss = functional.cross_entropy(head(features), labels)
                loss = loss + 0.1 * functional.mse_loss(decoder(features), images.flatten(1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    assert step_images(doctor) == {32}
    assert all(0 <= step.right <= 32 for step in doctor.record.steps)
    assert sum(step.right for step in doctor.record.steps[-10:]) > 0.8 * 320
    assert alarms(doctor) == []


class Endless(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Digits without an end."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        images, labels = digits()
        draw = torch.Generator().manual_seed(0)
        while True:
            place = int(torch.randint(0, 1200, (1,), generator=draw))
            yield images[place], labels[place]


def test_a_loader_without_an_end_and_gradients_that_are_accumulated() -> None:
    model = network()
    optimizer = sgd(model)
    batches = iter(DataLoader(Endless(), batch_size=16))
    with Doctor(strict=True) as doctor:
        batches = iter(DataLoader(Endless(), batch_size=16))
        for number in range(160):
            images, labels = next(batches)
            (functional.cross_entropy(model.train()(images), labels) / 2).backward()
            if number % 2:
                optimizer.step()
                optimizer.zero_grad()
            if number % 80 == 79:
                model.eval()
                with torch.no_grad():
                    for images, labels in held_out():
                        functional.cross_entropy(model(images), labels)
    assert [(step.batches, step.images) for step in doctor.record.steps] == [(2, 32)] * 80
    assert rounds(doctor) == [(597, 597, 0)] * 2
    assert (doctor.record.loaders[0].phase, doctor.record.loaders[0].images) == ("train", None)
    assert alarms(doctor) == []


@pytest.mark.slow
def test_workers_that_stay_and_data_parallel() -> None:
    model = nn.DataParallel(network())
    optimizer = sgd(model)
    batches = loader(num_workers=1, persistent_workers=True)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            for images, labels in batches:
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
    assert len(doctor.record.steps) == 74
    assert step_images(doctor) == {32}
    assert doctor.record.loaders[0].rounds == 2
    assert alarms(doctor) == []


FASTAI = """
from fastai.vision.all import *
from sklearn.datasets import load_digits
found = load_digits()
images, labels = torch.tensor(found.images / 8 - 1).float()[:, None], torch.tensor(found.target)
pairs = list(zip(images, labels))
loaders = DataLoaders.from_dsets(pairs[:1200], pairs[1200:], bs=64, device="cpu", num_workers=0)
set_seed(0)
net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
                    nn.Linear(1024, 10))
from fovea.doctor import watch
with watch(strict=True) as doctor:
    learn = Learner(loaders, net, loss_func=nn.CrossEntropyLoss(), metrics=accuracy)
    with learn.no_bar():
        learn.fit_one_cycle(2, 3e-3)
record = doctor.record
assert [len(record.steps), {step.images for step in record.steps}] == [36, {64}], record.steps
assert [each.images for each in record.rounds] == [597, 597], record.rounds
assert record.optimisers[0].kind == "AdamW" and record.optimisers[0].groups[0].settings["weight_decay"] == 0.01
assert {each.phase for each in record.loaders} == {"train", "eval"}
assert record.networks[0].parameters["0.weight"].update[0] > 0
assert not [each for each in doctor.findings if each.severity == "alarm"], doctor.text()
"""


@pytest.mark.slow
def test_fastais_own_optimiser_and_loaders(tmp_path: Path) -> None:
    if importlib.util.find_spec("fastai") is None:
        pytest.skip("fastai is not installed")
    done = subprocess.run([sys.executable, "-c", FASTAI], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("offset", [0.0, 1.0, 255.0, 1e6])
def test_spreads_are_those_of_std_however_far_from_zero(offset: float) -> None:
    images = (torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + offset).float()
    assert spread(images, [0, 2, 3]).tolist() == pytest.approx(images.std(dim=(0, 2, 3)).tolist(), rel=1e-3)
    mean, std, lowest, highest = channel_statistics(images)
    assert std.tolist() == pytest.approx(images.std(dim=(0, 2, 3)).tolist(), rel=1e-3)
    assert mean.tolist() == pytest.approx(images.mean(dim=(0, 2, 3)).tolist(), rel=1e-5)
    assert (lowest, highest) == (float(images.min()), float(images.max()))
    assert spread(torch.full((4, 9), offset), [1]).tolist() == [0.0] * 4
