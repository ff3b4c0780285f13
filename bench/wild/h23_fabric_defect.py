"""Fabric inspection with a single output neuron: is there a broken thread in this patch or not? The loss says it
works, the printed accuracy says coin flip.

style: textile engineer, one-logit binary model, small functions
fault: metric-wrong
broken: 0.503
mended: 0.997
"""

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(17)
torch.manual_seed(17)
S = 32


def patch(defect):
    yy, xx = np.mgrid[:S, :S]
    pw, ph = np.random.uniform(3.5, 5), np.random.uniform(3.5, 5)
    w = (
        0.5
        + 0.2 * np.sin(2 * np.pi * xx / pw + np.random.rand() * 6)
        + 0.2 * np.sin(2 * np.pi * yy / ph + np.random.rand() * 6)
    )
    if defect:
        if np.random.rand() < 0.5:
            r = np.random.randint(5, S - 6)
            a = np.random.randint(0, 12)
            w[r : r + 2, a : a + np.random.randint(12, 20)] = 0.5
        else:
            c = np.random.randint(5, S - 6)
            a = np.random.randint(0, 12)
            w[a : a + np.random.randint(12, 20), c : c + 2] = 0.5
    w = w + np.random.randn(S, S) * 0.07
    return w.astype(np.float32)


def rolls(n):
    y = (np.random.rand(n) < 0.5).astype(np.float32)
    x = np.stack([patch(bool(v)) for v in y])[:, None]
    return TensorDataset(torch.from_numpy((x - 0.5) / 0.22), torch.from_numpy(y))


class DefectNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(32 * 64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 1)
        )

    def forward(self, x):
        return self.classifier(self.features(x))


def binary_accuracy(logits, target):
    predicted = torch.round(torch.sigmoid(logits))
    return (predicted == target).float().mean().item()


def train_step(model, x, y, opt, criterion):
    opt.zero_grad()
    logits = model(x)
    loss = criterion(logits, y.unsqueeze(1))
    loss.backward()
    opt.step()
    return loss.item()


def evaluate(model, loader, criterion):
    model.eval()
    losses, accs, sizes = [], [], []
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            losses.append(criterion(logits, y.unsqueeze(1)).item())
            accs.append(binary_accuracy(logits, y))
            sizes.append(len(y))
    return np.average(losses, weights=sizes), np.average(accs, weights=sizes)


train_loader = DataLoader(rolls(1800), batch_size=60, shuffle=True)
val_loader = DataLoader(rolls(600), batch_size=60)
model = DefectNet()
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.BCEWithLogitsLoss()
for epoch in range(1, 13):
    model.train()
    tl = np.mean([train_step(model, x, y, opt, criterion) for x, y in train_loader])
    vl, va = evaluate(model, val_loader, criterion)
    print(f"epoch {epoch:2d}  train loss {tl:.4f}  val loss {vl:.4f}  val accuracy {va:.4f}")
print(f"accuracy {va:.4f}")
