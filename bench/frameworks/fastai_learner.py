"""fastai: a Learner and the one-cycle policy."""

from __future__ import annotations

import torch
from common import asked, digits, network, rate, tell
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner  # with fit_one_cycle
from fastai.data.core import DataLoaders
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from torch import nn


class Listing(Callback):
    """Keeps the loss of each step and the right answers of each evaluation."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.evaluations: list[tuple[int, int]] = []
        self.count = [0, 0]

    def before_validate(self) -> None:
        self.count = [0, 0]

    def after_loss(self) -> None:
        if self.training:
            self.losses.append(float(self.loss_grad))
        else:
            self.count[0] += len(self.y)
            self.count[1] += int((self.pred.argmax(dim=1) == self.y).sum())

    def after_validate(self) -> None:
        self.evaluations.append((self.count[0], self.count[1]))


class Frozen(Callback):
    """The fault: evaluation mode in training."""

    order = 100

    def before_batch(self) -> None:
        self.model.eval()


given = asked()
set_seed(0)
train, held = digits(given.fault)
loaders = DataLoaders.from_dsets(list(train), list(held), bs=32, val_bs=100, device="cpu", num_workers=0)
listing = Listing()
net: nn.Module = network(given.fault)
learn = Learner(
    loaders,
    net,
    loss_func=CrossEntropyLossFlat(),
    metrics=accuracy,
    cbs=[listing, *[Frozen()] * (given.fault == "mode")],
)
with learn.no_bar(), learn.no_logging():
    learn.fit_one_cycle(given.epochs, rate(3e-3, given.fault))
tell(torch.nn.Sequential(net), listing.losses, listing.evaluations)
