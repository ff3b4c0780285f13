"""Which of five plants does this leaf silhouette belong to?

style: class Trainer with a milestone schedule, hand-written CNN with residual links
fault: schedule-unit
accept: learning-rate-low
broken: 0.222
mended: 0.984
"""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def leaf(plant, rng, size=36):
    """Polar outline r(phi) with as many lobes and as much elongation as the plant has."""
    lobes, depth, long = [(3, 0.22, 1.1), (5, 0.20, 1.0), (4, 0.20, 1.3), (7, 0.14, 1.0), (6, 0.17, 1.25)][plant]
    depth *= rng.uniform(0.75, 1.25)
    long *= rng.uniform(0.9, 1.1)
    turn, base = rng.uniform(0, 2 * math.pi), rng.uniform(9, 12)
    cx, cy = size / 2 + rng.uniform(-3, 3), size / 2 + rng.uniform(-3, 3)
    pts = []
    for k in range(72):
        phi = 2 * math.pi * k / 72
        r = base * (1 + depth * math.cos(lobes * phi)) + rng.normal(0, 0.35)
        u, v = r * math.cos(phi) * math.sqrt(long), r * math.sin(phi) / math.sqrt(long)
        pts.append((cx + u * math.cos(turn) - v * math.sin(turn), cy + u * math.sin(turn) + v * math.cos(turn)))
    im = Image.new("L", (size, size), int(rng.uniform(150, 210)))
    ImageDraw.Draw(im).polygon(pts, fill=int(rng.uniform(60, 125)))
    a = np.asarray(im, np.float32) + rng.normal(0, 18, (size, size))
    return np.clip(a, 0, 255)


def leaves(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, n)
    x = np.stack([leaf(k, rng) for k in y])[:, None]
    return TensorDataset(torch.tensor((x - 140) / 45, dtype=torch.float32), torch.tensor(y))


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1, bias=False),
            nn.BatchNorm2d(c),
        )

    def forward(self, x):
        return torch.relu(x + self.f(x))


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Residual(16),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        Residual(32),
        nn.Conv2d(32, 64, 3, 2, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


class Trainer:
    def __init__(self, model, train, val, max_epochs=14, lr=0.05):
        self.model = model
        self.train_loader = DataLoader(train, batch_size=32, shuffle=True)
        self.val_loader = DataLoader(val, batch_size=128)
        self.max_epochs = max_epochs
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, milestones=[7, 11], gamma=0.1)

    def fit(self):
        for epoch in range(self.max_epochs):
            self.model.train()
            self.running = []
            for x, y in self.train_loader:
                self.optimizer.zero_grad()
                loss = self.loss(self.model(x), y)
                loss.backward()
                self.optimizer.step()
                self.scheduler.step()
                self.running.append(loss.item())
            self.evaluate(epoch)

    def evaluate(self, epoch):
        self.model.eval()
        n = hit = tot = 0
        with torch.no_grad():
            for x, y in self.val_loader:
                z = self.model(x)
                tot += self.loss(z, y).item() * len(y)
                hit += (z.argmax(1) == y).sum().item()
                n += len(y)
        print(
            f"Epoch {epoch:02d} train_loss={np.mean(self.running):.4f} val_loss={tot / n:.4f} val_acc={hit / n:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(2)
    Trainer(network(), leaves(1600, 10), leaves(500, 11)).fit()
