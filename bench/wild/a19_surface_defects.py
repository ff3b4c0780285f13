"""Finds scratches and pits on metal surfaces, as a camera on a production line would see them.

style: small project script with scikit-learn metrics
fault: imbalance
"""

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, classification_report
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = ["ok", "scratch", "pit"]


def surface(kind, rng, size=32):
    rows = rng.normal(0, 0.25, (size, 1)) + rng.normal(0, 0.25, (size, size))
    image = rows + rng.uniform(-0.3, 0.3)
    yy, xx = np.mgrid[0:size, 0:size]
    if kind == 1:
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-8, 8)
        distance = (xx - size / 2) * np.sin(angle) - (yy - size / 2) * np.cos(angle) - offset
        along = (xx - size / 2) * np.cos(angle) + (yy - size / 2) * np.sin(angle)
        mask = (np.abs(distance) < 0.8) & (np.abs(along) < rng.uniform(5, 10))
        image[mask] += rng.uniform(0.8, 1.2)
    elif kind == 2:
        cy, cx, r = rng.uniform(6, 26), rng.uniform(6, 26), rng.uniform(1.5, 3)
        image -= rng.uniform(0.8, 1.2) * np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / (2 * r * r))
    return image


def make(counts, seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), counts)
    images = np.stack([surface(k, rng) for k in labels])[:, None]
    return TensorDataset(torch.tensor(images / 0.4, dtype=torch.float32), torch.tensor(labels))


def build():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 3),
    )


def predict(model, loader):
    model.eval()
    predictions, targets = [], []
    with torch.no_grad():
        for x, y in loader:
            predictions.extend(model(x).argmax(1).tolist())
            targets.extend(y.tolist())
    return targets, predictions


if __name__ == "__main__":
    torch.manual_seed(4)
    train_loader = DataLoader(make([1700, 48, 40], 0), batch_size=64, shuffle=True)
    val_loader = DataLoader(make([400, 160, 160], 1), batch_size=128)
    model = build()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(8):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        targets, predictions = predict(model, val_loader)
        print(f"epoch {epoch}: loss {loss.item():.3f} bal. acc. {balanced_accuracy_score(targets, predictions):.3f}")
    print(classification_report(targets, predictions, target_names=CLASSES, zero_division=0))
