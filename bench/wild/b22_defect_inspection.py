"""Scratches on a surface: a few defective parts among many good ones.

style: industrial script with a config dataclass and logging to the console
fault: imbalance
broken: 0.50
mended: 0.82
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from torch import nn
from torch.utils.data import DataLoader, Dataset

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
log = logging.getLogger("inspect")


@dataclass
class Config:
    size: int = 32
    n_train: int = 2400
    n_test: int = 1500
    defect_rate: float = 0.03
    batch_size: int = 48
    epochs: int = 6
    lr: float = 1e-3
    seed: int = 9


class Surface(Dataset):
    """Brushed metal; a defective part carries a faint short scratch."""

    def __init__(self, n, rate, size, seed):
        rng = np.random.default_rng(seed)
        self.labels = (rng.random(n) < rate).astype(np.int64)
        self.images = np.empty((n, 1, size, size), dtype=np.float32)
        for i, label in enumerate(self.labels):
            grain = rng.normal(0, 1, (size, 1)) * 0.5 + rng.normal(0, 0.5, (size, size))
            if label:
                length, angle = rng.integers(9, 16), rng.uniform(0, np.pi)
                cy, cx = rng.uniform(8, size - 8, 2)
                t = np.linspace(-length / 2, length / 2, 40)
                ys = (cy + t * np.sin(angle)).astype(int).clip(0, size - 1)
                xs = (cx + t * np.cos(angle)).astype(int).clip(0, size - 1)
                grain[ys, xs] += rng.uniform(1.5, 2.3)
            self.images[i, 0] = grain

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i]), self.labels[i]


class Inspector(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
        )
        self.decision = nn.Linear(32, 2)

    def forward(self, x):
        return self.decision(self.encoder(x).flatten(1))


def evaluate(model, loader):
    model.eval()
    truth, guess = [], []
    with torch.no_grad():
        for x, y in loader:
            guess.append(model(x).argmax(1))
            truth.append(y)
    return torch.cat(truth).numpy(), torch.cat(guess).numpy()


def main(cfg):
    torch.manual_seed(cfg.seed)
    train = DataLoader(
        Surface(cfg.n_train, cfg.defect_rate, cfg.size, 1), batch_size=cfg.batch_size, shuffle=True, drop_last=True
    )
    test = DataLoader(Surface(cfg.n_test, cfg.defect_rate, cfg.size, 2), batch_size=200)
    model = Inspector()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    for epoch in range(cfg.epochs):
        model.train()
        total = 0.0
        for x, y in train:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        truth, guess = evaluate(model, test)
        log.info("epoch %d loss %.4f accuracy %.4f", epoch, total / len(train), (truth == guess).mean())
    log.info("balanced accuracy %.4f", balanced_accuracy_score(truth, guess))
    log.info("confusion\n%s", confusion_matrix(truth, guess))


if __name__ == "__main__":
    main(Config())
