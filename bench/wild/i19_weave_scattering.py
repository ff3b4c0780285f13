"""Texture grading of woven cloth (five weaves) with a fixed wavelet bank in the spirit of Mallat: only the linear
readout is learned, the filters never move.

style: signal-processing researcher, buffers-as-conv, requires_grad_(False) by design
fault: none
mended: 1.000
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

rng = np.random.default_rng(5)
torch.manual_seed(5)
M = 32


def weave(kind):
    yy, xx = np.mgrid[:M, :M].astype(np.float64)
    th = rng.normal(0, 0.08)
    u, v = xx * np.cos(th) + yy * np.sin(th), -xx * np.sin(th) + yy * np.cos(th)
    p = rng.uniform(4.5, 5.5)
    a, b = rng.uniform(0, 2 * np.pi, 2)
    if kind == 0:  # plain
        t = np.sin(2 * np.pi * u / p + a) * np.sin(2 * np.pi * v / p + b)
    elif kind == 1:  # twill
        t = np.sin(2 * np.pi * (u + v) / (1.4 * p) + a)
    elif kind == 2:  # rib
        t = np.sign(np.sin(2 * np.pi * u / p + a))
    elif kind == 3:  # herringbone
        s = np.sign(np.sin(2 * np.pi * v / (4 * p) + b))
        t = np.sin(2 * np.pi * (u + s * v) / (1.4 * p) + a)
    else:  # basket
        t = np.sin(np.pi * u / p + a) * np.sin(np.pi * v / p + b)
    return t + rng.normal(0, 0.8, t.shape)


def bolt(n):
    k = rng.integers(0, 5, n)
    x = np.stack([weave(i) for i in k])
    x = (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
    return torch.tensor(x, dtype=torch.float32)[:, None], torch.tensor(k)


def morlet(size, lam, angle, sigma):
    h = size // 2
    yy, xx = np.mgrid[-h : h + 1, -h : h + 1]
    u = xx * np.cos(angle) + yy * np.sin(angle)
    env = np.exp(-(xx**2 + yy**2) / (2 * sigma**2))
    wave = np.exp(2j * np.pi * u / lam)
    wave = wave - (env * wave).sum() / env.sum()
    g = env * wave
    return g / np.abs(g).sum()


class Scattering(nn.Module):
    def __init__(self):
        super().__init__()
        bank = [morlet(11, lam, np.pi * j / 8, 0.45 * lam) for lam in (3.5, 5.0, 7.0, 10.0) for j in range(8)]
        self.re = nn.Conv2d(1, len(bank), 11, padding=5, bias=False)
        self.im = nn.Conv2d(1, len(bank), 11, padding=5, bias=False)
        with torch.no_grad():
            self.re.weight.copy_(torch.tensor(np.stack([g.real for g in bank]))[:, None])
            self.im.weight.copy_(torch.tensor(np.stack([g.imag for g in bank]))[:, None])
        for p in self.parameters():
            p.requires_grad_(False)
        self.norm = nn.BatchNorm1d(2 * len(bank), affine=False)
        self.readout = nn.Linear(2 * len(bank), 5)

    def forward(self, x):
        mod = torch.sqrt(self.re(x) ** 2 + self.im(x) ** 2 + 1e-9)
        s = torch.cat([mod.mean((2, 3)), F.avg_pool2d(mod, 8).var((2, 3))], 1)
        return self.readout(self.norm(torch.log(s + 1e-6)))


x, y = bolt(900)
xt, yt = bolt(600)
net = Scattering()
opt = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.02)
for epoch in range(7):
    net.train()
    tot = 0.0
    for i in torch.randperm(len(x)).split(45):
        loss = F.cross_entropy(net(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        tot += loss.item() * len(i)
    print(f"{epoch} {tot / len(x):.4f}", flush=True)
net.eval()
with torch.no_grad():
    print("weaves graded correctly", round((net(xt).argmax(1) == yt).float().mean().item(), 3))
