"""Two-digit meter: one shared embedding, a head for the tens and one for the ones.

style: multi-task, config dataclass, squeeze module with a reduction factor
fault: under-capacity
accept: underfitting
broken: 0.07
mended: 0.95
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


@dataclass
class Config:
    width: int = 32
    reduction: int = 16
    epochs: int = 9
    batch_size: int = 40
    lr: float = 2e-3
    n_train: int = 1800
    n_val: int = 500


cfg = Config()


def compose(images, labels, n, seed):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, len(images), (2, n))
    canvas = np.zeros((n, 1, 10, 20), dtype=np.float32)
    canvas[:, 0, 1:9, 1:9] = images[left]
    canvas[:, 0, 1:9, 11:19] = images[right]
    return torch.tensor(canvas / 8 - 0.5), torch.tensor(labels[left]), torch.tensor(labels[right])


class Squeeze(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.fc = nn.Linear(channels, channels // reduction)

    def forward(self, x):
        return F.gelu(self.fc(x))


class MeterNet(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        w = cfg.width
        self.body = nn.Sequential(
            nn.Conv2d(1, w, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(w, w, 3, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(w * 50, w),
            nn.GELU(),
        )
        self.squeeze = Squeeze(w, cfg.reduction)
        self.tens = nn.Linear(w // cfg.reduction, 10)
        self.ones = nn.Linear(w // cfg.reduction, 10)

    def forward(self, x):
        z = self.squeeze(self.body(x))
        return self.tens(z), self.ones(z)


def batches(n, size, shuffle=True):
    order = torch.randperm(n) if shuffle else torch.arange(n)
    yield from order.split(size)


def evaluate(model, data):
    x, tens, ones = data
    model.eval()
    with torch.no_grad():
        t, o = model(x)
    t, o = t.argmax(1) == tens, o.argmax(1) == ones
    return t.float().mean().item(), o.float().mean().item(), (t & o).float().mean().item()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    images, labels = digits.images[order].astype(np.float32), digits.target[order]
    train = compose(images[:1400], labels[:1400], cfg.n_train, 1)
    val = compose(images[1400:], labels[1400:], cfg.n_val, 2)
    model = MeterNet(cfg)
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    for epoch in range(cfg.epochs):
        model.train()
        meter = []
        for idx in batches(cfg.n_train, cfg.batch_size):
            t, o = model(train[0][idx])
            loss = F.cross_entropy(t, train[1][idx]) + F.cross_entropy(o, train[2][idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.append(loss.item())
        train_scores, val_scores = evaluate(model, train), evaluate(model, val)
        print(
            f"[{epoch + 1}/{cfg.epochs}] loss {np.mean(meter):.3f} train both {train_scores[2]:.3f} "
            f"val tens {val_scores[0]:.3f} ones {val_scores[1]:.3f} both {val_scores[2]:.3f}"
        )


if __name__ == "__main__":
    main()
