"""Rare scratches found with a weighted sampler and a probability output.

style: industrial script, WeightedRandomSampler, BCELoss after a sigmoid, ROC and recall
fault: none
broken: n/a
mended: 0.96
"""

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

SIZE = 32


def parts(n, rate, seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < rate).astype(np.float32)
    images = rng.normal(0, 0.5, (n, 1, SIZE, SIZE)) + 0.5 * rng.normal(0, 1, (n, 1, SIZE, 1))
    for i in np.flatnonzero(labels):
        length, angle = rng.integers(9, 16), rng.uniform(0, np.pi)
        cy, cx = rng.uniform(8, SIZE - 8, 2)
        t = np.linspace(-length / 2, length / 2, 40)
        ys = (cy + t * np.sin(angle)).astype(int).clip(0, SIZE - 1)
        xs = (cx + t * np.cos(angle)).astype(int).clip(0, SIZE - 1)
        images[i, 0, ys, xs] += rng.uniform(1.6, 2.4)
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels)


class ScratchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
        )
        self.fc = nn.Linear(32, 1)

    def forward(self, x):
        return torch.sigmoid(self.fc(self.conv(x).flatten(1))).squeeze(1)


def main():
    torch.manual_seed(1)
    x, y = parts(3000, 0.06, 1)
    xt, yt = parts(800, 0.06, 2)
    weights = torch.where(y == 1, 1 / y.sum(), 1 / (1 - y).sum())
    sampler = WeightedRandomSampler(weights.double(), num_samples=1920, replacement=True)
    loader = DataLoader(TensorDataset(x, y), batch_size=48, sampler=sampler)
    model = ScratchNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.BCELoss()
    for epoch in range(6):
        model.train()
        losses = []
        for xb, yb in loader:
            loss = criterion(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            p = torch.cat([model(c) for c in xt.split(200)]).numpy()
        auc, balanced = roc_auc_score(yt.numpy(), p), balanced_accuracy_score(yt.numpy(), p > 0.5)
        print(f"epoch {epoch} loss {np.mean(losses):.3f} auc {auc:.3f} balanced accuracy {balanced:.3f}")


if __name__ == "__main__":
    main()
