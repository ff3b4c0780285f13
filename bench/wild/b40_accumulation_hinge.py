"""Micro-batches of four, eight of them per update, multi-class hinge loss.

style: script for a small card, gradient accumulation
fault: none
broken: n/a
mended: 0.80
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
TOP = ["Fruit", "Packages", "Vegetables"]
ACCUMULATE = 8
MICRO = 4


def listing():
    """Every fourth photo of a folder is for validation."""
    folders = {}
    for name in ("train.txt", "val.txt"):
        for line in (GROCERY / name).read_text().splitlines():
            path = line.split(", ")[0]
            folders.setdefault(path.split("/")[2], []).append(path)
    train, test = [], []
    for paths in folders.values():
        train += [p for i, p in enumerate(paths) if i % 4]
        test += paths[::4]
    return train, test


def tensors(paths):
    xs, ys = [], []
    for path in paths:
        img = Image.open(GROCERY / path)
        img.draft("RGB", (64, 64))
        xs.append(np.asarray(img.convert("RGB").resize((32, 32), Image.BILINEAR)))
        ys.append(TOP.index(path.split("/")[1]))
    x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float() / 255
    return TensorDataset((x - 0.5) / 0.25, torch.tensor(ys))


def main():
    torch.manual_seed(64)
    train_paths, val_paths = listing()
    train = DataLoader(tensors(train_paths), batch_size=MICRO, shuffle=True, drop_last=True)
    val = DataLoader(tensors(val_paths), batch_size=100)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 16, 64),
        nn.ReLU(),
        nn.Linear(64, len(TOP)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.MultiMarginLoss()
    optimizer.zero_grad()
    for epoch in range(6):
        model.train()
        running = 0.0
        for i, (x, y) in enumerate(train):
            loss = criterion(model(x), y) / ACCUMULATE
            loss.backward()
            running += loss.item() * ACCUMULATE
            if (i + 1) % ACCUMULATE == 0:
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            hits = sum((model(x).argmax(1) == y).sum().item() for x, y in val)
        print(f"epoch {epoch} hinge {running / len(train):.4f} val accuracy {hits / len(val.dataset):.4f}")


if __name__ == "__main__":
    main()
