"""Metric learning: learn an embedding on the digits 0-6 and retrieve the digits 7, 8, 9 that were never shown.
Recall@1 on the unseen digits is the only number I care about.

style: metric-learning researcher, proxy-anchor style loss as autograd-friendly function, disjoint test classes
fault: none
mended: 0.947
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(17)
rng = np.random.default_rng(17)

digits = load_digits()
X = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
X = F.interpolate(X, scale_factor=3, mode="bicubic", align_corners=False)
y = torch.tensor(digits.target)
seen, unseen = y < 7, y >= 7
Xs, ys, Xu, yu = X[seen], y[seen], X[unseen], y[unseen]


class Embed(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.GroupNorm(4, 24),
            nn.GELU(),
            nn.Conv2d(24, 24, 3, padding=1, groups=4),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.GroupNorm(4, 48),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(48 * 36, dim, bias=False),
        )

    def forward(self, x):
        return F.normalize(self.net(x), dim=1)


class ProxyAnchor(nn.Module):
    def __init__(self, classes, dim=48, margin=0.1, alpha=24.0):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(classes, dim))
        self.margin, self.alpha = margin, alpha

    def forward(self, e, t):
        cos = e @ F.normalize(self.proxies, dim=1).T
        pos = F.one_hot(t, len(self.proxies)).bool()
        lp = torch.where(pos, -self.alpha * (cos - self.margin), torch.full_like(cos, -torch.inf))
        ln = torch.where(pos, torch.full_like(cos, -torch.inf), self.alpha * (cos + self.margin))
        present = pos.any(0)
        zero = cos.new_zeros(1, cos.shape[1])
        p = torch.cat([zero, lp]).logsumexp(0)[present].mean()
        n = torch.cat([zero, ln]).logsumexp(0).mean()
        return p + n


def pk_batches(labels, p=7, k=10):
    """p classes x k samples, the usual PK sampler."""
    pools = [rng.permutation(np.flatnonzero(labels.numpy() == c)) for c in range(7)]
    for j in range(min(map(len, pools)) // k):
        yield torch.as_tensor(np.concatenate([pool[j * k : (j + 1) * k] for pool in pools[:p]]))


@torch.no_grad()
def recall_at_1(model, x, t):
    model.eval()
    e = torch.cat([model(b) for b in x.split(200)])
    sim = e @ e.T
    sim.fill_diagonal_(-2)
    return (t[sim.argmax(1)] == t).float().mean().item()


model, crit = Embed(), ProxyAnchor(7)
opt = torch.optim.AdamW(
    [
        {"params": model.parameters(), "lr": 6e-4},
        {"params": crit.parameters(), "lr": 6e-2},
    ],
    weight_decay=1e-4,
)

print("before training: unseen R@1 =", round(recall_at_1(model, Xu, yu), 4))
for epoch in range(12):
    model.train()
    losses = []
    for idx in pk_batches(ys):
        x = Xs[idx] + 0.05 * torch.randn(len(idx), 1, 24, 24)
        loss = crit(model(x), ys[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    print(
        f"epoch {epoch:2d} loss {np.mean(losses):.3f}  seen R@1 {recall_at_1(model, Xs, ys):.4f}  "
        f"unseen R@1 {recall_at_1(model, Xu, yu):.4f}"
    )

print("unseen recall@1:", recall_at_1(model, Xu, yu))
