"""Weave-pattern classifier for textile scans (plain, twill, satin, basket, rib, herringbone).
Run as: python weave.py --epochs 14 --lr 0.03

style: textile engineer, argparse CLI, functions with docstrings
fault: missing-zero-grad
broken: 0.184
mended: 1.000
"""

import argparse
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

PATTERNS = ["plain", "twill", "satin", "basket", "rib", "herringbone"]


def weave_matrix(name, n=14):
    """Binary interlacing matrix: 1 where the warp is on top."""
    i, j = np.indices((n, n))
    if name == "plain":
        return (i + j) % 2
    if name == "twill":
        return ((i + j) % 4 < 2).astype(int)
    if name == "satin":
        return ((i * 2 + j) % 5 == 0).astype(int)
    if name == "basket":
        return (i // 2 + j // 2) % 2
    if name == "rib":
        return i % 2
    k = np.where((j // 4) % 2 == 0, i + j, i - j)
    return (k % 4 < 2).astype(int)


def scan(name, rng):
    """Render the matrix as a 42x42 grey scan with yarn shading, shift, slur and sensor noise."""
    m = np.roll(weave_matrix(name), rng.integers(0, 8, 2), (0, 1)).astype(float)
    m = np.kron(m, np.ones((3, 3)))
    lo, hi = rng.uniform(0.2, 0.35), rng.uniform(0.6, 0.8)
    img = lo + (hi - lo) * m
    img *= 1 + 0.15 * np.sin(np.linspace(0, rng.uniform(1, 4), 42))[None]
    flips = rng.random(img.shape) < 0.04
    img[flips] = rng.random(flips.sum())
    return img + rng.normal(0, 0.10, img.shape)


def make_split(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(PATTERNS), n)
    x = np.stack([scan(PATTERNS[k], rng) for k in y]).astype(np.float32)[:, None]
    x = (x - 0.48) / 0.25
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


class WeaveNet(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.c1 = nn.Conv2d(1, width, 5)
        self.c2 = nn.Conv2d(width, 2 * width, 3)
        self.c3 = nn.Conv2d(2 * width, 2 * width, 3)
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        x = F.relu(self.c3(x))
        return self.fc(x.mean((2, 3)))


def train_epoch(model, loader, optimizer):
    """One pass over the training scans, returns the mean loss."""
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * y.numel()
    return total / len(loader.dataset)


@torch.no_grad()
def accuracy(model, loader):
    """Fraction of scans classified correctly."""
    model.eval()
    return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--epochs", type=int, default=14)
    ap.add_argument("--batch-size", type=int, default=32)
    ap.add_argument("--lr", type=float, default=0.03)
    ap.add_argument("--momentum", type=float, default=0.9)
    ap.add_argument("--width", type=int, default=16)
    ap.add_argument("--seed", type=int, default=13)
    args = ap.parse_args(argv)
    torch.manual_seed(args.seed)
    train = DataLoader(make_split(1600, args.seed), args.batch_size, shuffle=True)
    test = DataLoader(make_split(500, args.seed + 1), 250)
    model = WeaveNet(args.width, len(PATTERNS))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    for epoch in range(1, args.epochs + 1):
        loss = train_epoch(model, train, optimizer)
        print("epoch %2d/%d  loss %.4f  test %.4f" % (epoch, args.epochs, loss, accuracy(model, test)))
    print("test accuracy %.4f" % accuracy(model, test))
    return 0


if __name__ == "__main__":
    sys.exit(main())
