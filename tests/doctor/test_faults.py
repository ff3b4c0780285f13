"""A fault put into a plain training of digits is the first thing that the doctor names; healthy ones get no alarm."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from .loops import CLASSES, Training, alarms, cases, digits, network, sgd, watched

Pair = tuple[torch.Tensor, torch.Tensor]


def scaled(factor: float, shift: float) -> Pair:
    images, labels = digits()
    return images * factor + shift, labels


def raw() -> Pair:
    images, labels = digits()
    return (images - images.min()) / (images.max() - images.min()) * 255, labels


def sorted_by_class() -> Pair:
    images, labels = digits()
    order = labels[:1200].argsort(stable=True)
    return torch.cat([images[order], images[1200:]]), torch.cat([labels[order], labels[1200:]])


def few_of_some() -> Pair:
    """Digits of which 3 and 8 hardly occur in training."""
    images, labels = digits()
    rare = (labels == 3) | (labels == 8)
    kept = ~rare
    kept[torch.nonzero(rare)[:6, 0]] = True
    kept[1200:] = True
    repeated = torch.nonzero(kept[:1200])[:, 0].repeat(2)[:1200]
    return torch.cat([images[repeated], images[1200:]]), torch.cat([labels[repeated], labels[1200:]])


def constant(value: float) -> nn.Module:
    model = network(norm=False)
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    return model


def large_head() -> nn.Module:
    model = network()
    nn.init.normal_(model[-1].weight, std=3.0)
    return model


def frozen() -> nn.Module:
    model = network()
    for parameter in model[:-1].parameters():
        parameter.requires_grad_(False)
    return model


def without_activation() -> nn.Module:
    return nn.Sequential(*list(network())[:8], nn.Linear(64, 64), nn.Linear(64, CLASSES))


def deep_sigmoid() -> nn.Module:
    middle = [layer for _ in range(8) for layer in (nn.Linear(64, 64), nn.Sigmoid())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Sigmoid(), *middle, nn.Linear(64, CLASSES))


def dead() -> nn.Module:
    model = network(norm=False)
    nn.init.constant_(model[3].bias, -50.0)
    return model


class Cut(nn.Module):
    """Detaches its features."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = network(norm=False)[:9], nn.Linear(64, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).detach())


class Rooted(nn.Module):
    """Takes the square root of scores that are sometimes negative."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(norm=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images).sqrt()


def leaky(images: torch.Tensor, labels: torch.Tensor) -> Pair:
    whole, every = digits()
    return torch.cat([images[:200], whole[:200]]), torch.cat([labels[:200], every[:200]])


def optimizer(kind: str = "SGD", **settings: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: getattr(torch.optim, kind)(model.parameters(), **settings)


def shuffled(labels: torch.Tensor) -> torch.Tensor:
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]


def wrong(share: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A share of the labels replaced by others."""

    def spoilt(labels: torch.Tensor) -> torch.Tensor:
        drawn = torch.Generator().manual_seed(0)
        other = (labels + torch.randint(1, CLASSES, labels.shape, generator=drawn)) % CLASSES
        return torch.where(torch.rand(len(labels), generator=drawn) < share, other, labels)

    return spoilt


def some_flipped(axis: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda batch: torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, batch.flip(axis), batch)


def hazy() -> Pair:
    images, labels = digits()
    return images + 1.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1)), labels


def mostly_erased(batch: torch.Tensor) -> torch.Tensor:
    return batch * (torch.rand_like(batch) < 0.25)


def narrow() -> nn.Module:
    body = [nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(4, 2), nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(2, CLASSES))


