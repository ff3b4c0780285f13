"""Sector a pressure gauge's needle points to.

style: argparse repository with engine functions, MultiStepLR, SGD with momentum, gradient accumulation
fault: schedule-unit
broken: 0.202
mended: 1.000
"""

import argparse
import logging
import math
import sys

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
log = logging.getLogger("gauge")


def gauge(sector, sectors, rng, n=36):
    im = Image.new("L", (n, n), int(rng.integers(120, 200)))
    d = ImageDraw.Draw(im)
    cx, cy, r = n / 2 + rng.uniform(-2, 2), n / 2 + rng.uniform(-2, 2), rng.uniform(12, 15)
    d.ellipse([cx - r, cy - r, cx + r, cy + r], fill=int(rng.integers(205, 250)), outline=60)
    for k in range(sectors):
        a = 2 * math.pi * k / sectors
        d.line(
            [cx + 0.85 * r * math.cos(a), cy + 0.85 * r * math.sin(a), cx + r * math.cos(a), cy + r * math.sin(a)],
            fill=60,
        )
    a = 2 * math.pi * (sector + rng.uniform(0.15, 0.85)) / sectors
    d.line(
        [
            cx - 0.2 * r * math.cos(a),
            cy - 0.2 * r * math.sin(a),
            cx + 0.8 * r * math.cos(a),
            cy + 0.8 * r * math.sin(a),
        ],
        fill=int(rng.integers(20, 110)),
        width=2,
    )
    return np.asarray(im, np.float32) + rng.normal(0, 24, (n, n))


def get_data(n, sectors, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, sectors, n)
    x = np.stack([gauge(t, sectors, rng) for t in y])[:, None].astype(np.float32)
    return x, torch.from_numpy(y)


def get_model(classes):
    def cnn(i, o):
        return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *cnn(1, 16), *cnn(16, 32), *cnn(32, 32), nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, classes)
    )


def train_one_epoch(model, loader, criterion, optimizer, scheduler, accumulate):
    model.train()
    total = 0.0
    optimizer.zero_grad()
    for step, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        (loss / accumulate).backward()
        total += loss.item() * len(y)
        if (step + 1) % accumulate == 0 or step + 1 == len(loader):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return total / len(loader.dataset)


@torch.no_grad()
def validate(model, loader):
    model.eval()
    return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=16)
    ap.add_argument("--lr", type=float, default=0.05)
    ap.add_argument("--milestones", type=int, nargs="+", default=[10, 14])
    ap.add_argument("--sectors", type=int, default=8)
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--accumulate", type=int, default=2)
    args = ap.parse_args()
    torch.manual_seed(23)
    xt, yt = get_data(1920, args.sectors, 1)
    xv, yv = get_data(600, args.sectors, 2)
    mean, std = xt.mean(), xt.std()
    xt, xv = [torch.from_numpy((v - mean) / std) for v in (xt, xv)]
    train = DataLoader(TensorDataset(xt, yt), batch_size=args.batch, shuffle=True)
    val = DataLoader(TensorDataset(xv, yv), batch_size=100)
    model = get_model(args.sectors)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, args.milestones, gamma=0.1)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        loss = train_one_epoch(model, train, criterion, optimizer, scheduler, args.accumulate)
        acc = validate(model, val)
        log.info("epoch %d | loss %.4f | val acc %.4f", epoch + 1, loss, acc)
    log.info("final val acc %.3f", acc)


if __name__ == "__main__":
    main()
