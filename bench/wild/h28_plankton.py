"""Plankton silhouettes from a flow camera, seven groups. Training accuracy is great, but as soon as I switch to
inference the same network performs poorly.

style: marine biologist, compact residual-free net, type hints
fault: batchnorm-mode
broken: 0.172
mended: 0.908
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

GROUPS = ["diatom chain", "copepod", "needle", "ring", "star", "crescent", "cluster"]
PIX = 36


def silhouette(k: int, g: np.random.Generator) -> np.ndarray:
    yy, xx = np.mgrid[:PIX, :PIX].astype(float)
    cx, cy = g.uniform(14, 22, 2)
    t = g.uniform(0, 2 * np.pi)
    u = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t)
    v = -(xx - cx) * np.sin(t) + (yy - cy) * np.cos(t)
    r, a = np.hypot(u, v), np.arctan2(v, u)
    s = g.uniform(0.8, 1.2)
    if k == 0:
        m = np.zeros_like(u, bool)
        for j in range(-2, 3):
            m |= (np.abs(u - 4.6 * s * j) < 1.9 * s) & (np.abs(v) < 2.4 * s)
    elif k == 1:
        m = ((u / (7 * s)) ** 2 + (v / (3.2 * s)) ** 2 < 1) | ((np.abs(u - 5 * s) < 0.9) & (np.abs(v) < 9 * s))
    elif k == 2:
        m = (np.abs(v) < 1.0) & (np.abs(u) < 13 * s)
    elif k == 3:
        m = np.abs(r - 6.5 * s) < 1.4
    elif k == 4:
        m = r < (5 + 3.6 * np.cos(5 * a)) * s
    elif k == 5:
        m = (r < 7.5 * s) & (np.hypot(u - 3.2 * s, v) > 6 * s)
    else:
        m = np.zeros_like(u, bool)
        for _ in range(8):
            dx, dy = g.normal(0, 4 * s, 2)
            m |= np.hypot(u - dx, v - dy) < 1.9
    water = 0.75 + 0.05 * g.normal() + 0.06 * g.normal(size=m.shape)
    return (water - g.uniform(0.3, 0.5) * m).astype(np.float32)


def haul(n: int, seed: int) -> tuple[Tensor, Tensor]:
    g = np.random.default_rng(seed)
    y = g.integers(0, len(GROUPS), n)
    x = np.stack([silhouette(int(k), g) for k in y])[:, None]
    return torch.from_numpy((x - 0.7) / 0.15), torch.from_numpy(y)


class PlanktonNet(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1)
        self.conv4 = nn.Conv2d(width, width, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.act = nn.LeakyReLU(0.1)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, len(GROUPS))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.norm(self.conv1(x))))
        x = self.pool(self.act(self.norm(self.conv2(x))))
        x = self.pool(self.act(self.norm(self.conv3(x))))
        x = self.act(self.norm(self.conv4(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


@torch.no_grad()
def score(net: nn.Module, x: Tensor, y: Tensor) -> float:
    net.eval()
    return torch.cat([net(c).argmax(1) for c in x.split(120)]).eq(y).float().mean().item()


def main() -> None:
    torch.manual_seed(73)
    x, y = haul(1500, 1)
    xt, yt = haul(500, 2)
    net = PlanktonNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(9):
        net.train()
        hits = 0
        for idx in torch.randperm(len(x)).split(50):
            out = net(x[idx])
            loss = F.cross_entropy(out, y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            hits += out.argmax(1).eq(y[idx]).sum().item()
        print(f"epoch {epoch}  train acc {hits / len(x):.3f}  test acc {score(net, xt, yt):.3f}")
    print(f"final test accuracy {score(net, xt, yt):.4f}")


if __name__ == "__main__":
    main()
