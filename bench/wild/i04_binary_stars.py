"""Sorting speckle frames of binary stars into four separation bins (about 6, 11, 16, 21 px) regardless of
position angle, with a ConvMixer as in the paper that we read in journal club.

style: astronomer, yaml-like settings, own ConvMixer
fault: receptive-field
broken: 0.340
mended: 1.000
"""

import numpy as np
import torch
from torch import nn

SETTINGS = """
patch: 4
dim: 40
depth: 3
kernel_size: 5
epochs: 14
batch: 50
lr: 0.004
"""


def parse(text):
    out = {}
    for row in text.strip().splitlines():
        k, v = row.split(":")
        out[k.strip()] = float(v) if "." in v else int(v)
    return out


BINS = (6, 11, 16, 21)


def frames(n, rng):
    yy, xx = np.mgrid[:40, :40].astype(np.float32)
    img = np.empty((n, 40, 40), np.float32)
    lab = rng.integers(0, len(BINS), n)
    for i, b in enumerate(lab):
        rho = BINS[b] + rng.uniform(-1.2, 1.2)
        pa = rng.uniform(0, np.pi)
        mid = np.array([20, 20]) + rng.uniform(-5, 5, 2)
        off = 0.5 * rho * np.array([np.sin(pa), np.cos(pa)])
        field = np.zeros((40, 40), np.float32)
        for p, flux in ((mid + off, rng.uniform(0.9, 1.2)), (mid - off, rng.uniform(0.7, 1.0))):
            field += flux * np.exp(-((yy - p[0]) ** 2 + (xx - p[1]) ** 2) / (2 * 1.2**2))
        img[i] = field + rng.normal(0, 0.06, (40, 40))
    return torch.from_numpy((img - 0.012) / 0.11)[:, None], torch.from_numpy(lab)


class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return x + self.fn(x)


def conv_mixer(dim, depth, patch, n_classes, **kw):
    k = kw.get("kernel", 1)
    mix = [
        nn.Sequential(
            Residual(nn.Sequential(nn.Conv2d(dim, dim, k, groups=dim, padding="same"), nn.GELU(), nn.BatchNorm2d(dim))),
            nn.Conv2d(dim, dim, 1),
            nn.GELU(),
            nn.BatchNorm2d(dim),
        )
        for _ in range(depth)
    ]
    return nn.Sequential(
        nn.Conv2d(1, dim, patch, patch),
        nn.GELU(),
        nn.BatchNorm2d(dim),
        *mix,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(dim, n_classes),
    )


def main():
    s = parse(SETTINGS)
    rng = np.random.default_rng(1827)
    torch.manual_seed(1827)
    xa, ya = frames(2400, rng)
    xb, yb = frames(800, rng)
    model = conv_mixer(n_classes=len(BINS), **{k: s[k] for k in ("dim", "depth", "patch", "kernel_size")})
    opt = torch.optim.AdamW(model.parameters(), lr=s["lr"], weight_decay=0.01)
    steps = s["epochs"] * (len(xa) // s["batch"])
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, s["lr"], total_steps=steps)
    for epoch in range(s["epochs"]):
        model.train()
        acc = 0.0
        for idx in torch.randperm(len(xa)).split(s["batch"]):
            loss = nn.functional.cross_entropy(model(xa[idx]), ya[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            acc += loss.item() * len(idx) / len(xa)
        print(f"epoch {epoch + 1:2d}: mean loss {acc:.3f}", flush=True)
    model.eval()
    with torch.no_grad():
        right = (model(xb).argmax(1) == yb).float().mean()
    print(f"frames in the right bin: {right:.3f}")


main()
