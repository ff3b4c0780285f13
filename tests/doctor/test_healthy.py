"""Trainings of many kinds with nothing wrong in them: the doctor raises no alarm, though most look odd to some rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import mobilenet_v3_small, squeezenet1_1

from fovea.doctor import describing
from fovea.doctor.watching import Doctor

from .loops import CLASSES, Training, alarms, cases, digits, network, sgd, watched
from .test_faults import optimizer, scaled

Pair = tuple[torch.Tensor, torch.Tensor]


@cache
def _trained_state() -> dict[str, torch.Tensor]:
    """The weights of a network that has learnt to tell even from odd digits."""
    return Training(build=pretrainable, labels=lambda labels: labels % 2, epochs=3).run().model.state_dict()


def pretrainable() -> nn.Module:
    """Two convolutions with BatchNorm, and a head."""
    layers: list[nn.Module] = []
    for channels, out in ((1, 16), (16, 32)):
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, CLASSES))


def pretrained(*, freeze: bool = False) -> nn.Module:
    """Such a network with weights of another task and a new head; its body frozen if told so."""
    model = pretrainable()
    model.load_state_dict(_trained_state())
    model[-1] = nn.Linear(128, CLASSES)
    model[:-1].requires_grad_(not freeze)
    return model


def norms_in_eval(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


def with_norm(norm: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), norm(16), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), norm(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, CLASSES),
    )  # fmt: skip


class Block(nn.Module):
    """A residual block; MobileNetV2's with a linear bottleneck if told so."""

    def __init__(self, width: int, *, inverted: bool) -> None:
        super().__init__()
        inner = 3 * width if inverted else width
        kernel = 1 if inverted else 3
        self.body = nn.Sequential(
            nn.Conv2d(width, inner, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
            *([nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6()]
              if inverted else []),
            nn.Conv2d(inner, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.last = nn.Identity() if inverted else nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(images + self.body(images))


def residual(*, inverted: bool = False) -> nn.Module:
    stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Block(16, inverted=inverted), nn.MaxPool2d(2), Block(16, inverted=inverted)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES))


def one_to_twelve() -> Pair:
    """Digits in which threes are a twelfth as frequent as the others."""
    images, labels = digits()
    three = torch.nonzero(labels[:1200] == 3)[:, 0]
    kept = torch.ones(1200, dtype=torch.bool)
    kept[three[10:]] = False
    rows = torch.nonzero(kept)[:, 0]
    rows = torch.cat([rows, rows[: 1200 - len(rows)]])
    return torch.cat([images[rows], images[1200:]]), torch.cat([labels[rows], labels[1200:]])


def smooth_step(at: int) -> float:
    """A warm-up of ten steps that begins at 0."""
    return min(1.0, at / 10)


fast = partial(Training, epochs=2)
HEALTHY: dict[str, Callable[[], Training]] = {
    "frozen pretrained body": lambda: fast(build=partial(pretrained, freeze=True), epochs=3),
    "linear probe that the optimiser alone knows of": lambda: fast(
        build=pretrained, optimizer=lambda model: torch.optim.Adam(model[-1].parameters(), lr=0.01)
    ),
    "pretrained body in eval mode": lambda: fast(
        build=partial(pretrained, freeze=True), prepare=lambda model: model[:-1].eval()
    ),
    "pretrained network wholly in eval mode": lambda: fast(build=pretrained, prepare=lambda model: model.eval()),
    "BatchNorm frozen on purpose": lambda: fast(build=pretrained, prepare=norms_in_eval),
    "fine-tuning with lr 1e-4": lambda: fast(build=pretrained, optimizer=optimizer("AdamW", lr=1e-4), epochs=3),
    "fine-tuning with sgd 1e-4": lambda: fast(build=pretrained, optimizer=optimizer(lr=1e-4, momentum=0.9)),
    "warm-up from 0": lambda: fast(scheduler=lambda given: lr_scheduler.LambdaLR(given, smooth_step)),
    "long warm-up": lambda: fast(
        scheduler=lambda given: lr_scheduler.LambdaLR(given, lambda at: at / 76), optimizer=optimizer("Adam", lr=0.005)
    ),
    "cosine to 0": lambda: fast(scheduler=lambda given: lr_scheduler.CosineAnnealingLR(given, 76)),
    "one cycle": lambda: fast(scheduler=lambda given: lr_scheduler.OneCycleLR(given, 0.2, total_steps=77)),
    "cyclical": lambda: Training(
        scheduler=lambda given: lr_scheduler.CyclicLR(given, 0.005, 0.05, step_size_up=20), epochs=4
    ),
    "warm restarts": lambda: Training(
        scheduler=lambda given: lr_scheduler.CosineAnnealingWarmRestarts(given, 38), epochs=4
    ),
    "sgd without momentum": lambda: fast(optimizer=optimizer(lr=0.05)),
    "adam 1e-4": lambda: fast(optimizer=optimizer("Adam", lr=1e-4), epochs=3),
    "nesterov and decay": lambda: fast(
        optimizer=lambda model: torch.optim.SGD(
            model.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
    ),
    "clipped": lambda: fast(clip=0.5),
    "clipped hard": lambda: fast(clip=0.05),
    "imbalance 1:12": lambda: fast(data=one_to_twelve, epochs=4),
    "dropout 0.5": lambda: fast(build=partial(network, dropout=0.5), epochs=3),
    "three steps": lambda: fast(epochs=1, most_steps=3),
    "three steps of warm-up": lambda: fast(
        epochs=1, most_steps=3, scheduler=lambda given: lr_scheduler.LambdaLR(given, smooth_step)
    ),
    "one evaluation": lambda: fast(epochs=1),
    "no evaluation": lambda: fast(evaluated=False),
    "thirty images evaluated": lambda: fast(validation=lambda images, labels: (images[:30], labels[:30]), epochs=3),
    "GroupNorm": lambda: fast(build=lambda: with_norm(lambda width: nn.GroupNorm(4, width))),
    "LayerNorm": lambda: fast(build=lambda: with_norm(lambda width: nn.GroupNorm(1, width))),
    "MobileNet": lambda: fast(build=partial(residual, inverted=True), optimizer=optimizer("Adam", lr=0.01), epochs=3),
    "residual": lambda: fast(build=residual, optimizer=optimizer("Adam", lr=0.01), epochs=3),
    "noise and shifts as augmentation": lambda: fast(
        augment=lambda batch: torch.roll(batch, int(torch.randint(-1, 2, ())), dims=3) + 0.2 * torch.randn_like(batch)
    ),
    "a little off the usual scale": lambda: fast(data=partial(scaled, 1.3, 0.1), batch_size=64),
    "weights in the loss": lambda: fast(
        loss=lambda scores, labels: functional.cross_entropy(scores, labels, weight=1 + torch.arange(10.0))
    ),
    "multi-label": lambda: fast(
        labels=lambda labels: labels,
        loss=lambda scores, labels: functional.binary_cross_entropy_with_logits(
            scores, functional.one_hot(labels, CLASSES).float()
        ),
    ),
    "last batch of two": lambda: fast(batch_size=70, images=1122),
}


FAST = (
    "frozen pretrained body", "pretrained network wholly in eval mode", "warm-up from 0", "cosine to 0", "clipped",
    "three steps", "three steps of warm-up", "no evaluation", "thirty images evaluated", "multi-label",
    "weights in the loss", "imbalance 1:12",
)  # fmt: skip


@pytest.mark.parametrize("name", cases(HEALTHY, fast=FAST))
def test_a_training_that_only_looks_odd_gets_no_alarm(name: str) -> None:
    _trained_state()  # not under observation
    doctor = watched(HEALTHY[name]())
    assert alarms(doctor) == [], doctor.text()
    assert doctor.record.steps


def test_binary_with_a_sigmoid_at_the_end() -> None:
    training = Training(
        build=lambda: nn.Sequential(*list(network())[:-1], nn.Linear(64, 1), nn.Sigmoid()),
        labels=lambda labels: (labels == 0).float()[:, None],
        validation=lambda images, labels: (images, (labels == 0).float()[:, None]),
        loss=lambda scores, labels: functional.binary_cross_entropy(scores, labels),
    )
    doctor = watched(training)
    assert alarms(doctor) == [], doctor.text()
    assert sum(map(len, doctor.record.rounds[-1].scores)) == 597


def test_regression() -> None:
    def brightness(images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :4].mean(dim=(1, 2, 3))[:, None]

    training = Training(
        data=lambda: (digits()[0], brightness(digits()[0])),
        build=lambda: nn.Sequential(*list(network())[:-1], nn.Linear(64, 1)),
        optimizer=optimizer("Adam", lr=1e-3),
        loss=lambda scores, labels: functional.mse_loss(scores, labels),
        epochs=2,
    )
    assert alarms(watched(training)) == []


def _loop(model: nn.Module, step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], *, lr: float = 1e-3) -> Doctor:
    """Train by a loss that is computed from images and labels, and evaluate it."""
    images, labels = digits()
    loader = DataLoader(TensorDataset(images[:640], labels[:640]), batch_size=32, shuffle=True)
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            model.train()
            for batch, target in loader:
                adam.zero_grad()
                step(batch, target).backward()
                adam.step()
            model.eval()
            with torch.no_grad():
                for batch, target in DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=128):
                    step(batch, target)
    return doctor


