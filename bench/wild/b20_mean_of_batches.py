"""Odd or even? A binary classifier whose test accuracy is the mean over the batches.

style: reference implementation style, metrics dict, config at the top
source: https://github.com/mlcommons/training/issues/89
fault: metric-averaging
broken: n/a
mended: 0.94
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BATCH = 250
EPOCHS = 7
LR = 2e-3


def build_sets(seed):
    """Training set in random order; the test set sorted by digit, as the files lie in the folders."""
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    digit = torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, test = order[:1292], order[1292:]
    test = test[digit[test].argsort(stable=True)]
    target = (digit % 2).float()
    return TensorDataset(x[train], target[train]), TensorDataset(x[test], target[test])


class OddNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 1)
        )

    def forward(self, x):
        return self.net(x).squeeze(1)


def accuracy(logits, target):
    return ((logits > 0).float() == target).float().mean().item()


def run_epoch(model, loader, criterion, optimizer=None):
    model.train(optimizer is not None)
    metrics = {"loss": [], "acc": []}
    with torch.set_grad_enabled(optimizer is not None):
        for x, y in loader:
            logits = model(x)
            loss = criterion(logits, y)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            metrics["loss"].append(loss.item())
            metrics["acc"].append(accuracy(logits, y))
    return {k: float(np.mean(v)) for k, v in metrics.items()}


def main():
    torch.manual_seed(0)
    train_set, test_set = build_sets(seed=0)
    train_loader = DataLoader(train_set, batch_size=34, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=BATCH)
    model = OddNet()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for epoch in range(EPOCHS):
        train = run_epoch(model, train_loader, criterion, optimizer)
        test = run_epoch(model, test_loader, criterion)
        print(f"{epoch}: " + " ".join(f"train_{k} {v:.4f}" for k, v in train.items()), end=" ")
        print(" ".join(f"test_{k} {v:.4f}" for k, v in test.items()))


if __name__ == "__main__":
    main()
