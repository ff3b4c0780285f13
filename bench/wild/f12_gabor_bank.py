"""Texture recognition the way vision scientists model V1: a fixed Gabor energy bank, divisive normalisation, and only
a linear read-out is fitted.

style: vision scientist, fixed filters as parameters, summed loss, small read-out
fault: none
mended: 0.992
"""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

rng = np.random.default_rng(6)
torch.manual_seed(6)
N_ORI, FREQS = 8, (0.08, 0.14, 0.22, 0.32)


def gabor(f, th, size=15):
    r = (torch.arange(size) - size // 2).float()
    y, x = torch.meshgrid(r, r, indexing="ij")
    u = x * math.cos(th) + y * math.sin(th)
    env = torch.exp(-(x**2 + y**2) / (2 * (0.45 / f) ** 2)) if f > 0.1 else torch.exp(-(x**2 + y**2) / 50)
    pair = [env * torch.cos(2 * math.pi * f * u), env * torch.sin(2 * math.pi * f * u)]
    return [(g - g.mean()) / (g - g.mean()).norm() for g in pair]


class Retina2V1(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        kern = [k for f in FREQS for o in range(N_ORI) for k in gabor(f, math.pi * o / N_ORI)]
        self.bank = nn.Conv2d(1, len(kern), 15, bias=False)
        self.bank.weight = nn.Parameter(torch.stack(kern)[:, None], requires_grad=False)
        self.readout = nn.Linear(len(kern) // 2, n_classes)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x):
        q = self.bank(x).pow(2)
        energy = (q[:, 0::2] + q[:, 1::2] + 1e-6).sqrt().mean((2, 3))
        energy = energy / (0.1 + energy.mean(1, keepdim=True))
        return self.readout(energy)


def texture(k, n=44):
    """12 materials: filtered noise with a preferred orientation (4) and scale (3)."""
    ori, sc = k % 4, k // 4
    fy, fx = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")
    rad, ang = np.hypot(fx, fy), np.arctan2(fy, fx)
    f0 = (0.10, 0.18, 0.30)[sc] * rng.uniform(0.92, 1.08)
    th = math.pi * ori / 4 + rng.normal(0, 0.14)
    amp = np.exp(-(((rad - f0) / 0.035) ** 2)) * np.exp(2.5 * (np.cos(2 * (ang - th)) - 1))
    t = np.fft.ifft2(amp * np.exp(2j * np.pi * rng.random((n, n)))).real
    t = t / t.std() + 2.4 * rng.normal(size=(n, n))
    return t * rng.uniform(0.4, 1.6)


def batch_of(n):
    k = rng.integers(0, 12, n)
    return torch.tensor(np.stack([texture(i) for i in k])[:, None], dtype=torch.float32), torch.tensor(k)


X, Y = batch_of(2500)
XT, YT = batch_of(500)
model = Retina2V1(12)
opt = torch.optim.SGD([model.readout.weight, model.readout.bias], lr=4e-3, momentum=0.9)
for sweep in range(16):
    total = 0.0
    for i in torch.randperm(len(X)).split(30):
        opt.zero_grad()
        nll = F.cross_entropy(model(X[i]), Y[i], reduction="sum")
        nll.backward()
        opt.step()
        total += nll.item()
    with torch.no_grad():
        acc = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(XT.split(100), YT.split(100))) / len(YT)
    print(f"sweep {sweep:2d}   total nll {total:9.1f}   test proportion correct {acc:.3f}")
print("proportion correct:", acc)
