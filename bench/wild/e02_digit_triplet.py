"""Embedding of handwritten digits learnt with batch-hard triplets, read out by nearest neighbours.

style: metric learning, GroupNorm convnet, P-K batch sampler, numpy k-NN evaluation
fault: none
broken: n/a
mended: 0.996
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(11)
rng = np.random.default_rng(11)

X, y = load_digits(return_X_y=True)
Xa, Xb, ya, yb = train_test_split(X, y, test_size=0.3, stratify=y, random_state=1)
mu, sd = Xa.mean(), Xa.std()
to = lambda a: torch.tensor((a - mu) / sd, dtype=torch.float32).view(-1, 1, 8, 8)
Xa, Xb = to(Xa), to(Xb)
ya, yb = torch.tensor(ya), torch.tensor(yb)


class PKBatches:
    """Batches of `p` classes with `k` pictures of each."""

    def __init__(self, labels, p, k, steps):
        self.by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
        self.p, self.k, self.steps = p, k, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        for _ in range(self.steps):
            classes = rng.choice(len(self.by_class), self.p, replace=False)
            yield np.concatenate([rng.choice(self.by_class[c], self.k, replace=False) for c in classes]).tolist()


class Embed(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.GroupNorm(4, 24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.GroupNorm(6, 48),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1),
            nn.GroupNorm(8, 64),
            nn.ReLU(),
        )
        self.out = nn.Linear(64 * 16, dim)

    def forward(self, x):
        return F.normalize(self.out(self.body(x).flatten(1)), dim=1)


def batch_hard(z, y, margin=0.3):
    d = (2 - 2 * z @ z.T).clamp_min(1e-8).sqrt()
    same = y[:, None] == y[None]
    eye = torch.eye(len(y), dtype=torch.bool)
    hardest_pos = d.masked_fill(~same | eye, -1.0).max(1).values
    hardest_neg = d.masked_fill(same, 9.0).min(1).values
    return F.softplus((hardest_pos - hardest_neg + margin) * 5).mean() / 5


def knn_accuracy(model, k=5):
    model.eval()
    with torch.no_grad():
        a, b = model(Xa).numpy(), model(Xb).numpy()
    near = np.argsort(-(b @ a.T), axis=1)[:, :k]
    votes = ya.numpy()[near]
    pred = np.array([np.bincount(v, minlength=10).argmax() for v in votes])
    return (pred == yb.numpy()).mean()


loader = DataLoader(TensorDataset(Xa, ya), batch_sampler=PKBatches(ya.numpy(), 8, 8, steps=40))
model = Embed()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(12):
    model.train()
    losses = []
    for xb, yy in loader:
        loss = batch_hard(model(xb), yy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if epoch == 8:
        for g in optimizer.param_groups:
            g["lr"] *= 0.1
    print(f"epoch {epoch:2d}  triplet loss {np.mean(losses):.4f}  5-NN accuracy {knn_accuracy(model):.4f}")
print("final 5-NN accuracy", round(float(knn_accuracy(model)), 4))
