"""Classifying eight weave patterns for a textile museum's catalogue. Training is smooth and the training loss is
tiny, but on the held-out photos it is hopeless.

style: museum data scientist, small VGG with a cfg list
fault: batchnorm-momentum
accept: batchnorm-mode
broken: 0.154
mended: 1.000
"""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(11)
np.random.seed(11)

WEAVES = ["plain", "twill", "herringbone", "basket", "satin", "houndstooth", "gingham", "rib"]


def weave(name, size=40):
    p = np.random.uniform(5, 9)
    ox, oy = np.random.uniform(0, 40, 2)
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    th = np.random.uniform(-0.15, 0.15)
    u = (xx + ox) * math.cos(th) + (yy + oy) * math.sin(th)
    v = -(xx + ox) * math.sin(th) + (yy + oy) * math.cos(th)
    a, b = np.sin(2 * np.pi * u / p), np.sin(2 * np.pi * v / p)
    if name == "plain":
        z = np.sign(a * b)
    elif name == "twill":
        z = np.sin(2 * np.pi * (u + v) / p)
    elif name == "herringbone":
        z = np.sin(2 * np.pi * (np.abs((u % (3 * p)) - 1.5 * p) + v) / p)
    elif name == "basket":
        cell = (np.floor(u / p) + np.floor(v / p)) % 2
        z = np.where(cell > 0, np.sin(4 * np.pi * u / p), np.sin(4 * np.pi * v / p))
    elif name == "satin":
        z = np.maximum(a, 0) * np.maximum(np.sin(2 * np.pi * (v + 2.5 * u) / (2 * p)), 0) * 2 - 0.5
    elif name == "houndstooth":
        z = np.sign(a * b) * 0.5 + np.sign(np.sin(2 * np.pi * (u + v) / p)) * 0.5
    elif name == "gingham":
        z = (np.sign(a) + np.sign(b)) * 0.5
    else:
        z = np.sign(a)
    light = 0.55 + 0.2 * np.random.rand() + 0.1 * (xx / size - 0.5) * np.random.randn()
    return (light + 0.22 * z * np.random.uniform(0.5, 1.1) + 0.09 * np.random.randn(size, size)).clip(0, 1)


def collect(n):
    lab = np.arange(n) % len(WEAVES)
    img = np.stack([weave(WEAVES[k]) for k in lab]).astype(np.float32)
    return TensorDataset(torch.from_numpy(img)[:, None], torch.from_numpy(lab))


CFG = [16, "M", 32, 32, "M", 48, "M"]


def make_features(cfg, norm_kwargs):
    layers, c = [], 1
    for v in cfg:
        if v == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(c, v, 3, padding=1, bias=False), nn.BatchNorm2d(v, **norm_kwargs), nn.ReLU(True)]
            c = v
    return nn.Sequential(*layers)


class WeaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = make_features(CFG, dict(eps=1e-5, momentum=1e-4))
        self.classifier = nn.Linear(48, len(WEAVES))

    def forward(self, x):
        x = self.features((x - 0.65) / 0.2)
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


def evaluate(model, loader):
    model.eval()
    n_ok = n = 0
    loss = 0.0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            loss += F.cross_entropy(out, y, reduction="sum").item()
            n_ok += (out.argmax(1) == y).sum().item()
            n += len(y)
    return loss / n, n_ok / n


def main():
    train, val = collect(1600), collect(480)
    tl = DataLoader(train, 64, shuffle=True)
    vl = DataLoader(val, 160)
    model = WeaveNet()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for ep in range(1, 11):
        model.train()
        s = 0.0
        for x, y in tl:
            opt.zero_grad()
            l = F.cross_entropy(model(x), y)
            l.backward()
            opt.step()
            s += l.item()
        vloss, vacc = evaluate(model, vl)
        print(f"[{ep:02d}] train {s / len(tl):.3f} | val {vloss:.3f} acc {vacc:.3f}")
    print("catalogue accuracy:", round(vacc, 4))


if __name__ == "__main__":
    main()
