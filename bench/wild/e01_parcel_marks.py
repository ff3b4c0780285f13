"""Which handling mark is printed on a parcel photo.

style: argparse script, PNG files and a labels.csv in a temp folder, SGD with momentum, random_split
fault: labels-shuffled
broken: 0.207
mended: 0.997
"""

import argparse
import csv
import glob
import os
import random
import tempfile

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset, random_split

MARKS = ["ring", "arrow", "cross", "box", "bars"]


def draw_parcel(kind, rng):
    shade = rng.randint(90, 170)
    im = Image.new("L", (32, 32), shade)
    d = ImageDraw.Draw(im)
    cx, cy, r = rng.randint(11, 20), rng.randint(11, 20), rng.randint(6, 9)
    ink = shade - rng.randint(50, 85)
    if kind == "ring":
        d.ellipse([cx - r, cy - r, cx + r, cy + r], outline=ink, width=2)
    elif kind == "arrow":
        d.polygon([(cx, cy - r), (cx - r, cy + r), (cx + r, cy + r)], outline=ink, width=2)
    elif kind == "cross":
        d.line([cx - r, cy - r, cx + r, cy + r], fill=ink, width=2)
        d.line([cx - r, cy + r, cx + r, cy - r], fill=ink, width=2)
    elif kind == "box":
        d.rectangle([cx - r, cy - r, cx + r, cy + r], outline=ink, width=2)
    else:
        for k in (-r, 0, r):
            d.line([cx + k, cy - r, cx + k, cy + r], fill=ink, width=2)
    a = np.asarray(im, np.float32) + np.random.randn(32, 32) * 24
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))


def export(folder, n, seed):
    """Write the pictures and the table the annotation tool would have given us."""
    rng = random.Random(seed)
    np.random.seed(seed)
    with open(os.path.join(folder, "labels.csv"), "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["number", "mark"])
        for i in range(n):
            kind = rng.choice(MARKS)
            draw_parcel(kind, rng).save(os.path.join(folder, f"parcel_{i}.png"))
            w.writerow([i, kind])


class Parcels(Dataset):
    def __init__(self, folder):
        self.files = sorted(glob.glob(os.path.join(folder, "parcel_*.png")))
        with open(os.path.join(folder, "labels.csv")) as f:
            rows = sorted(csv.DictReader(f), key=lambda r: int(r["number"]))
        self.targets = [MARKS.index(r["mark"]) for r in rows]
        assert len(self.files) == len(self.targets)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        a = np.asarray(Image.open(self.files[i]), np.float32) / 255.0
        return torch.from_numpy((a - 0.48) / 0.155)[None], self.targets[i]


def build_model():
    def block(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))

    return nn.Sequential(block(1, 16), block(16, 32), block(32, 48), nn.Flatten(), nn.Linear(48 * 16, len(MARKS)))


def evaluate(model, loader):
    model.eval()
    good = total = 0
    with torch.no_grad():
        for x, y in loader:
            good += (model(x).argmax(1) == y).sum().item()
            total += len(y)
    return good / total


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--epochs", type=int, default=7)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.03)
    p.add_argument("--number", type=int, default=2800)
    p.add_argument("--seed", type=int, default=3)
    args = p.parse_args()
    torch.manual_seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        export(folder, args.number, args.seed)
        data = Parcels(folder)
        n_val = 700
        train, val = random_split(data, [len(data) - n_val, n_val], generator=torch.Generator().manual_seed(0))
        train_loader = DataLoader(train, args.batch_size, shuffle=True)
        val_loader = DataLoader(val, 128)
        model = build_model()
        opt = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
        sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, args.epochs)
        loss_fn = nn.CrossEntropyLoss()
        for epoch in range(args.epochs):
            model.train()
            total = 0.0
            for x, y in train_loader:
                opt.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                opt.step()
                total += loss.item() * len(y)
            sched.step()
            print(f"epoch {epoch + 1}: loss {total / len(train):.4f}  val acc {evaluate(model, val_loader):.3f}")
        print(f"final val accuracy: {evaluate(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
