"""Digits embedded on a sphere with one fixed prototype per class.

style: hyperspherical prototypes, cosine objective, MLP with LayerNorm, Adagrad, metrics by a helper class
fault: loss-sign
broken: 0.000
mended: 0.985
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


class Meter:
    def __init__(self):
        self.value = self.count = 0.0

    def add(self, mean, n):
        self.value += float(mean) * n
        self.count += n

    @property
    def mean(self):
        return self.value / self.count


class SphereNet(nn.Module):
    def __init__(self, classes=10, dim=16):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, 128),
            nn.LayerNorm(128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.LayerNorm(128),
            nn.ReLU(),
            nn.Linear(128, dim),
        )
        q, _ = torch.linalg.qr(torch.randn(dim, dim))
        self.register_buffer("prototypes", q[:classes])  # orthonormal, never trained

    def forward(self, x):
        return self.body(x)

    def cosines(self, x):
        return F.normalize(self(x), dim=1) @ self.prototypes.T


def prototype_loss(z, targets, prototypes):
    """Cosine between each embedding and the prototype of its class."""
    return F.cosine_similarity(z, prototypes[targets], dim=1).mean()


def main(epochs=220):
    torch.manual_seed(19)
    X, y = load_digits(return_X_y=True)
    a, b, ya, yb = train_test_split(X, y, test_size=0.3, random_state=19, stratify=y)
    mean, std = a.mean(), a.std()
    a, b = [torch.tensor((v - mean) / std, dtype=torch.float32) for v in (a, b)]
    train = DataLoader(TensorDataset(a, torch.tensor(ya)), batch_size=32, shuffle=True)
    test = DataLoader(TensorDataset(b, torch.tensor(yb)), batch_size=128)
    net = SphereNet()
    opt = torch.optim.Adagrad(net.parameters(), lr=0.02)
    for epoch in range(epochs):
        net.train()
        meter = Meter()
        for x, t in train:
            opt.zero_grad()
            loss = prototype_loss(net(x), t, net.prototypes)
            loss.backward()
            opt.step()
            meter.add(loss.item(), len(t))
        net.eval()
        acc = Meter()
        with torch.no_grad():
            for x, t in test:
                acc.add((net.cosines(x).argmax(1) == t).float().mean(), len(t))
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1:2d}  objective {meter.mean:+.4f}  test accuracy {acc.mean:.4f}")
    print(f"final accuracy {acc.mean:.3f}")


if __name__ == "__main__":
    main()