def short_sighted() -> nn.Module:
    body = [nn.Conv2d(1, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(32, CLASSES))


class Listed(nn.Module):
    """Holds most of its layers in a plain list, where PyTorch does not find them."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = [network(norm=False)[:7], network()[7:9]]
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            images = stage(images)
        return self.head(images)


class ByFunction(nn.Module):
    """Drops by `torch.nn.functional.dropout`, as older code does."""

    def __init__(self, p: float, *, always: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.p, self.always = network(norm=False)[:-1], nn.Linear(64, CLASSES), p, always

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(functional.dropout(self.body(images), self.p, training=self.always or self.training))


def shifted_answers() -> nn.Module:
    """A network for one question whose answers all lie far below 0, and stay there for a while."""
    model = nn.Sequential(*list(network(dropout=0.0))[:-1], nn.Linear(64, 1), Lowered())
    return model


class Lowered(nn.Module):
    """Subtracts from scores in evaluation alone."""

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return scores if self.training else scores - 12


FAULTS: dict[str, tuple[str, Callable[[], Training]]] = {
    "softmax in the network": (
        "softmax-before-loss",
        lambda: Training(build=lambda: network().append(nn.Softmax(1))),
    ),
    "probabilities to nll_loss": (
        "softmax-before-loss",
        lambda: Training(
            build=lambda: network().append(nn.Softmax(1)),
            loss=lambda scores, labels: functional.nll_loss(scores, labels),
        ),
    ),
    "sigmoid in the network": (
        "softmax-before-loss",
        lambda: Training(
            build=lambda: network().append(nn.Sigmoid()),
            loss=lambda scores, labels: functional.binary_cross_entropy_with_logits(
                scores, functional.one_hot(labels, CLASSES).float()
            ),
        ),
    ),
    "softmax before a loss by hand": (
        "softmax-before-loss",
        lambda: Training(
            build=lambda: network().append(nn.Softmax(1)),
            loss=lambda scores, labels: -scores.log_softmax(1).gather(1, labels[:, None]).mean(),
        ),
    ),
    "sigmoid before cross-entropy": (
        "softmax-before-loss",
        lambda: Training(build=lambda: network().append(nn.Sigmoid())),
    ),
    "several labels to cross_entropy": (
        "wrong-head",
        lambda: Training(
            epochs=1,
            loss=lambda scores, labels: functional.cross_entropy(
                scores, functional.one_hot(labels, CLASSES).float() + functional.one_hot((labels + 3) % 10, CLASSES)
            ),
        ),
    ),
    "weights in bfloat16": (
        "amp-underflow",
        lambda: Training(
            build=lambda: network().bfloat16(),
            augment=lambda batch: batch.bfloat16(),
            change_held=lambda batch: batch.bfloat16(),
            optimizer=optimizer("Adam", lr=5e-5),
        ),
    ),
    "warm-up of ten thousand steps": (
        "schedule-unit",
        lambda: Training(
            scheduler=lambda given: torch.optim.lr_scheduler.LambdaLR(given, lambda step: min(1, step / 10_000))
        ),
    ),
    "raw scores to nll_loss": ("wrong-head", lambda: Training(loss=functional.nll_loss)),
    "each with each": (
        "wrong-head",
        lambda: Training(
            build=lambda: nn.Sequential(*list(network())[:-1], nn.Linear(64, 1)),
            optimizer=optimizer("Adam", lr=1e-3),
            loss=lambda scores, labels: functional.mse_loss(scores, labels.float() / 10),
        ),
    ),
    "summed": (
        "loss-summed",
        lambda: Training(loss=lambda scores, labels: functional.cross_entropy(scores, labels, reduction="sum")),
    ),
    "negative": ("loss-sign", lambda: Training(loss=lambda scores, labels: -functional.cross_entropy(scores, labels))),
    "not cleared": ("missing-zero-grad", lambda: Training(zero_grad=False)),
    "layers in a list": ("optimizer-misses-parameters", lambda: Training(build=Listed)),
    "head only, by mistake": (
        "optimizer-misses-parameters",
        lambda: Training(optimizer=lambda model: torch.optim.SGD(model[-1].parameters(), lr=0.05)),
    ),
    "another network's": ("optimizer-misses-parameters", lambda: Training(optimizer=lambda model: sgd(network()))),
    "lr 3": ("learning-rate-high", lambda: Training(optimizer=optimizer(lr=3.0, momentum=0.9))),
    "adam lr 0.3": ("learning-rate-high", lambda: Training(optimizer=optimizer("Adam", lr=0.3))),
    "lr 1e-5": ("learning-rate-low", lambda: Training(optimizer=optimizer(lr=1e-5))),
    "momentum 0.999": ("momentum-high", lambda: Training(optimizer=optimizer(lr=0.05, momentum=0.999))),
    "weight decay 1": (
        "weight-decay-high",
        lambda: Training(optimizer=optimizer(lr=0.05, momentum=0.9, weight_decay=1.0)),
    ),
    "schedule by batch": (
        "schedule-unit",
        lambda: Training(scheduler=lambda given: torch.optim.lr_scheduler.StepLR(given, 3, 0.1)),
    ),
    "0 to 255": ("not-normalised", lambda: Training(data=raw, build=partial(network, norm=False))),
    "normalised twice": ("normalised-twice", lambda: Training(data=partial(scaled, 4.4, -2.1))),
    "divided by 255 twice": ("normalised-twice", lambda: Training(data=partial(scaled, 0.001, 0.002))),
    "other scale in validation": (
        "train-eval-transform",
        lambda: Training(validation=lambda images, labels: (2 * images + 1, labels)),
    ),
    "in order of class": ("not-shuffled", lambda: Training(data=sorted_by_class, shuffle=False)),
    "labels shuffled": ("labels-shuffled", lambda: Training(labels=shuffled)),
    "labels shifted": ("class-map", lambda: Training(labels=lambda labels: (labels + 1) % CLASSES, epochs=4)),
    "training images in validation": ("split-leakage", lambda: Training(validation=leaky)),
    "constant weights": ("constant-init", lambda: Training(build=partial(constant, 0.01))),
    "large head": ("init-scale", lambda: Training(build=large_head)),
    "frozen at random": ("frozen-parameters", lambda: Training(build=frozen, optimizer=optimizer(lr=0.001))),
    "no activation": ("missing-nonlinearity", lambda: Training(build=without_activation)),
    "deep sigmoid": ("vanishing-gradient", lambda: Training(build=deep_sigmoid)),
    "dead layer": ("dead-relu", lambda: Training(build=dead)),
    "detached": ("detached-graph", lambda: Training(build=Cut)),
    "square root": ("nan", lambda: Training(build=Rooted)),
    "eval forgotten": ("eval-in-train-mode", lambda: Training(eval_mode=False)),
    "train forgotten": ("batchnorm-mode", lambda: Training(train_mode=False)),
    "batches of four": ("batchnorm-small-batch", lambda: Training(batch_size=4, epochs=1)),
    "BatchNorm momentum": (
        "batchnorm-momentum",
        lambda: Training(build=lambda: nn.Sequential(nn.BatchNorm2d(1, momentum=0.99), *network(norm=False))),
    ),
    "dropout of scores": ("dropout-misuse", lambda: Training(build=lambda: network().append(nn.Dropout(0.5)))),
    "kept share as dropout's": ("dropout-misuse", lambda: Training(build=partial(ByFunction, 0.9))),
    "dropout always on": ("eval-in-train-mode", lambda: Training(build=partial(ByFunction, 0.5, always=True))),
    "dropout of 0.9": ("dropout-misuse", lambda: Training(build=partial(network, dropout=0.9))),
    "a fifth of the labels wrong": ("noisy-labels", lambda: Training(labels=wrong(0.2))),
    "two fifths of the labels wrong": ("noisy-labels", lambda: Training(labels=wrong(0.4))),
    "mirrored digits": ("label-changing-augmentation", lambda: Training(augment=some_flipped(3))),
    "digits upside down": ("label-changing-augmentation", lambda: Training(augment=some_flipped(2))),
    "validation upside down": ("train-eval-transform", lambda: Training(change_held=lambda batch: batch.flip(2))),
    "three quarters erased": ("augmentation-too-strong", lambda: Training(augment=mostly_erased)),
    "noise of three": (
        "augmentation-too-strong",
        lambda: Training(augment=lambda batch: batch + 3 * torch.randn_like(batch)),
    ),
    "noise in validation": (
        "augmented-validation",
        lambda: Training(change_held=lambda batch: batch + 0.5 * torch.randn_like(batch)),
    ),
    "one unit": ("under-capacity", lambda: Training(build=narrow, epochs=5)),
    "1x1 kernels": ("receptive-field", lambda: Training(build=short_sighted)),
    "twelve images evaluated": (
        "validation-too-small",
        lambda: Training(validation=lambda images, labels: (images[:12], labels[:12])),
    ),
    "threshold off": (
        "decision-threshold",
        lambda: Training(
            build=shifted_answers,
            labels=lambda labels: (labels > 4).float()[:, None],
            validation=lambda images, labels: (images, (labels > 4).float()[:, None]),
            loss=lambda scores, labels: functional.binary_cross_entropy_with_logits(scores, labels),
            epochs=2,
        ),
    ),
    "a hundred outputs": (
        "wrong-head",
        lambda: Training(build=lambda: nn.Sequential(*list(network())[:-1], nn.Linear(64, 100)), epochs=2),
    ),
    "squared error of class numbers": (
        "wrong-head",
        lambda: Training(
            build=lambda: nn.Sequential(*list(network())[:-1], nn.Linear(64, 1)),
            loss=lambda scores, labels: functional.mse_loss(scores[:, 0], labels.float()),
        ),
    ),
}


SLOW = (
    "two fifths of the labels wrong", "digits upside down", "validation upside down", "noise of three",
    "batches of four", "dropout of 0.9", "another network's", "probabilities to nll_loss",
    "adam lr 0.3", "divided by 255 twice", "raw scores to nll_loss", "momentum 0.999",
)  # fmt: skip


@pytest.mark.parametrize("name", cases(FAULTS, fast=set(FAULTS) - set(SLOW)))
@pytest.mark.filterwarnings("ignore:Using a target size")  # which is one of the faults
def test_the_fault_is_named_first(name: str) -> None:
    code, training = FAULTS[name]
    doctor = watched(training())
    assert alarms(doctor)[:1] == [code], doctor.text()
    assert doctor.healthy is False


def test_ninety_six_images_learnt_by_heart_are_a_note_while_accuracy_holds() -> None:
    build, adam = partial(network, norm=False, dropout=0.0), optimizer("Adam", lr=0.003)
    doctor = watched(Training(data=hazy, images=96, epochs=25, build=build, optimizer=adam))
    (note,) = [finding for finding in doctor.findings if finding.code == "overfitting"]
    assert note.severity == "note" and "learns the training images by heart" in note.message
    assert doctor.healthy, doctor.text()


def test_a_small_class_that_accuracy_hides_is_named() -> None:
    doctor = watched(Training(data=few_of_some, epochs=2))
    assert "imbalance" in [finding.code for finding in doctor.findings], doctor.text()


@pytest.mark.parametrize(("used", "kind"), [(3.0, "SGD"), (1e-5, "SGD"), (0.3, "Adam")])
def test_the_advice_names_a_learning_rate_that_works(used: float, kind: str) -> None:
    finding = watched(Training(optimizer=optimizer(kind, lr=used), epochs=1)).findings[0]
    assert finding.code in ("learning-rate-high", "learning-rate-low")
    advised = float(re.findall(r"learning rate to (?:about )?([0-9.e-]+)", finding.fix)[0])
    assert f"{advised:.0e}"[0] in "125"
    assert used / 10**5 < advised < used / 10 if used > 0.1 else 1e-4 <= advised <= 0.1
    again = watched(Training(optimizer=optimizer(kind, lr=advised))).record
    assert again.rounds[-1].accuracy > 0.4 and again.rounds[-1].loss < 2.2


def test_the_mean_over_batches_is_a_note_where_the_last_is_small() -> None:
    doctor = watched(Training(epochs=1, validation=lambda images, labels: (images[:503], labels[:503])))
    (note,) = [finding for finding in doctor.findings if finding.code == "metric-averaging"]
    assert note.severity == "note" and note.evidence["last_batch"] == 3
    assert doctor.healthy and "the last of 6 evaluated batches has 3 images, the others 100" in note.message


HEALTHY: dict[str, Callable[[], Training]] = {
    "plain": Training,
    "another seed": lambda: Training(seed=1),
    "adam": lambda: Training(optimizer=optimizer("Adam", lr=1e-3)),
    "adamw": lambda: Training(optimizer=optimizer("AdamW", lr=3e-3, weight_decay=0.05)),
    "slow sgd": lambda: Training(optimizer=optimizer(lr=0.02, momentum=0.9)),
    "no norm": lambda: Training(build=partial(network, norm=False)),
    "tanh": lambda: Training(build=partial(network, activation=nn.Tanh)),
    "no dropout": lambda: Training(build=partial(network, dropout=0.0)),
    "cosine by step": lambda: Training(
        scheduler=lambda given: torch.optim.lr_scheduler.CosineAnnealingLR(given, 3 * 38)
    ),
    "one cycle": lambda: Training(
        scheduler=lambda given: torch.optim.lr_scheduler.OneCycleLR(given, 0.1, total_steps=3 * 38)
    ),
    "label smoothing": lambda: Training(
        loss=lambda scores, labels: functional.cross_entropy(scores, labels, label_smoothing=0.1)
    ),
    "batches of 16": lambda: Training(batch_size=16, epochs=2),
    "zero to one": lambda: Training(data=partial(scaled, 0.25, 0.3)),
    "dropout by function": lambda: Training(build=partial(ByFunction, 0.5)),
}


@pytest.mark.parametrize(
    "name", cases(HEALTHY, fast=("plain", "adam", "no norm", "tanh", "label smoothing", "dropout by function"))
)
def test_a_healthy_training_gets_no_alarm(name: str) -> None:
    doctor = watched(HEALTHY[name]())
    assert doctor.record.rounds[-1].accuracy > 0.9
    assert alarms(doctor) == [], doctor.text()
    assert doctor.healthy
    assert "healthy" in doctor.text()
