"""Sorting seeds on the conveyor: the network sees each seed once, one at a time, and learns as it goes (batch of one,
group normalisation). Good seeds outnumber the bad ones eight to one, so the alarm sits at the prior.

style: production-line engineer, online learning, prequential counters
fault: none
mended: 0.947
"""

import collections

import numpy as np
import torch
import torch.nn as nn
from scipy.ndimage import gaussian_filter

PRIOR_BAD = 1 / 9
torch.manual_seed(60)
rng = np.random.default_rng(60)
yy, xx = np.mgrid[:26, :26] - 12.5


def seed(bad):
    a, s = rng.uniform(0, np.pi), rng.uniform(0.9, 1.1)
    u, v = xx * np.cos(a) + yy * np.sin(a), -xx * np.sin(a) + yy * np.cos(a)
    body = np.clip(1.3 - (u / (9.5 * s)) ** 2 - (v / (6 * s)) ** 2, 0, 0.8)
    if bad:
        if rng.random() < 0.5:  # worm hole
            hy, hx = rng.normal(0, 2.5), rng.normal(0, 4)
            body *= 1 - np.exp(-((u - hx) ** 2 + (v - hy) ** 2) / 3.5)
        else:  # broken tip
            body *= u < rng.uniform(1, 4)
    img = gaussian_filter(body, 0.6) + rng.normal(0, 0.05, body.shape)
    return torch.tensor((img - 0.22) / 0.3, dtype=torch.float32)[None, None]


class SeedNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 5, stride=2, padding=2),
            nn.GroupNorm(3, 12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.GroupNorm(4, 24),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, stride=2, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
        )
        self.alarm = nn.Linear(32 * 16, 1)

    def forward(self, x):
        return self.alarm(self.body(x).flatten(1)).squeeze(1)


net = SeedNet()
opt = torch.optim.SGD(net.parameters(), lr=0.01)
bce = nn.BCEWithLogitsLoss()
recent = collections.deque(maxlen=500)
net.train()
for n in range(1, 5001):
    bad = rng.random() < PRIOR_BAD
    logit = net(seed(bad))
    loss = bce(logit, torch.tensor([float(bad)]))
    opt.zero_grad()
    loss.backward()
    opt.step()
    recent.append(loss.item())
    if n % 500 == 0:
        print(f"{n:5d} seeds, running loss {np.mean(recent):.4f}", flush=True)

# acceptance test with as many bad seeds as good ones
net.eval()
with torch.no_grad():
    p_good = torch.cat([net(seed(False)) for _ in range(300)]).sigmoid()
    p_bad = torch.cat([net(seed(True)) for _ in range(300)]).sigmoid()
alarm = PRIOR_BAD
caught, spared = (p_bad > alarm).float().mean().item(), (p_good <= alarm).float().mean().item()
print(f"caught {caught:.3f}  spared {spared:.3f}  balanced accuracy {(caught + spared) / 2:.3f}")
