"""Leaf spot diagnosis with an honest error bar: keep dropout alive at prediction time and average the stochastic
passes (Gal & Ghahramani).  The agronomist wants the confidence next to each verdict.

style: Bayesian deep learning PhD student, MC dropout, spatial dropout
fault: none
mended: 1.000
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

rng = np.random.default_rng(41)
torch.manual_seed(41)
DIAG = ["healthy", "rust", "target spot", "mildew", "vein yellowing"]
S = 36


def leaf(k):
    yy, xx = np.mgrid[:S, :S].astype(float)
    g = np.array([0.22, 0.48, 0.18])[:, None, None] * rng.uniform(0.8, 1.2)
    im = g * (1 + 0.12 * gaussian_filter(rng.normal(size=(S, S)), 2) * 4)
    a = rng.uniform(-0.4, 0.4)
    vein = np.abs((xx - S / 2) * np.cos(a) + (yy - S / 2) * np.sin(a))
    side = np.abs(((yy + vein * 0.7) % 9) - 4.5)
    im = im + 0.08 * ((vein < 1) | (side < 0.7))
    if k == 1:
        for _ in range(rng.integers(5, 10)):
            c = rng.uniform(3, S - 3, 2)
            w = np.exp(-((yy - c[0]) ** 2 + (xx - c[1]) ** 2) / 3)
            im = im * (1 - w) + np.array([0.65, 0.35, 0.1])[:, None, None] * w
    elif k == 2:
        for _ in range(rng.integers(1, 3)):
            c = rng.uniform(8, S - 8, 2)
            r = np.hypot(yy - c[0], xx - c[1])
            w = (r < 6) * (0.5 + 0.5 * np.cos(r * 2))
            im = im * (1 - w) + np.array([0.4, 0.3, 0.2])[:, None, None] * w
    elif k == 3:
        w = np.clip(gaussian_filter(rng.normal(size=(S, S)), 3) * 9 - 0.3, 0, 0.7)
        im = im * (1 - w) + 0.85 * w
    elif k == 4:
        w = 0.6 * np.exp(-np.minimum(vein, side) / 1.5)
        im = im * (1 - w) + np.array([0.75, 0.7, 0.2])[:, None, None] * w
    return (im + rng.normal(0, 0.03, im.shape)).clip(0, 1)


def harvest(n):
    k = rng.integers(0, 5, n)
    x = torch.tensor(np.stack([leaf(i) for i in k]), dtype=torch.float32)
    return (x - torch.tensor([0.28, 0.50, 0.22])[:, None, None]) / 0.12, torch.tensor(k)


class Diagnostician(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 24, 5, padding=2)
        self.c2 = nn.Conv2d(24, 40, 3, padding=1)
        self.c3 = nn.Conv2d(40, 40, 3, padding=1)
        self.l1 = nn.Linear(40 * 16, 192)
        self.l2 = nn.Linear(192, 5)
        self.spatial = nn.Dropout2d(0.1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 3)
        x = self.spatial(F.max_pool2d(F.relu(self.c2(x)), 2))
        x = F.adaptive_max_pool2d(F.relu(self.c3(x)), 4)
        x = self.drop(F.relu(self.l1(self.drop(x.flatten(1)))))
        return self.l2(x)


def committee(net, x, members=10):
    net.eval()
    for m in net.modules():
        if isinstance(m, (nn.Dropout, nn.Dropout2d)):
            m.train()
    with torch.no_grad():
        p = torch.stack([net(x).softmax(1) for _ in range(members)])
    mean = p.mean(0)
    entropy = -(mean * mean.clamp_min(1e-9).log()).sum(1)
    return mean, entropy


x_tr, k_tr = harvest(1500)
x_te, k_te = harvest(400)
net = Diagnostician()
opt = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-5)
for epoch in range(7):
    net.train()
    ls = []
    for i in torch.randperm(len(x_tr)).split(32):
        loss = F.cross_entropy(net(x_tr[i]), k_tr[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        ls.append(loss.item())
    mean, ent = committee(net, x_te)
    ok = mean.argmax(1) == k_te
    print(
        f"epoch {epoch:2d} loss {np.mean(ls):.3f} committee accuracy {ok.float().mean():.3f} "
        f"entropy right/wrong {ent[ok].mean():.2f}/{ent[~ok].mean():.2f}"
    )

mean, ent = committee(net, x_te, members=40)
print("committee accuracy", (mean.argmax(1) == k_te).float().mean().item())
