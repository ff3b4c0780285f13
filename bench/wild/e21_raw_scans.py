"""Fold type of scanned envelopes, stored as raw byte files.

style: Dataset in memory, research-repo config dict, SGD warm restarts
fault: input-ignored
broken: 0.247
mended: 1.000
"""

import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

CFG = {
    "seed": 21,
    "side": 28,
    "train": 2600,
    "val": 700,
    "bs": 60,
    "epochs": 7,
    "optim": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 2e-4},
    "folds": ["flap", "cross", "double", "window"],
}


def scan(kind, rng):
    n = CFG["side"]
    paper = int(rng.integers(150, 215))
    ink = paper - int(rng.integers(45, 80))
    im = Image.new("L", (n, n), paper)
    d = ImageDraw.Draw(im)
    l, t = rng.integers(2, 6, 2).tolist()
    r, b = n - 1 - int(rng.integers(2, 6)), n - 1 - int(rng.integers(4, 8))
    d.rectangle([l, t, r, b], outline=ink)
    mx, my = (l + r) // 2, (t + b) // 2
    if kind == "flap":
        d.line([l, t, mx, my, r, t], fill=ink)
    elif kind == "cross":
        d.line([l, t, r, b], fill=ink)
        d.line([l, b, r, t], fill=ink)
    elif kind == "double":
        d.line([l, my - 3, r, my - 3], fill=ink)
        d.line([l, my + 3, r, my + 3], fill=ink)
    else:
        d.rectangle([mx - 6, my, mx + 2, my + 5], outline=ink)
    a = np.asarray(im, np.float32) + rng.normal(0, 17, (n, n))
    return a.clip(0, 255).astype(np.uint8)


def write_split(folder, n, seed):
    os.makedirs(folder)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CFG["folds"]), n)
    for i, t in enumerate(labels):
        scan(CFG["folds"][t], rng).tofile(os.path.join(folder, f"{i:05d}.raw"))
    np.save(os.path.join(folder, "labels.npy"), labels)


class RawScans(Dataset):
    """All scans of a split, decoded once."""

    def __init__(self, folder, side):
        self.labels = np.load(os.path.join(folder, "labels.npy"))
        buffer = np.empty((side, side), np.uint8)
        self.scans = []
        for i in range(len(self.labels)):
            with open(os.path.join(folder, f"{i:05d}.raw"), "rb") as f:
                f.readinto(memoryview(buffer).cast("B"))
            self.scans.append(torch.from_numpy(buffer))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return (self.scans[i].float()[None] - 173.5) / 33.5, int(self.labels[i])


class FoldNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.c1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.n1 = nn.GroupNorm(4, 16)
        self.c2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.n2 = nn.GroupNorm(4, 32)
        self.c3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.n3 = nn.GroupNorm(4, 32)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(32 * 9, classes)

    def forward(self, x):
        for c, n in ((self.c1, self.n1), (self.c2, self.n2), (self.c3, self.n3)):
            x = self.pool(torch.relu(n(c(x))))
        return self.fc(x.flatten(1))


def test(model, loader):
    model.eval()
    hits, loss, n = 0, 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            loss += nn.functional.cross_entropy(out, y, reduction="sum").item()
            hits += (out.argmax(1) == y).sum().item()
            n += len(y)
    return loss / n, hits / n


def main(cfg):
    torch.manual_seed(cfg["seed"])
    with tempfile.TemporaryDirectory() as tmp:
        for k, split in enumerate(("train", "val")):
            write_split(os.path.join(tmp, split), cfg[split], cfg["seed"] + k)
        train_set, val_set = [RawScans(os.path.join(tmp, s), cfg["side"]) for s in ("train", "val")]
    train, val = DataLoader(train_set, cfg["bs"], shuffle=True), DataLoader(val_set, 100)
    model = FoldNet(len(cfg["folds"]))
    opt = torch.optim.SGD(model.parameters(), **cfg["optim"])
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=1, T_mult=2)
    for epoch in range(cfg["epochs"]):
        model.train()
        total = 0.0
        for step, (x, y) in enumerate(train):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            sched.step(epoch + (step + 1) / len(train))
            total += loss.item() * len(y)
        vl, va = test(model, val)
        print(
            f"epoch {epoch + 1}/{cfg['epochs']}: train loss {total / len(train_set):.4f}, val loss {vl:.4f}, val acc {va:.4f}"
        )
    print(f"final: {va:.3f}")


if __name__ == "__main__":
    main(CFG)
