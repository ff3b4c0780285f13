"""Code for section 4.2 (attribute tagging): every 32x32 scene holds a random subset of five glyph types,
the network has to list all that are present. We report the exact-match ratio.

style: PhD student's paper code, argparse and ablation flags
fault: wrong-head
broken: 0.672
mended: 0.998
"""

import argparse

import numpy as np
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

ATTRIBUTES = ("ring", "cross", "bar", "block", "tee")


def stamp(canvas, kind, r, c):
    g = np.zeros((7, 7), np.float32)
    if kind == "ring":
        g[0, 1:6] = g[6, 1:6] = g[1:6, 0] = g[1:6, 6] = 1
    elif kind == "cross":
        for i in range(7):
            g[i, i] = g[i, 6 - i] = 1
    elif kind == "bar":
        g[2:5, :] = 1
    elif kind == "block":
        g[1:6, 1:6] = 1
    else:
        g[0:2, :] = 1
        g[:, 3] = 1
    canvas[r : r + 7, c : c + 7] = np.maximum(canvas[r : r + 7, c : c + 7], g)


def make_split(n, seed, noise):
    rs = np.random.RandomState(seed)
    x = np.zeros((n, 1, 32, 32), np.float32)
    y = np.zeros((n, len(ATTRIBUTES)), np.float32)
    cells = [(r, c) for r in (1, 12, 23) for c in (1, 12, 23)]
    for i in range(n):
        y[i] = rs.rand(len(ATTRIBUTES)) < 0.5
        if y[i].sum() == 0:
            y[i, rs.randint(len(ATTRIBUTES))] = 1
        spots = [cells[k] for k in rs.permutation(len(cells))]
        for kind, present in zip(ATTRIBUTES, y[i]):
            if present:
                r, c = spots.pop()
                stamp(x[i, 0], kind, r + rs.randint(0, 2), c + rs.randint(0, 2))
        x[i, 0] *= rs.uniform(0.7, 1.0)
    x += noise * rs.randn(*x.shape).astype(np.float32)
    return TensorDataset(torch.from_numpy((x - 0.12) / 0.35), torch.from_numpy(y))


def encoder(width):
    layers, c = [], 1
    for k in (width, 2 * width, 3 * width):
        layers += [nn.Conv2d(c, k, 3, padding=1, bias=False), nn.BatchNorm2d(k), nn.GELU(), nn.MaxPool2d(2)]
        c = k
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()), c


class Tagger(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.phi, c = encoder(width)
        self.cls = nn.Linear(c, len(ATTRIBUTES))

    def forward(self, x):
        return self.cls(self.phi(x))


@torch.no_grad()
def exact_match(model, loader):
    model.eval()
    ok = n = 0
    for x, y in loader:
        pred = model(x).sigmoid().ge(0.5).float()
        ok += (pred == y).all(dim=1).sum().item()
        n += len(y)
    return ok / n


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--width", type=int, default=12)
    ap.add_argument("--noise", type=float, default=0.2)
    ap.add_argument("--epochs", type=int, default=10)
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--seed", type=int, default=2024)
    args = ap.parse_args()
    torch.manual_seed(args.seed)

    tr = DataLoader(make_split(2000, args.seed, args.noise), batch_size=50, shuffle=True)
    te = DataLoader(make_split(800, args.seed + 1, args.noise), batch_size=200)
    model = Tagger(args.width)
    criterion = nn.CrossEntropyLoss()
    opt = optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-4)
    sched = optim.lr_scheduler.OneCycleLR(opt, args.lr, total_steps=args.epochs * len(tr))
    for ep in range(args.epochs):
        model.train()
        tot = 0.0
        for x, y in tr:
            loss = criterion(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            tot += loss.item()
        print(f"epoch={ep} train_loss={tot / len(tr):.4f}", flush=True)
    print(f"exact-match (test) = {exact_match(model, te):.4f}")


if __name__ == "__main__":
    main()
