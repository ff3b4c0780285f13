"""Digit challenge, single-fold version of my gold solution: small VGG with SE, mixup, EMA, one-cycle, TTA.
The optimiser settings come from my ConvNeXt runs of last season.

style: competition winner, class CFG, tricks stacked up
fault: weight-decay-high
broken: 0.100
mended: 0.932
"""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit


class CFG:
    seed = 2023
    lr = 2e-3
    wd = 0.05
    epochs = 14
    bs = 64
    mixup = 0.2
    ema = 0.98
    ch = 24
    tta = 3


def seed_everything(s):
    np.random.seed(s)
    torch.manual_seed(s)


seed_everything(CFG.seed)
d = load_digits()
trn, val = next(StratifiedShuffleSplit(1, test_size=0.35, random_state=CFG.seed).split(d.images, d.target))
X = torch.tensor(d.images[:, None] / 16.0, dtype=torch.float32)
X = (X - X[trn].mean()) / X[trn].std()
Y = torch.tensor(d.target)


class SE(nn.Module):
    def __init__(self, c, r=4):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(c, c // r), nn.SiLU(), nn.Linear(c // r, c), nn.Sigmoid())

    def forward(self, x):
        return x * self.f(x.mean((2, 3)))[:, :, None, None]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        c = CFG.ch
        self.net = nn.Sequential(
            nn.Conv2d(1, c, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(c, c, 3, padding=1),
            nn.SiLU(),
            SE(c),
            nn.MaxPool2d(2),
            nn.Conv2d(c, 2 * c, 3, padding=1),
            nn.SiLU(),
            SE(2 * c),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * c * 16, 10),
        )

    def forward(self, x):
        return self.net(x)


def shift(x, dy, dx):
    return torch.roll(x, (dy, dx), (2, 3))


def mix(x, y):
    lam = float(np.random.beta(CFG.mixup, CFG.mixup))
    p = torch.randperm(len(x))
    return lam * x + (1 - lam) * x[p], y, y[p], lam


class EMA:
    def __init__(self, m):
        self.m = copy.deepcopy(m).eval()

    @torch.no_grad()
    def update(self, src):
        for a, b in zip(self.m.parameters(), src.parameters()):
            a.lerp_(b, 1 - CFG.ema)


model = Net()
ema = EMA(model)
opt = torch.optim.Adam(model.parameters(), lr=CFG.lr, weight_decay=CFG.wd)
steps = CFG.epochs * (len(trn) // CFG.bs)
sch = torch.optim.lr_scheduler.OneCycleLR(opt, CFG.lr, total_steps=steps, pct_start=0.25)
trn = torch.as_tensor(trn)
for ep in range(CFG.epochs):
    model.train()
    ls = []
    for b in trn[torch.randperm(len(trn))].split(CFG.bs):
        if len(b) < CFG.bs:
            continue
        x, y1, y2, lam = mix(shift(X[b], *np.random.randint(-1, 2, 2).tolist()), Y[b])
        o = model(x)
        loss = lam * F.cross_entropy(o, y1) + (1 - lam) * F.cross_entropy(o, y2)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sch.step()
        ema.update(model)
        ls.append(loss.item())
    print(f"ep {ep:02d} trn {np.mean(ls):.4f}", flush=True)

with torch.no_grad():
    p = sum(ema.m(shift(X[val], 0, dx)).softmax(1) for dx in (-1, 0, 1)) / CFG.tta
print(f"CV: {(p.argmax(1) == Y[val]).float().mean():.4f}")
