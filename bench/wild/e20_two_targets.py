"""Frequency and damping of an oscillation from a noisy trace.

style: multi-task regression, GRU, learned uncertainty weights with an optimiser of their own, R2 in numpy
fault: none
broken: n/a
mended: 0.975
"""

import numpy as np
import torch
from torch import nn


def oscillations(n, seed, steps=50):
    rng = np.random.default_rng(seed)
    f, k = rng.uniform(0.25, 0.9, n), rng.uniform(0.01, 0.08, n)
    t = np.arange(steps)
    x = np.exp(-k[:, None] * t) * np.sin(f[:, None] * t + rng.uniform(0, 2 * np.pi, (n, 1)))
    x = x * rng.uniform(0.8, 1.2, (n, 1)) + rng.normal(0, 0.08, x.shape)
    return x.astype(np.float32), np.stack([f, k], 1).astype(np.float32)


class Regressor(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(1, 24, 5, stride=2, padding=2), nn.ReLU())
        self.gru = nn.GRU(24, width, batch_first=True, bidirectional=True)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, 32), nn.ReLU(), nn.Linear(32, 1)) for _ in range(2)
        )

    def forward(self, x):
        h, _ = self.gru(self.conv(x[:, None]).transpose(1, 2))
        h = h.mean(1)
        return torch.cat([head(h) for head in self.heads], 1)


def r2(pred, true):
    return 1 - ((pred - true) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)


torch.manual_seed(20)
xt, yt = oscillations(3000, 0)
xv, yv = oscillations(800, 1)
xm, xs, ym, ys = xt.mean(), xt.std(), yt.mean(0), yt.std(0)
xt, xv = torch.tensor((xt - xm) / xs), torch.tensor((xv - xm) / xs)
yt, yv = torch.tensor((yt - ym) / ys), (yv - ym) / ys

net = Regressor()
log_var = nn.Parameter(torch.zeros(2))
opt_net = torch.optim.Adam(net.parameters(), lr=3e-3)
opt_weights = torch.optim.SGD([log_var], lr=0.02)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(opt_net, mode="max", factor=0.3, patience=2)

for epoch in range(16):
    net.train()
    shown = np.zeros(2)
    for idx in torch.randperm(len(xt)).split(60):
        error = ((net(xt[idx]) - yt[idx]) ** 2).mean(0)
        loss = (error * torch.exp(-log_var) + log_var).sum() / 2
        opt_net.zero_grad()
        opt_weights.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        opt_net.step()
        opt_weights.step()
        shown += error.detach().numpy() * len(idx) / len(xt)
    net.eval()
    with torch.no_grad():
        score = r2(net(xv).numpy(), yv)
    plateau.step(score.mean())
    print(
        f"epoch {epoch + 1:2d}  mse {shown.round(4)}  sigma^2 {log_var.exp().detach().numpy().round(3)}  R2 {score.round(4)}"
    )
print(f"final mean R2 {score.mean():.4f}")
