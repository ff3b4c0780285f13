"""Does a leaf photo show a rust spot? Reported as F1 of the diseased class.

style: functional, dict of settings, one logit with BCE, numpy metric written by hand, Adam
fault: metric-averaging
broken: 0.310
mended: 0.990
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

S = dict(seed=8, healthy=1400, rusty=600, val_healthy=560, val_rusty=240, size=32, epochs=7, bs=50, lr=2e-3)


def leaf(rng, rusty):
    n = S["size"]
    yy, xx = np.mgrid[:n, :n]
    a = np.empty((3, n, n), np.float32)
    green = rng.uniform(0.35, 0.6)
    a[0], a[1], a[2] = green * 0.6, green, green * 0.45
    slope = rng.uniform(-1, 1)
    vein = np.abs((yy - n / 2) - slope * (xx - n / 2)) < 1
    a[:, vein] += 0.12
    if rng.random() < 0.5:  # a shadow, on either kind
        cx, cy, r = rng.uniform(4, n - 4, 2).tolist() + [rng.uniform(2, 4)]
        a[:, (xx - cx) ** 2 + (yy - cy) ** 2 < r * r] *= 0.7
    if rusty:
        for _ in range(rng.integers(1, 3)):
            cx, cy, r = rng.uniform(4, n - 4), rng.uniform(4, n - 4), rng.uniform(1.6, 3.0)
            m = (xx - cx) ** 2 + (yy - cy) ** 2 < r * r
            a[0, m] += 0.22
            a[1, m] -= 0.08
    a += rng.normal(0, 0.1, a.shape)
    return a


def make(rng, n_healthy, n_rusty):
    x = np.stack([leaf(rng, False) for _ in range(n_healthy)] + [leaf(rng, True) for _ in range(n_rusty)])
    y = np.r_[np.zeros(n_healthy), np.ones(n_rusty)]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


def f1_score(pred, true):
    tp = np.sum((pred == 1) & (true == 1))
    fp = np.sum((pred == 1) & (true == 0))
    fn = np.sum((pred == 0) & (true == 1))
    return 2 * tp / (2 * tp + fp + fn + 1e-9)


def build():
    def conv(i, o):
        return [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    return nn.Sequential(
        *conv(3, 16),
        *conv(16, 16),
        nn.MaxPool2d(2),
        *conv(16, 32),
        nn.MaxPool2d(2),
        *conv(32, 32),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 1),
    )


def fit_epoch(model, opt, loader):
    model.train()
    losses = []
    for x, y in loader:
        opt.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return np.mean(losses)


@torch.no_grad()
def validate(model, loader):
    model.eval()
    scores, losses = [], []
    for x, y in loader:
        logit = model(x).squeeze(1)
        losses.append(F.binary_cross_entropy_with_logits(logit, y).item())
        scores.append(f1_score((logit > 0).numpy().astype(int), y.numpy().astype(int)))
    return np.mean(losses), np.mean(scores)


def main():
    torch.manual_seed(S["seed"])
    rng = np.random.default_rng(S["seed"])
    xt, yt = make(rng, S["healthy"], S["rusty"])
    xv, yv = make(rng, S["val_healthy"], S["val_rusty"])
    mean, std = xt.mean((0, 2, 3), keepdim=True), xt.std((0, 2, 3), keepdim=True)
    xt, xv = (xt - mean) / std, (xv - mean) / std
    train = DataLoader(TensorDataset(xt, yt), batch_size=S["bs"], shuffle=True)
    val = DataLoader(TensorDataset(xv, yv), batch_size=S["bs"], shuffle=False)
    model = build()
    opt = torch.optim.Adam(model.parameters(), lr=S["lr"])
    for epoch in range(S["epochs"]):
        tl = fit_epoch(model, opt, train)
        vl, f1 = validate(model, val)
        print(f"epoch {epoch + 1}  train loss {tl:.4f}  val loss {vl:.4f}  val F1 {f1:.4f}")
    print(f"final F1 {f1:.3f}")


if __name__ == "__main__":
    main()
