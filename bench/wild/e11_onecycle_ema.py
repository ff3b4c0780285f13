"""Traffic-light state at dusk with a mini ResNet.

style: Trainer class, OneCycle with a high peak rate, Nesterov SGD, gradient clipping, EMA of the weights
fault: none
broken: n/a
mended: 0.999
"""

import copy

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

STATES = ["red", "amber", "green", "off", "red+amber"]


def scene(state, rng):
    a = np.full((32, 32, 3), rng.uniform(0.1, 0.35), np.float32)
    a += rng.normal(0, 0.03, 3)
    x, y = rng.integers(4, 20), rng.integers(1, 8)
    a[y : y + 23, x : x + 9] = rng.uniform(0.02, 0.12)
    lamps = {"red": [(0.9, 0.15, 0.1)], "amber": [(0.9, 0.6, 0.1)], "green": [(0.1, 0.8, 0.4)]}
    yy, xx = np.mgrid[:32, :32]
    lit = {"off": [], "red+amber": ["red", "amber"]}.get(state, [state])
    for k, name in enumerate(("red", "amber", "green")):
        m = (yy - (y + 4 + 7 * k)) ** 2 + (xx - (x + 4)) ** 2 <= 9
        colour = np.array(lamps[name][0], np.float32)
        a[m] = colour * (rng.uniform(0.45, 1.0) if name in lit else rng.uniform(0.15, 0.25))
    for _ in range(3):  # other lights of the street
        cy, cx = rng.integers(0, 32, 2)
        a[(yy - cy) ** 2 + (xx - cx) ** 2 <= 2] = rng.uniform(0.2, 0.9, 3)
    return (a + rng.normal(0, 0.06, a.shape)).clip(0, 1).transpose(2, 0, 1)


def dataset(n, seed):
    rng = np.random.default_rng(seed)
    t = rng.integers(0, 5, n)
    return torch.tensor(np.stack([scene(STATES[i], rng) for i in t]), dtype=torch.float32), torch.tensor(t)


class Residual(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.a = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.na = nn.BatchNorm2d(cout)
        self.b = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.nb = nn.BatchNorm2d(cout)
        self.skip = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = torch.relu(self.na(self.a(x)))
        return torch.relu(self.nb(self.b(y)) + self.skip(x))


class EMA:
    def __init__(self, model, decay=0.97):
        self.model, self.decay = copy.deepcopy(model).eval(), decay
        for p in self.model.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for e, p in zip(self.model.state_dict().values(), model.state_dict().values()):
            if e.dtype.is_floating_point:
                e.mul_(self.decay).add_(p, alpha=1 - self.decay)
            else:
                e.copy_(p)


class Trainer:
    def __init__(self, model, train, val, epochs=8, peak=0.4):
        self.model, self.train_loader, self.val_loader, self.epochs = model, train, val, epochs
        self.opt = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
        self.sched = torch.optim.lr_scheduler.OneCycleLR(
            self.opt, max_lr=peak, epochs=epochs, steps_per_epoch=len(train), pct_start=0.3
        )
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.05)
        self.ema = EMA(model)

    def run(self):
        for epoch in range(self.epochs):
            self.model.train()
            total = n = 0
            for x, y in self.train_loader:
                self.opt.zero_grad(set_to_none=True)
                loss = self.loss(self.model(x), y)
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.opt.step()
                self.sched.step()
                self.ema.update(self.model)
                total, n = total + loss.item() * len(y), n + len(y)
            print(
                f"epoch {epoch}  lr {self.opt.param_groups[0]['lr']:.3f}  loss {total / n:.4f}  "
                f"acc {self.score(self.model):.4f}  ema acc {self.score(self.ema.model):.4f}"
            )
        return self.score(self.ema.model)

    @torch.no_grad()
    def score(self, model):
        model.eval()
        return sum((model(x).argmax(1) == y).sum().item() for x, y in self.val_loader) / len(self.val_loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(0)
    (xt, yt), (xv, yv) = dataset(1800, 1), dataset(700, 2)
    m, s = xt.mean((0, 2, 3), keepdim=True), xt.std((0, 2, 3), keepdim=True)
    train = DataLoader(TensorDataset((xt - m) / s, yt), batch_size=50, shuffle=True)
    val = DataLoader(TensorDataset((xv - m) / s, yv), batch_size=100)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16, 16, 2),
        Residual(16, 32, 2),
        Residual(32, 48, 2),
        nn.Flatten(),
        nn.Linear(48 * 16, 5),
    )
    print(f"final ema accuracy {Trainer(net, train, val).run():.4f}")
