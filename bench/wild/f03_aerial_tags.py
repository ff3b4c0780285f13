"""Tagging drone tiles for a land survey: each tile can show water, road, roof, trees, crop rows and cars,
in any combination.  I need all tags of a tile to be right.

style: engineer, dataclass config, typed functions
fault: wrong-head
broken: 0.911
mended: 0.992
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, random_split

TAGS = ("water", "road", "roof", "trees", "rows", "cars")


@dataclass(frozen=True)
class Config:
    tiles: int = 2600
    size: int = 40
    batch: int = 64
    epochs: int = 12
    lr: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 11


def draw_tile(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    tags = (rng.random(len(TAGS)) < 0.38).astype(np.float32)
    if tags.sum() == 0:
        tags[rng.integers(len(TAGS))] = 1
    yy, xx = np.mgrid[:size, :size]
    im = np.empty((size, size, 3), np.float32)
    im[:] = np.array([0.45, 0.48, 0.32]) + rng.normal(0, 0.03, 3)
    if tags[4]:
        a = rng.uniform(0, np.pi)
        stripe = np.sin((xx * np.cos(a) + yy * np.sin(a)) * rng.uniform(1.3, 1.7)) > 0
        y0, x0 = rng.integers(0, size // 2, 2)
        sel = (yy >= y0) & (yy < y0 + 20) & (xx >= x0) & (xx < x0 + 20) & stripe
        im[sel] = (0.35, 0.6, 0.2)
    if tags[0]:
        cy, cx = rng.uniform(5, size - 5, 2)
        a, b = rng.uniform(5, 9, 2)
        im[((yy - cy) / a) ** 2 + ((xx - cx) / b) ** 2 < 1] = (0.15, 0.3, 0.5)
    if tags[1]:
        a, off = rng.uniform(0, np.pi), rng.uniform(-8, 8)
        dist = (xx - size / 2) * np.cos(a) + (yy - size / 2) * np.sin(a) - off
        im[np.abs(dist) < 2.0] = (0.6, 0.6, 0.6)
    if tags[2]:
        for _ in range(rng.integers(1, 3)):
            y0, x0 = rng.integers(0, size - 9, 2)
            im[y0 : y0 + rng.integers(6, 9), x0 : x0 + rng.integers(6, 9)] = (0.65, 0.3, 0.25)
    if tags[3]:
        for _ in range(rng.integers(3, 7)):
            cy, cx = rng.uniform(2, size - 2, 2)
            im[(yy - cy) ** 2 + (xx - cx) ** 2 < rng.uniform(5, 10)] = (0.1, 0.3, 0.1)
    if tags[5]:
        for _ in range(rng.integers(2, 5)):
            y0, x0 = rng.integers(0, size - 3, 2)
            im[y0 : y0 + 2, x0 : x0 + 3] = (0.95, 0.95, 0.9)
    im += rng.normal(0, 0.03, im.shape)
    return im.clip(0, 1).transpose(2, 0, 1), tags


def load(cfg: Config) -> TensorDataset:
    rng = np.random.default_rng(cfg.seed)
    tiles, tags = zip(*(draw_tile(rng, cfg.size) for _ in range(cfg.tiles)))
    x = torch.tensor(np.stack(tiles), dtype=torch.float32)
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
    return TensorDataset(x, torch.tensor(np.stack(tags)))


class Tagger(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c = 3
        for k in (1, 1, 2, 2):
            layers += [nn.Conv2d(c, width * k, 3, padding=1, bias=False), nn.BatchNorm2d(width * k), nn.ReLU()]
            c = width * k
            if len(layers) in (3, 9):
                layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(c, len(TAGS))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).amax((2, 3)))


@torch.no_grad()
def exact_match(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    good = n = 0
    for x, t in loader:
        on = model(x).sigmoid() > 0.5
        good += (on == t.bool()).all(1).sum().item()
        n += len(t)
    return good / n


def main(cfg: Config = Config()) -> None:
    torch.manual_seed(cfg.seed)
    data = load(cfg)
    n_val = cfg.tiles // 5
    train, val = random_split(data, [cfg.tiles - n_val, n_val])
    train_loader = DataLoader(train, cfg.batch, shuffle=True, drop_last=True)
    val_loader = DataLoader(val, 256)
    model = Tagger()
    optim = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optim, cfg.epochs)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(cfg.epochs):
        model.train()
        running = 0.0
        for x, t in train_loader:
            optim.zero_grad(set_to_none=True)
            loss = criterion(model(x), t)
            loss.backward()
            optim.step()
            running += loss.item()
        sched.step()
        print(f"[{epoch:02d}] loss={running / len(train_loader):.4f} exact={exact_match(model, val_loader):.4f}")
    print(f"exact-match accuracy: {exact_match(model, val_loader):.4f}")


if __name__ == "__main__":
    main()
