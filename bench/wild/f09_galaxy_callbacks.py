"""Galaxy morphology on mock cut-outs (elliptical, spiral, edge-on, ring, merging pair).  I wrote a small
callback-driven trainer so that students can plug things in.

style: astronomer, event/callback trainer
fault: schedule-unit
broken: 0.200
mended: 0.998
"""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

KINDS = ("elliptical", "spiral", "edge-on", "ring", "pair")


def cutout(kind, rs, n=40):
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    x, y = x - rs.uniform(-2, 2), y - rs.uniform(-2, 2)
    pa = rs.uniform(0, np.pi)
    u, v = x * np.cos(pa) + y * np.sin(pa), -x * np.sin(pa) + y * np.cos(pa)
    if kind == 0:
        r = np.hypot(u, v / rs.uniform(0.6, 0.95))
        f = np.exp(-((r / rs.uniform(2.5, 4)) ** 0.8))
    elif kind == 1:
        r, t = np.hypot(u, v), np.arctan2(v, u)
        arms = 0.5 + 0.5 * np.cos(2 * (t - rs.choice([-1, 1]) * np.log(r + 1) * rs.uniform(1.8, 2.4)))
        f = 0.7 * np.exp(-r / 2) + np.exp(-r / 7) * arms**2 * 0.7
    elif kind == 2:
        f = np.exp(-np.abs(u) / rs.uniform(5, 7) - (v / rs.uniform(1.1, 1.7)) ** 2)
    elif kind == 3:
        r = np.hypot(u, v / rs.uniform(0.75, 1))
        f = 0.6 * np.exp(-r / 2) + 0.6 * np.exp(-(((r - rs.uniform(8, 11)) / 1.6) ** 2))
    else:
        d = rs.uniform(4, 6)
        f = np.exp(-np.hypot(u - d, v) / 2.2) + rs.uniform(0.6, 1) * np.exp(-np.hypot(u + d, v) / 2.2)
    f = f * rs.uniform(0.8, 1.3) + rs.normal(0, 0.10, f.shape)
    return np.arcsinh(3 * f)


def survey(n, seed):
    rs = np.random.RandomState(seed)
    k = rs.randint(0, len(KINDS), n)
    x = np.stack([cutout(i, rs) for i in k]).astype("float32")[:, None]
    return (x - 0.11) / 0.37, k


class Callback:
    def on_fit_begin(self, run): ...
    def on_epoch_begin(self, run): ...
    def on_batch_end(self, run): ...
    def on_epoch_end(self, run): ...


class Decay(Callback):
    """Multiply the learning rate by gamma, epoch after epoch."""

    def __init__(self, gamma):
        self.gamma = gamma

    def on_fit_begin(self, run):
        self.sched = torch.optim.lr_scheduler.ExponentialLR(run.opt, self.gamma)

    def on_batch_end(self, run):
        self.sched.step()


class Report(Callback):
    def on_epoch_begin(self, run):
        self.losses = []

    def on_batch_end(self, run):
        self.losses.append(run.loss)

    def on_epoch_end(self, run):
        print(f"epoch {run.epoch:2d}  loss {np.mean(self.losses):.3f}  valid {run.score():.3f}")


class Run:
    def __init__(self, net, opt, train, valid, callbacks):
        self.net, self.opt, self.train, self.valid, self.callbacks = net, opt, train, valid, callbacks
        self.criterion = nn.CrossEntropyLoss()

    def emit(self, event):
        for c in self.callbacks:
            getattr(c, event)(self)

    def fit(self, epochs):
        self.emit("on_fit_begin")
        for self.epoch in range(epochs):
            self.net.train()
            self.emit("on_epoch_begin")
            for x, y in self.train:
                loss = self.criterion(self.net(x), y)
                self.opt.zero_grad()
                loss.backward()
                self.opt.step()
                self.loss = loss.item()
                self.emit("on_batch_end")
            self.emit("on_epoch_end")

    @torch.no_grad()
    def score(self):
        self.net.eval()
        n = sum((self.net(x).argmax(1) == y).sum().item() for x, y in self.valid)
        return n / len(self.valid.dataset)


def loader(n, seed, **kw):
    x, k = survey(n, seed)
    return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(k)), **kw)


if __name__ == "__main__":
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 25, 64),
        nn.ReLU(),
        nn.Linear(64, len(KINDS)),
    )
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    run = Run(
        net, opt, loader(2000, 1, batch_size=40, shuffle=True), loader(600, 2, batch_size=200), [Decay(0.88), Report()]
    )
    run.fit(14)
    print("validation accuracy", round(run.score(), 4))
