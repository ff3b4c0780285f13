"""Counting nuclei (0 to 8) in small fluorescence tiles.  A count is an ordered thing, so I use cumulative
"more than k?" logits (CORAL) instead of a plain softmax.

style: research notebook export, ordinal regression, sum pooling
fault: none
mended: 1.000
"""

# %%
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

np.random.seed(21)
torch.manual_seed(21)
KMAX = 8
SIDE = 40

# %% synthetic tiles: gaussian spots with different brightness, never closer than 6 px
yy, xx = np.mgrid[0:SIDE, 0:SIDE]


def tile(k):
    pts = []
    while len(pts) < k:
        p = np.random.uniform(4, SIDE - 4, 2)
        if all(np.hypot(*(p - q)) > 6.5 for q in pts):
            pts.append(p)
    im = np.random.normal(0.1, 0.03, (SIDE, SIDE)) + 0.1 * np.random.rand() * xx / SIDE
    for p in pts:
        s = np.random.uniform(1.3, 1.9)
        im += np.random.uniform(0.5, 1.0) * np.exp(-((yy - p[0]) ** 2 + (xx - p[1]) ** 2) / (2 * s * s))
    return im


def dataset(n):
    k = np.random.randint(0, KMAX + 1, n)
    x = np.stack([tile(v) for v in k])[:, None]
    return torch.from_numpy(x).float(), torch.from_numpy(k)


xtr, ktr = dataset(2600)
xva, kva = dataset(700)
m, s = xtr.mean(), xtr.std()
xtr, xva = (xtr - m) / s, (xva - m) / s


# %%
class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.SiLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(24, 1, 1),
        )
        self.slope = nn.Parameter(torch.tensor(1.0))
        self.cut = nn.Parameter(torch.arange(KMAX).float() + 0.5)

    def forward(self, x):
        density = F.softplus(self.f(x) - 3.0)
        count = density.sum((1, 2, 3)) / 10
        return F.softplus(self.slope) * 3 * (count[:, None] - self.cut[None])


def levels(k):
    return (k[:, None] > torch.arange(KMAX)[None]).float()


net = Counter()
opt = torch.optim.Adam(net.parameters(), lr=3e-3, betas=(0.8, 0.99))
E_ = 16
sch = torch.optim.lr_scheduler.OneCycleLR(opt, 6e-3, total_steps=E_ * (len(xtr) // 50))

# %%
for ep in range(E_):
    net.train()
    for idx in torch.randperm(len(xtr)).split(50):
        if len(idx) < 50:
            continue
        z = net(xtr[idx])
        loss = F.binary_cross_entropy_with_logits(z, levels(ktr[idx]), reduction="none").sum(1).mean()
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        opt.step()
        sch.step()
    net.eval()
    with torch.no_grad():
        pred = (net(xva) > 0).sum(1)
    print(
        ep,
        "loss %.3f" % loss.item(),
        "exact %.3f" % (pred == kva).float().mean().item(),
        "MAE %.3f" % (pred - kva).abs().float().mean().item(),
    )

# %%
print("exact count accuracy", (pred == kva).float().mean().item())
