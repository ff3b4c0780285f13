"""A small MLP-Mixer on overlapping patches of handwritten digits.

style: re-implementation of a paper, Trainer class with fit and test
source: https://github.com/MIC-DKFZ/nnUNet/issues/298
fault: momentum-high
broken: 0.91
mended: 0.98
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MixerBlock(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.token = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.channel = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.token(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, patch=4, size=8, dim=48, depth=3, n_classes=10):
        super().__init__()
        self.embed = nn.Conv2d(1, dim, patch, patch // 2)
        tokens = ((size - patch) // (patch // 2) + 1) ** 2
        self.blocks = nn.Sequential(*[MixerBlock(tokens, dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, n_classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


class Trainer:
    def __init__(self, model, lr=0.1, momentum=0.99, epochs=12):
        self.model, self.epochs = model, epochs
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=True, weight_decay=3e-5)

    def fit(self, loader, val_loader):
        for epoch in range(self.epochs):
            self.model.train()
            losses = []
            for x, y in loader:
                loss = self.criterion(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, val {self.test(val_loader):.3f}")

    @torch.no_grad()
    def test(self, loader):
        self.model.eval()
        hits = [(self.model(x).argmax(1) == y).float().mean().item() for x, y in loader]
        return float(np.mean(hits))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    x, y = (x - 0.3) / 0.38, torch.tensor(labels)
    order = torch.randperm(len(y))
    tr, va = order[:1397], order[1397:]
    loader = DataLoader(TensorDataset(x[tr], y[tr]), batch_size=32, shuffle=True, drop_last=True)
    val_loader = DataLoader(TensorDataset(x[va], y[va]), batch_size=200)
    Trainer(Mixer()).fit(loader, val_loader)


if __name__ == "__main__":
    main()
