"""What the scripts of this folder share: digits, a small network, one fault on request, and a script's own account.

Each script trains as its framework's tutorial does and ends by printing what it knows of its own training, so that
`bench/doctor_frameworks.py` can hold what the doctor has recorded against it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

CLASSES = 10
TRAINED = 1200  # of 1,797 digits; the others are held out
FAULTS = ("none", "softmax", "rate", "pixels", "labels", "mode")


def asked(**options: str) -> argparse.Namespace:
    """Return the fault and further options from the command line; each option is text with a default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="none", choices=FAULTS)
    parser.add_argument("--epochs", type=int, default=3)
    for name, default in options.items():
        parser.add_argument(f"--{name}", default=default)
    return parser.parse_args()


def digits(fault: str, *, side: int = 8) -> tuple[TensorDataset, TensorDataset]:
    """Return digits to train on and digits held out, (N, 1, side, side) normalised, and their labels (N,)."""
    found = load_digits()
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(len(found.target), generator=draw)
    images = torch.tensor(found.images, dtype=torch.float32)[order, None] * (255 / 16)
    labels = torch.tensor(found.target)[order]
    if fault != "pixels":
        images = (images - images.mean()) / images.std()
    images = images.repeat_interleave(side // 8, dim=2).repeat_interleave(side // 8, dim=3)
    taught = labels[:TRAINED]
    if fault == "labels":
        taught = taught[torch.randperm(TRAINED, generator=draw)]
    return TensorDataset(images[:TRAINED], taught), TensorDataset(images[TRAINED:], labels[TRAINED:])


def network(fault: str) -> nn.Sequential:
    """Return a small convolutional network for digits of 8x8 pixels."""
    layers = [
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, CLASSES),
    ]  # fmt: skip
    return nn.Sequential(*layers, *[nn.Softmax(dim=1)] * (fault == "softmax"))


def rate(usual: float, fault: str) -> float:
    """Return the learning rate: the usual one, or 300 times that."""
    return 300 * usual if fault == "rate" else usual


def tell(model: nn.Module, losses: Sequence[float], evaluations: Sequence[tuple[int, int]]) -> None:
    """Print the account: a digest of the weights, the loss of each step, images and right answers of evaluations."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    account = {
        "weights": digest.hexdigest(),
        "losses": list(losses),
        "evaluations": [list(each) for each in evaluations],
    }
    print("ACCOUNT " + json.dumps(account))
