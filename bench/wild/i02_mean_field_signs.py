"""Reproducing the 'maximal update' idea on a road-sign toy set: outputs divided by the width, weights of order one,
hence plain SGD with a learning rate of 120 and no momentum.

style: deep-learning theorist, mean-field parametrisation written out
fault: none
mended: 0.980
"""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw

torch.manual_seed(2)
rng = np.random.default_rng(2)
S = 24
SIGNS = [(3, "#c00"), (3, "#fc0"), (4, "#06c"), (4, "#fc0"), (8, "#c00"), (40, "#06c"), (40, "#c00"), (6, "#080")]


def sign(k):
    sides, col = SIGNS[k]
    bg = tuple(int(v) for v in rng.integers(60, 190, 3))
    im = Image.new("RGB", (S * 2, S * 2), bg)
    r, a0 = rng.uniform(17, 20), rng.normal(0, 0.06) - math.pi / 2
    cx, cy = 24 + rng.normal(0, 0.9, 2)
    pts = [
        (cx + r * math.cos(a0 + 2 * math.pi * i / sides), cy + r * math.sin(a0 + 2 * math.pi * i / sides))
        for i in range(sides)
    ]
    ImageDraw.Draw(im).polygon(pts, fill=col, outline="white")
    a = np.asarray(im.resize((S, S), Image.BOX), np.float32) / 255
    a = a * rng.uniform(0.6, 1.1) + rng.normal(0, 0.05, a.shape)
    return (a - 0.4) / 0.25


def draw(n):
    k = rng.integers(0, len(SIGNS), n)
    return torch.tensor(np.stack([sign(i) for i in k]), dtype=torch.float32).flatten(1), torch.tensor(k)


class MeanField(torch.nn.Module):
    """f(x) = (1/n) sum_i a_i relu(w_i x / sqrt(d)), every coordinate O(1) at the start."""

    def __init__(self, d, n, c):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(n, d))
        self.b = torch.nn.Parameter(torch.zeros(n))
        self.a = torch.nn.Parameter(torch.randn(c, n))
        self.d, self.n = d, n

    def forward(self, x):
        h = torch.relu(x @ self.w.t() / math.sqrt(self.d) + self.b)
        return h @ self.a.t() / self.n


x, y = draw(2400)
xt, yt = draw(800)
f = MeanField(x.shape[1], 400, len(SIGNS))
sgd = torch.optim.SGD(f.parameters(), lr=120.0)
for t in range(30):
    total = 0.0
    for i in torch.randperm(len(x)).split(32):
        risk = torch.nn.functional.cross_entropy(f(x[i]), y[i])
        sgd.zero_grad()
        risk.backward()
        sgd.step()
        total += risk.item() * len(i)
    if t % 3 == 2:
        print(f"t={t + 1:3d}  R={total / len(x):.4f}", flush=True)
with torch.no_grad():
    print("test accuracy", round((f(xt).argmax(1) == yt).float().mean().item(), 4))
