"""Which shape is on the card? A little ResNet with gradient accumulation for small machines.

style: class Trainer, hand-written ResNet, pictures drawn with PIL
fault: missing-zero-grad
broken: 0.152
mended: 0.698
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring"]


def polygon(cx, cy, r, n, rot, inner=None):
    pts = []
    k = n * 2 if inner else n
    for i in range(k):
        rr = r * inner if inner and i % 2 else r
        a = rot + 2 * math.pi * i / k
        pts.append((cx + rr * math.cos(a), cy + rr * math.sin(a)))
    return pts


def draw_card(kind, rng):
    bg = tuple(rng.randint(60, 200) for _ in range(3))
    fg = tuple(min(255, max(0, c + rng.choice([-1, 1]) * rng.randint(60, 110))) for c in bg)
    im = Image.new("RGB", (40, 40), bg)
    d = ImageDraw.Draw(im)
    for _ in range(2):
        d.line([rng.randint(0, 39) for _ in range(4)], fill=tuple(rng.randint(40, 220) for _ in range(3)))
    cx, cy, r, rot = rng.uniform(14, 26), rng.uniform(14, 26), rng.uniform(9, 13), rng.uniform(-0.3, 0.3)
    if kind == "circle":
        d.ellipse([cx - r, cy - r, cx + r, cy + r], fill=fg)
    elif kind == "ring":
        d.ellipse([cx - r, cy - r, cx + r, cy + r], outline=fg, width=3)
    elif kind == "square":
        d.polygon(polygon(cx, cy, r, 4, rot), fill=fg)
    elif kind == "triangle":
        d.polygon(polygon(cx, cy, r, 3, rot), fill=fg)
    elif kind == "star":
        d.polygon(polygon(cx, cy, r, 5, rot, 0.4), fill=fg)
    else:
        d.polygon(polygon(cx, cy, r, 4, rot, 0.3), fill=fg)
    a = np.asarray(im, np.float32) + np.random.RandomState(rng.randint(0, 10**6)).normal(0, 7, (40, 40, 3))
    return np.clip(a, 0, 255)


def make(n, seed):
    rng = random.Random(seed)
    ys = [rng.randrange(len(SHAPES)) for _ in range(n)]
    xs = np.stack([draw_card(SHAPES[y], rng) for y in ys])
    x = torch.from_numpy(xs.astype(np.float32)).permute(0, 3, 1, 2).contiguous()
    return TensorDataset((x - 128) / 55, torch.tensor(ys))


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.down = None
        if stride != 1 or cin != cout:
            self.down = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        idt = x if self.down is None else self.down(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + idt)


class ResNet8(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(BasicBlock(16, 16), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2))
        self.fc = nn.Linear(64, n)

    def forward(self, x):
        return self.fc(self.body(self.stem(x)).mean((2, 3)))


@dataclass
class Options:
    epochs: int = 6
    batch_size: int = 8
    accumulate: int = 2
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4


class Trainer:
    def __init__(self, net, train_set, val_set, opt: Options):
        self.net, self.o = net, opt
        self.train_loader = DataLoader(train_set, opt.batch_size, shuffle=True, drop_last=True)
        self.val_loader = DataLoader(val_set, 100)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(
            net.parameters(), lr=opt.lr, momentum=opt.momentum, weight_decay=opt.weight_decay, nesterov=True
        )
        updates = opt.epochs * (len(self.train_loader) // opt.accumulate)
        self.scheduler = optim.lr_scheduler.CosineAnnealingLR(self.optimizer, updates)

    def train_one_epoch(self):
        self.net.train()
        losses = []
        for i, (x, y) in enumerate(self.train_loader, 1):
            loss = self.criterion(self.net(x), y)
            (loss / self.o.accumulate).backward()
            if i % self.o.accumulate == 0:
                self.optimizer.step()
                self.scheduler.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    @torch.no_grad()
    def validate(self):
        self.net.eval()
        hits = n = 0
        total = 0.0
        for x, y in self.val_loader:
            out = self.net(x)
            total += self.criterion(out, y).item() * len(y)
            hits += (out.argmax(1) == y).sum().item()
            n += len(y)
        return total / n, hits / n

    def fit(self):
        for e in range(self.o.epochs):
            tl = self.train_one_epoch()
            vl, va = self.validate()
            print(f"epoch {e}: train_loss={tl:.4f} val_loss={vl:.4f} val_acc={va:.4f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(7)
    Trainer(ResNet8(len(SHAPES)), make(1600, 1), make(500, 2), Options()).fit()
