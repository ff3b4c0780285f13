"""Estimate the age of a tree from a picture of its rings; the field notes are rough.

style: noisy regression, Huber loss, heavy dropout, SGD with warm restarts
fault: none
broken: n/a
mended: 0.627
"""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
SIZE = 40
gy, gx = np.mgrid[:SIZE, :SIZE].astype(np.float32)


def trunk(age, rng):
    cx, cy = SIZE / 2 + rng.normal(0, 2, 2)
    r = np.hypot((gx - cx) * rng.uniform(0.9, 1.1), gy - cy)
    rings = np.cos(2 * np.pi * r * age / 55 + rng.uniform(0, 6.28))
    a = 0.5 + 0.18 * rings + rng.normal(0, 0.1, r.shape)
    a[r > 18] = rng.uniform(0.1, 0.3)
    return a


def forest(n, seed):
    rng = np.random.default_rng(seed)
    age = rng.uniform(4, 18, n)
    x = np.stack([trunk(a, rng) for a in age])[:, None]
    noted = age + rng.normal(0, 2.8, n)
    return x.astype(np.float32), noted.astype(np.float32)


def rmse_r2(pred, true):
    err = pred - true
    return err.pow(2).mean().sqrt().item(), 1 - err.pow(2).mean().item() / true.var(unbiased=False).item()


class RingNet(nn.Module):
    def __init__(self):
        super().__init__()
        c = [1, 16, 32, 48]
        blocks = []
        for i, o in zip(c, c[1:]):
            blocks += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        self.conv = nn.Sequential(*blocks)
        self.mlp = nn.Sequential(nn.Dropout(0.5), nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x):
        return self.mlp(self.conv(x).mean((2, 3)))[:, 0]


def main():
    torch.manual_seed(55)
    (xt, yt), (xv, yv) = forest(2000, 1), forest(600, 2)
    mx, sx, my, sy = xt.mean(), xt.std(), yt.mean(), yt.std()
    train = TensorDataset(torch.from_numpy((xt - mx) / sx), torch.from_numpy((yt - my) / sy))
    xv, target = torch.from_numpy((xv - mx) / sx), torch.from_numpy(yv)
    dl = DataLoader(train, batch_size=40, shuffle=True, drop_last=True)
    net = RingNet()
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=4 * len(dl), T_mult=2)
    huber = nn.HuberLoss()
    for epoch in range(12):
        net.train()
        tot = 0.0
        for x, y in dl:
            if torch.rand(()) < 0.5:
                x = x.flip(3)
            loss = huber(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            tot += loss.item() / len(dl)
        net.eval()
        with torch.no_grad():
            p = torch.cat([net(c) for c in xv.split(100)])
        vl = huber(p, (target - float(my)) / float(sy)).item()
        rmse, r2 = rmse_r2(p * float(sy) + float(my), target)
        print(f"epoch {epoch:2d}  train {tot:.4f}  val {vl:.4f}  rmse {rmse:.2f} years  R2 {r2:.3f}", flush=True)


if __name__ == "__main__":
    main()