def test_segmentation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 2, 3, padding=1))
    doctor = _loop(model, lambda batch, _: functional.cross_entropy(model(batch), (batch[:, 0] > 1.6).long()))
    assert alarms(doctor) == [], doctor.text()


def test_an_autoencoder() -> None:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, stride=2)]
    model = nn.Sequential(*body)
    doctor = _loop(model, lambda batch, _: functional.mse_loss(model(batch), batch), lr=0.01)
    assert alarms(doctor) == [], doctor.text()


def test_a_contrastive_loss() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*list(network(dropout=0.0))[:-1], nn.Linear(64, 32))

    def step(batch: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        views = [functional.normalize(model(batch + 0.3 * torch.randn_like(batch)), dim=1) for _ in range(2)]
        return functional.cross_entropy(views[0] @ views[1].t() / 0.2, torch.arange(len(batch)))

    doctor = _loop(model, step)
    assert alarms(doctor) == [], doctor.text()


def test_a_gan_with_two_optimisers() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    generator = nn.Sequential(nn.Linear(16, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64))
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    optimizers = [torch.optim.Adam(each.parameters(), lr=5e-4, betas=(0.5, 0.999)) for each in (critic, generator)]
    loss = functional.binary_cross_entropy_with_logits
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            for real, _ in DataLoader(TensorDataset(images[:960], labels[:960]), batch_size=32, shuffle=True):
                false, true = torch.zeros(len(real), 1), torch.ones(len(real), 1)
                drawn = generator(torch.randn(len(real), 16)).view(-1, 1, 8, 8)
                optimizers[0].zero_grad()
                (loss(critic(real), true) + loss(critic(drawn.detach()), false)).backward()
                optimizers[0].step()
                optimizers[1].zero_grad()
                loss(critic(drawn), true).backward()
                optimizers[1].step()
    assert len(doctor.record.optimisers) == 2 and len(doctor.record.steps) == 120
    assert not any(step.stale_gradients for step in doctor.record.steps)
    assert alarms(doctor) == [], doctor.text()


def test_a_teacher_that_is_called_without_gradients_in_each_step() -> None:
    torch.manual_seed(0)
    model, teacher = network(), network()
    teacher.load_state_dict(model.state_dict())

    def step(batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            told = teacher(batch)
        scores = model(batch)
        return functional.cross_entropy(scores, labels) + 0.1 * functional.mse_loss(scores, told)

    doctor = _loop(model, step)
    assert alarms(doctor) == [], doctor.text()


def test_one_batch_that_is_learnt_by_heart() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = network(dropout=0.0)
    optimiser = sgd(model)
    with Doctor(strict=True) as doctor:
        for _ in range(40):
            optimiser.zero_grad()
            functional.cross_entropy(model(images[:32]), labels[:32]).backward()
            optimiser.step()
    assert alarms(doctor) == [], doctor.text()
    assert "input-ignored" in [finding.code for finding in doctor.findings]


def test_training_images_are_evaluated_too() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    train, held = TensorDataset(images[:640], labels[:640]), TensorDataset(images[1200:], labels[1200:])
    model = network()
    optimiser = sgd(model)
    with Doctor(strict=True) as doctor:
        for batch, target in DataLoader(train, batch_size=32, shuffle=True):
            optimiser.zero_grad()
            functional.cross_entropy(model(batch), target).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            for part in (train, held):
                for batch, target in DataLoader(part, batch_size=128):
                    functional.cross_entropy(model(batch), target)
    assert alarms(doctor) == [], doctor.text()


def test_pretrained_weights_are_told_from_fresh_ones() -> None:
    for build in (network, partial(network, norm=False), residual, squeezenet1_1, mobilenet_v3_small):
        torch.manual_seed(0)
        assert describing.network(build()).pretrained_hint is False, build
    _trained_state()
    assert describing.network(pretrained()).pretrained_hint is True


def test_pretrained_weights_want_normalised_pixels() -> None:
    def colours() -> Pair:
        images, labels = scaled(0.25, 0.4)
        return images.clamp(0, 1).repeat(1, 3, 1, 1), labels

    def used() -> nn.Module:
        model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), *pretrained())
        nn.init.uniform_(model[3].weight, 0.5, 1.5)
        return model

    _trained_state()
    assert alarms(watched(Training(data=colours, build=used, epochs=1))) == ["not-normalised"]
    fresh = watched(Training(data=colours, build=lambda: nn.Sequential(nn.Conv2d(3, 1, 1), *network()), epochs=1))
    assert alarms(fresh) == []
    assert "not-normalised" in [finding.code for finding in fresh.findings]
