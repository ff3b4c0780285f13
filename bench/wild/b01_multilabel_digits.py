"""Multi-label tagging of collages with one to three digits, config class and F1 as on Kaggle.

style: kaggle kernel with a config class, dict batches, loss as nn.Module
source: https://github.com/lopuhin/kaggle-imet-2019/issues/3
fault: softmax-before-loss
broken: 0.00
mended: 0.93
"""

import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from torch import nn
from torch.utils.data import DataLoader, Dataset


class CFG:
    seed = 42
    size = 32
    n_train = 1600
    n_valid = 400
    bs = 64
    epochs = 8
    lr = 1e-3
    thr = 0.5
    n_tags = 10


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def make_collages(images, labels, n, rng):
    xs = np.zeros((n, 1, CFG.size, CFG.size), dtype=np.float32)
    ys = np.zeros((n, CFG.n_tags), dtype=np.float32)
    cells = [(r, c) for r in (2, 20) for c in (2, 20)]
    for i in range(n):
        k = rng.integers(1, 4)
        for cell in rng.permutation(4)[:k]:
            j = rng.integers(len(images))
            r, c = cells[cell]
            r, c = r + rng.integers(-2, 3), c + rng.integers(-2, 3)
            xs[i, 0, r : r + 8, c : c + 8] = images[j] / 16.0
            ys[i, labels[j]] = 1
    return (xs - 0.12) / 0.28, ys


class TagDataset(Dataset):
    def __init__(self, xs, ys):
        self.xs, self.ys = xs, ys

    def __len__(self):
        return len(self.xs)

    def __getitem__(self, i):
        return {"image": torch.from_numpy(self.xs[i]), "tags": torch.from_numpy(self.ys[i])}


class Tagger(nn.Module):
    def __init__(self, n_tags):
        super().__init__()

        def block(cin, cout):
            return nn.Sequential(
                nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)
            )

        self.body = nn.Sequential(
            block(1, 16), nn.MaxPool2d(2), block(16, 32), block(32, 64), nn.MaxPool2d(2), block(64, 64)
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(64, n_tags)
        self.act = nn.Sigmoid()

    def forward(self, x):
        x = self.pool(self.body(x)).flatten(1)
        return self.act(self.head(x))


class TagLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.bce = nn.BCEWithLogitsLoss()

    def forward(self, out, batch):
        return self.bce(out, batch["tags"])


def train_fn(loader, model, criterion, optimizer, scheduler):
    model.train()
    losses = []
    for batch in loader:
        optimizer.zero_grad()
        loss = criterion(model(batch["image"]), batch)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return np.mean(losses)


def valid_fn(loader, model, criterion):
    model.eval()
    losses, preds, gts = [], [], []
    with torch.no_grad():
        for batch in loader:
            out = model(batch["image"])
            losses.append(criterion(out, batch).item())
            preds.append(out.numpy())
            gts.append(batch["tags"].numpy())
    preds, gts = np.concatenate(preds), np.concatenate(gts)
    return np.mean(losses), f1_score(gts, preds > CFG.thr, average="samples", zero_division=0)


def main():
    seed_everything(CFG.seed)
    digits = load_digits()
    rng = np.random.default_rng(CFG.seed)
    order = rng.permutation(len(digits.images))
    tr, va = order[:1400], order[1400:]
    train = TagDataset(*make_collages(digits.images[tr], digits.target[tr], CFG.n_train, rng))
    valid = TagDataset(*make_collages(digits.images[va], digits.target[va], CFG.n_valid, rng))
    train_loader = DataLoader(train, batch_size=CFG.bs, shuffle=True, drop_last=True)
    valid_loader = DataLoader(valid, batch_size=CFG.bs * 2)
    model = Tagger(CFG.n_tags)
    criterion = TagLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=CFG.lr, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=CFG.lr * 3, epochs=CFG.epochs, steps_per_epoch=len(train_loader)
    )
    best = 0
    for epoch in range(CFG.epochs):
        tl = train_fn(train_loader, model, criterion, optimizer, scheduler)
        vl, f1 = valid_fn(valid_loader, model, criterion)
        best = max(best, f1)
        print(f"epoch {epoch + 1}: train {tl:.4f} valid {vl:.4f} f1 {f1:.4f}")
    print(f"best f1 {best:.4f}")


if __name__ == "__main__":
    main()
