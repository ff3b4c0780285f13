"""Digits as bags of 3x3 patches: encode every patch, keep the strongest responses, classify.

style: multiple-instance learning, AdamW, early stopping
fault: detached-graph
broken: 0.812
mended: 0.973
"""

import copy

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


def patches(images):
    """(n, 8, 8) -> (n, 36, 11): nine pixels and the place of each patch."""
    t = torch.tensor(images, dtype=torch.float32)
    p = t.unfold(1, 3, 1).unfold(2, 3, 1).reshape(len(t), 36, 9)
    g = torch.linspace(-1, 1, 6)
    place = torch.stack(torch.meshgrid(g, g, indexing="ij"), -1).reshape(1, 36, 2).expand(len(t), -1, -1)
    return torch.cat([p, 1.5 * place], -1)


def strongest(values, k=3):
    """Mean of the k largest responses of each channel over the bag."""
    a = np.asarray(values.data)
    return torch.from_numpy(np.partition(a, -k, axis=1)[:, -k:].mean(1))


class BagNet(nn.Module):
    def __init__(self, channels=24, classes=10):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(11, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, channels)
        )
        self.norm = nn.LayerNorm(channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, bag):
        return self.classifier(self.norm(strongest(self.encoder(bag))))


class EarlyStopping:
    def __init__(self, patience):
        self.patience, self.best, self.bad, self.state = patience, -1.0, 0, None

    def __call__(self, score, model):
        if score > self.best:
            self.best, self.bad, self.state = score, 0, copy.deepcopy(model.state_dict())
        else:
            self.bad += 1
        return self.bad >= self.patience


def score(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(25)
    d = load_digits()
    xa, xb, ya, yb = train_test_split(d.images, d.target, test_size=0.45, random_state=25, stratify=d.target)
    xv, xt, yv, yt = train_test_split(xb, yb, test_size=0.5, random_state=25, stratify=yb)
    mean, std = xa.mean(), xa.std()
    sets = [TensorDataset(patches((x - mean) / std), torch.tensor(y)) for x, y in ((xa, ya), (xv, yv), (xt, yt))]
    train = DataLoader(sets[0], batch_size=32, shuffle=True)
    val, test = DataLoader(sets[1], batch_size=128), DataLoader(sets[2], batch_size=128)
    model = BagNet()
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    stopper = EarlyStopping(patience=12)
    for epoch in range(60):
        model.train()
        total = 0.0
        for x, y in train:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            total += loss.item() * len(y)
        acc = score(model, val)
        if epoch % 4 == 3:
            print(f"epoch {epoch + 1:2d}  loss {total / len(sets[0]):.4f}  val acc {acc:.4f}")
        if stopper(acc, model):
            print(f"stopped after epoch {epoch + 1}")
            break
    model.load_state_dict(stopper.state)
    print(f"best val {stopper.best:.3f}, test accuracy {score(model, test):.3f}")


if __name__ == "__main__":
    main()
