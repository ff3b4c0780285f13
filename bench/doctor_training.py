"""Runs one plan of bench/doctor.py as a plain training, with or without the doctor beside it."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from doctor_cases import Plan, build
from doctor_data import load
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

HELD = 500  # images that only the true accuracy is measured on: the last ones of each data set


@dataclass(frozen=True)
class Outcome:
    """What a training came to: accuracy on images that no fault touches, and its time."""

    accuracy: float
    seconds: float
    error: str = ""


class Pictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images and labels, changed and normalised when they are asked for."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, change: Any, normalise: Any, seed: int) -> None:
        self.images, self.labels, self.change, self.normalise = images, labels, change, normalise
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self.images[row : row + 1]
        if self.change is not None:
            image = self.change(image, self.rng)
        return self.normalise(image, self.rng)[0], self.labels[row]


def train(plan: Plan, data: str, *, weights: str) -> Outcome:
    """Train, evaluating after each epoch, and return the accuracy on untouched images in evaluation mode."""
    started = time.perf_counter()
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    images, labels = load(data)
    held_images, held_labels = images[-HELD:], labels[-HELD:]
    images, labels = images[:-HELD], labels[:-HELD]
    validation, rest = (
        slice(0, min(plan.validation, len(labels) // 3)),
        slice(min(plan.validation, len(labels) // 3), None),
    )
    eval_images, eval_labels = images[validation], labels[validation]
    train_images, train_labels = images[rest][: plan.train_images], labels[rest][: plan.train_images]
    if plan.choose is not None:
        rows = plan.choose(train_labels, rng)
        train_images, train_labels = train_images[rows], train_labels[rows]
    if plan.leak:
        count = min(round(plan.leak * len(eval_labels)), len(train_labels))
        eval_images = torch.cat([train_images[:count], eval_images[count:]])
        eval_labels = torch.cat([train_labels[:count], eval_labels[count:]])
    if plan.train_labels is not None:
        train_labels = plan.train_labels(train_labels, rng)
    if plan.eval_labels is not None:
        eval_labels = plan.eval_labels(eval_labels)
    if not plan.shuffle:
        order = train_labels.argsort(stable=True)
        train_images, train_labels = train_images[order], train_labels[order]

    def usual(batch: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        return (batch - plan.mean) / plan.std

    normalise = plan.normalise or usual
    loader = DataLoader(
        Pictures(train_images, train_labels, plan.augment, normalise, plan.seed),
        batch_size=plan.batch,
        shuffle=plan.shuffle,
    )
    evaluated = DataLoader(
        Pictures(eval_images, eval_labels, plan.augment_eval, plan.normalise_eval or normalise, plan.seed + 1),
        batch_size=100,
    )
    model = build(plan, weights)
    if plan.prepare is not None:
        plan.prepare(model)
    if plan.wrap is not None:
        model = plan.wrap(model)
    optimizer = _optimizer(plan, model)
    steps = plan.epochs * len(loader)
    schedule = _schedule(plan, optimizer, steps)
    loss = plan.loss or functional.cross_entropy
    try:
        for epoch in range(plan.epochs):
            if plan.train_mode or epoch == 0:
                model.train()
            for batch, target in loader:
                if plan.zero_grad:
                    optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=plan.autocast):
                    value = loss(model(batch), target)
                value.backward()
                optimizer.step()
                if schedule is not None and plan.schedule not in ("steps",):
                    schedule.step()
            if schedule is not None and plan.schedule == "steps":
                schedule.step()
            if plan.eval_mode:
                model.eval()
            with torch.no_grad():
                for batch, target in evaluated:
                    loss(model(batch), target)
    except (RuntimeError, IndexError, ValueError) as error:
        return Outcome(0.0, time.perf_counter() - started, f"{type(error).__name__}: {error}"[:200])
    return Outcome(_accuracy(model, held_images, held_labels, normalise, plan), time.perf_counter() - started)


def _accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, normalise: Any, plan: Plan) -> float:
    rng = np.random.default_rng(0)
    model.eval()
    with torch.no_grad():
        scores = torch.cat([model(normalise(part, rng)) for part in images.split(250)])
    if scores.shape[1] == 1:
        return float((scores[:, 0].round() == labels).float().mean())
    offset = 1 if scores.shape[1] == plan.classes + 1 else 0
    return float((scores.argmax(1) - offset == labels).float().mean())


def _optimizer(plan: Plan, model: nn.Module) -> torch.optim.Optimizer:
    parameters = plan.parameters(model) if plan.parameters else model.parameters()
    if plan.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay)
    kind = torch.optim.Adam if plan.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=plan.lr, betas=(plan.momentum, 0.999), weight_decay=plan.weight_decay)


def _schedule(plan: Plan, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    made = torch.optim.lr_scheduler
    if plan.schedule == "cosine":
        return made.CosineAnnealingLR(optimizer, steps)
    if plan.schedule == "one cycle":
        return made.OneCycleLR(optimizer, 2 * plan.lr, total_steps=steps)
    if plan.schedule == "steps":
        return made.StepLR(optimizer, max(1, plan.epochs // 2), 0.2)
    if plan.schedule == "exponential by step":
        return made.ExponentialLR(optimizer, 0.9)
    if plan.schedule == "steps by step":
        return made.StepLR(optimizer, max(2, plan.epochs // 2), 0.1)
    return None


def mended(plan: Plan, works: Plan, code: str, fix: str) -> Plan:
    """Return the plan after the advice that goes with a code was followed; fields that it does not speak of stay.

    Args:
        works: the plan that the fault was put into: what a person who follows the advice ends with.
        fix: what the finding says to do; it names the learning rate to take.
    """
    rate = re.search(r"learning rate to (?:about )?([\d.e-]+\d)", fix)
    if code in ("learning-rate-high", "learning-rate-low") and rate:
        return dataclasses.replace(plan, lr=float(rate[1]))
    return dataclasses.replace(plan, **{name: getattr(works, name) for name in ADVICE.get(code, ())})


ADVICE: dict[str, tuple[str, ...]] = {
    "labels-shuffled": ("train_labels",),
    "noisy-labels": ("train_labels",),
    "class-map": ("eval_labels", "train_labels", "head"),
    "not-normalised": ("mean", "std", "normalise"),
    "normalised-twice": ("normalise",),
    "input-ignored": ("normalise",),
    "train-eval-transform": ("normalise_eval",),
    "channel-order": ("normalise_eval",),
    "not-shuffled": ("shuffle",),
    "imbalance": ("choose",),
    "split-leakage": ("leak",),
    "augmentation-too-strong": ("augment",),
    "label-changing-augmentation": ("augment",),
    "augmented-validation": ("augment_eval",),
    "missing-nonlinearity": ("activation",),
    "softmax-before-loss": ("wrap",),
    "dropout-misuse": ("wrap", "dropout"),
    "detached-graph": ("wrap",),
    "nan": ("wrap", "loss"),
    "wrong-head": ("head", "loss"),
    "loss-summed": ("loss",),
    "loss-sign": ("loss",),
    "saturated-units": ("prepare", "activation", "norm"),
    "dead-relu": ("prepare",),
    "constant-init": ("prepare",),
    "init-scale": ("prepare",),
    "vanishing-gradient": ("prepare", "activation", "norm"),
    "exploding-gradient": ("prepare",),
    "frozen-parameters": ("prepare",),
    "batchnorm-momentum": ("prepare",),
    "receptive-field": ("prepare",),
    "batchnorm-mode": ("train_mode",),
    "batchnorm-small-batch": ("batch", "epochs"),
    "under-capacity": ("width", "depth"),
    "missing-zero-grad": ("zero_grad",),
    "optimizer-misses-parameters": ("parameters",),
    "weight-decay-high": ("weight_decay",),
    "momentum-high": ("momentum",),
    "schedule-unit": ("schedule",),
    "eval-in-train-mode": ("eval_mode",),
    "validation-too-small": ("validation",),
    "overfitting": ("dropout", "weight_decay", "train_images"),
}
