"""Counting spiral arms: I classify simulated galaxy stamps by arm number and winding sense for our outreach project.

style: accelerate loop, multi-scale features tapped with forward hooks, hand-written cosine loss
fault: detached-graph
broken: 0.270
mended: 0.970
"""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, TensorDataset

CLASSES = [(2, 1), (2, -1), (3, 1), (3, -1), (4, 1), (4, -1)]


def stamp(arms, sense, rng, size=40):
    g = np.linspace(-1, 1, size)
    x, y = np.meshgrid(g + rng.normal(0, 0.06), g + rng.normal(0, 0.06))
    r = np.hypot(x, y) + 1e-3
    th = np.arctan2(y, x)
    pitch = rng.uniform(2.2, 3.4)
    wave = np.cos(arms * (th - sense * pitch * r - rng.uniform(0, 2 * math.pi)))
    disc = np.exp(-r / rng.uniform(0.38, 0.5))
    img = disc * (0.35 + 0.65 * np.clip(wave, 0, 1) ** 2) + 1.2 * np.exp(-((r / 0.1) ** 2))
    img = img + rng.normal(0, 0.09, img.shape)
    return np.arcsinh(4 * img).astype(np.float32)


def catalogue(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), n)
    imgs = np.stack([stamp(*CLASSES[k], rng) for k in labels])[:, None]
    imgs = (imgs - imgs.mean((1, 2, 3), keepdims=True)) / imgs.std((1, 2, 3), keepdims=True)
    return TensorDataset(torch.from_numpy(imgs), torch.from_numpy(labels))


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()

        def stage(i, o, s):
            return nn.Sequential(
                nn.Conv2d(i, o, 3, s, 1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(),
                nn.Conv2d(o, o, 3, 1, 1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(),
            )

        self.s1, self.s2, self.s3 = stage(1, 16, 2), stage(16, 32, 2), stage(32, 64, 2)

    def forward(self, x):
        return self.s3(self.s2(self.s1(x)))


class ArmCounter(nn.Module):
    """Pools the maps of several stages and compares them with one unit vector per class."""

    def __init__(self, n_classes, taps=("s2", "s3")):
        super().__init__()
        self.trunk = Trunk()
        self.maps = {}
        for name in taps:
            getattr(self.trunk, name).register_forward_hook(self._grab(name))
        self.taps = taps
        self.project = nn.Linear((32 + 64) * 4, 64)
        self.prototypes = nn.Parameter(torch.randn(n_classes, 64))

    def _grab(self, name):
        def hook(module, inputs, output):
            self.maps[name] = output.detach()

        return hook

    def forward(self, x):
        self.trunk(x)
        pooled = [F.adaptive_avg_pool2d(self.maps[n], 2).flatten(1) for n in self.taps]
        e = F.normalize(self.project(torch.cat(pooled, 1)), dim=1)
        return e @ F.normalize(self.prototypes, dim=1).t()


def cosine_loss(cos, y, scale=14.0, margin=0.1):
    cos = cos - margin * F.one_hot(y, cos.shape[1])
    return -(scale * cos).log_softmax(1).gather(1, y[:, None]).mean()


def main():
    set_seed(77)
    acc = Accelerator(cpu=True)
    train = DataLoader(catalogue(1500, 1), batch_size=50, shuffle=True, drop_last=True)
    test = DataLoader(catalogue(500, 2), batch_size=100)
    model = ArmCounter(len(CLASSES))
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    epochs = 14
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 6e-3, total_steps=epochs * len(train))
    model, opt, train, test, sched = acc.prepare(model, opt, train, test, sched)
    for epoch in range(epochs):
        model.train()
        for x, y in train:
            loss = cosine_loss(model(x), y)
            acc.backward(loss)
            opt.step()
            sched.step()
            opt.zero_grad()
        acc.print(f"epoch {epoch} loss {loss.item():.3f}")
    model.eval()
    right = total = 0
    for x, y in test:
        with torch.no_grad():
            pred, ref = acc.gather_for_metrics((model(x).argmax(1), y))
        right += (pred == ref).sum().item()
        total += len(ref)
    acc.print(f"test accuracy {right / total:.3f}")


if __name__ == "__main__":
    main()
