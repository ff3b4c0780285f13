"""A plain training of the kind that people write, with a place to break each part of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from fovea.doctor.watching import Doctor

CLASSES = 10


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """All of scikit-learn's digits in random order, normalised: (1797, 1, 8, 8) and (1797,)."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = torch.tensor(data.images[order], dtype=torch.float32)[:, None]
    return (images - images.mean()) / images.std(), torch.tensor(data.target[order])


def network(*, activation: Callable[[], nn.Module] = nn.ReLU, norm: bool = True, dropout: float = 0.2) -> nn.Sequential:
    """A small convolutional network for digits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=not norm),
        nn.BatchNorm2d(16) if norm else nn.Identity(),
        activation(),
        nn.Conv2d(16, 32, 3, padding=1),
        activation(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        activation(),
        nn.Dropout(dropout),
        nn.Linear(64, CLASSES),
    )


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """What mostly works here."""
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def cross_entropy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The usual loss."""
    return functional.cross_entropy(scores, labels)


@dataclass
class Training:
    """A training; every part can be replaced by a broken one."""

    data: Callable[[], tuple[torch.Tensor, torch.Tensor]] = digits
    validation: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = lambda x, y: (x, y)
    labels: Callable[[torch.Tensor], torch.Tensor] = lambda y: y
    build: Callable[[], nn.Module] = network
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = sgd
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None
    zero_grad: bool = True
    eval_mode: bool = True
    train_mode: bool = True
    shuffle: bool = True
    batch_size: int = 32
    epochs: int = 3
    seed: int = 0
    images: int = 1200
    most_steps: int = 10**6  # in each epoch
    evaluated: bool = True
    prepare: Callable[[nn.Module], object] = lambda model: None  # after the network was set to training
    augment: Callable[[torch.Tensor], torch.Tensor] = lambda batch: batch  # training images
    change_held: Callable[[torch.Tensor], torch.Tensor] = lambda batch: batch
    clip: float | None = None
    model: nn.Module = field(init=False)

    def run(self) -> Training:
        """Train on 1,200 digits, or fewer, and evaluate on the last 597 after each epoch."""
        torch.manual_seed(self.seed)
        images, labels = self.data()
        train = TensorDataset(images[: self.images], self.labels(labels[: self.images]))
        held = TensorDataset(*self.validation(images[1200:], labels[1200:]))
        loader = DataLoader(train, batch_size=self.batch_size, shuffle=self.shuffle)
        self.model = self.build()
        optimizer = self.optimizer(self.model)
        scheduler = self.scheduler(optimizer) if self.scheduler else None
        for epoch in range(self.epochs):
            if self.train_mode or epoch == 0:
                self.model.train()
                self.prepare(self.model)
            for batch, target in islice(loader, self.most_steps):
                if self.zero_grad:
                    optimizer.zero_grad()
                self.loss(self.model(self.augment(batch)), target).backward()
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
                optimizer.step()
                if scheduler:
                    scheduler.step()
            if self.eval_mode:
                self.model.eval()
            if self.evaluated:
                self.evaluate(DataLoader(held, batch_size=100))
        return self

    @torch.no_grad()
    def evaluate(self, loader: DataLoader[Any]) -> None:
        """Compute the loss of every batch."""
        for batch, target in loader:
            self.loss(self.model(self.change_held(batch)), target)


def watched(training: Training) -> Doctor:
    """Run a training under observation; faults of the doctor itself are let through."""
    with Doctor(strict=True) as doctor:
        training.run()
    return doctor


def cases(names: Iterable[str], *, fast: Container[str]) -> list[Any]:
    """Return names as parameters of a test, those marked as slow that are not among the fast ones."""
    return [pytest.param(name, marks=[] if name in fast else pytest.mark.slow) for name in names]


def alarms(doctor: Doctor) -> list[str]:
    """Return the codes of the alarms, best guess first."""
    return [finding.code for finding in doctor.findings if finding.severity == "alarm"]


def epoch_by_hand(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> None:
    """Train on batches of 40 that are cut out of tensors, without a loader."""
    model.train()
    for rows in torch.randperm(len(labels)).split(40):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
