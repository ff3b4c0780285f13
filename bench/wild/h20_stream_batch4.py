"""Edge-device trial: pictures arrive as a stream, memory only holds four at a time, so group statistics inside
one picture instead of batch statistics. The loss curve is very noisy and that is expected.

style: embedded engineer, IterableDataset, generators, gradient accumulation
fault: none
mended: 0.989
"""

import math

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

torch.manual_seed(4)
TYPES = ("bolt", "nut", "washer", "gear", "spring", "bracket", "pin")
R = 32


def part(kind, g):
    yy, xx = np.mgrid[:R, :R].astype(np.float32)
    cx, cy = g.uniform(13, 19, 2)
    th = g.uniform(0, 2 * math.pi)
    u = (xx - cx) * math.cos(th) + (yy - cy) * math.sin(th)
    v = -(xx - cx) * math.sin(th) + (yy - cy) * math.cos(th)
    r, a = np.hypot(u, v), np.arctan2(v, u)
    s = g.uniform(0.85, 1.15)
    if kind == "bolt":
        m = ((np.abs(v) < 1.6 * s) & (u > -9 * s) & (u < 6 * s)) | (
            (np.abs(v) < 4.5 * s) & (u >= 6 * s) & (u < 9.5 * s)
        )
    elif kind == "nut":
        hexa = np.maximum.reduce([np.abs(u * math.cos(t) + v * math.sin(t)) for t in (0, math.pi / 3, 2 * math.pi / 3)])
        m = (hexa < 7.5 * s) & (r > 3.4 * s)
    elif kind == "washer":
        m = (r < 7.8 * s) & (r > 4.8 * s)
    elif kind == "gear":
        m = (r < (7.5 + 1.6 * np.sign(np.cos(9 * a))) * s) & (r > 2.4 * s)
    elif kind == "spring":
        m = (np.abs(v - 4 * s * np.sin(u * 1.3 / s)) < 1.5) & (np.abs(u) < 10 * s)
    elif kind == "bracket":
        m = ((np.abs(u + 5 * s) < 1.8 * s) & (np.abs(v) < 8 * s)) | (
            (np.abs(v + 6.2 * s) < 1.8 * s) & (u > -6 * s) & (u < 8 * s)
        )
    else:
        m = (np.abs(v) < 1.5 * s) & (np.abs(u) < 10 * s)
    img = 0.3 + 0.1 * (xx / R) * g.normal() + (0.28 + 0.15 * g.random()) * m
    return (img + g.normal(0, 0.07, img.shape)).astype(np.float32)


class Belt(IterableDataset):
    """Endless conveyor: kinds arrive at random, nothing is ever stored."""

    def __init__(self, seed, length):
        self.seed, self.length = seed, length

    def __iter__(self):
        g = np.random.default_rng(self.seed)
        for _ in range(self.length):
            k = int(g.integers(len(TYPES)))
            yield torch.from_numpy(part(TYPES[k], g))[None], k

    def __len__(self):
        return self.length


def gn(c):
    return nn.GroupNorm(4, c)


class Inspector(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), gn(16), nn.Hardswish())
        self.b1 = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, bias=False), gn(32), nn.Hardswish(), nn.MaxPool2d(2))
        self.b2 = nn.Sequential(nn.Conv2d(32, 48, 3, padding=1, bias=False), gn(48), nn.Hardswish(), nn.MaxPool2d(2))
        self.fc = nn.Linear(48 * 16, len(TYPES))

    def forward(self, x):
        return self.fc(self.b2(self.b1(self.stem((x - 0.4) / 0.15))).flatten(1))


ACCUMULATE = 4
net = Inspector()
opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.02)
belt = DataLoader(Belt(1, 14400), batch_size=4)
updates = len(belt) // ACCUMULATE
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=updates)
loss_fn = nn.CrossEntropyLoss()

opt.zero_grad()
for i, (x, y) in enumerate(belt):
    loss = loss_fn(net(x), y) / ACCUMULATE
    loss.backward()
    if (i + 1) % ACCUMULATE == 0:
        opt.step()
        sched.step()
        opt.zero_grad()
    if i % 150 == 0:
        print(f"picture {i * 4:5d}  loss of this batch {loss.item() * ACCUMULATE:.3f}")

net.eval()
seen = right = 0
with torch.no_grad():
    for x, y in DataLoader(Belt(999, 800), batch_size=100):
        right += (net(x).argmax(1) == y).sum().item()
        seen += len(y)
print(f"parts recognised {right / seen:.4f}")
