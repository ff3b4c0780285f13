"""Bridge inspection: does a concrete patch show a crack, yes or no?  One logit, BCE.

style: civil engineer, Keras-like fit/evaluate class
fault: metric-wrong
broken: 0.503
mended: 1.000
"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(1955)
torch.manual_seed(1955)


class ConcretePatches(Dataset):
    def __init__(self, n, size=44):
        self.size = size
        self.labels = rng.random(n) < 0.5
        self.patches = [self._render(c) for c in self.labels]

    def _render(self, cracked):
        n = self.size
        img = 0.6 + 0.25 * gaussian_filter(rng.normal(size=(n, n)), 3) + 0.05 * rng.normal(size=(n, n))
        for _ in range(rng.integers(0, 6)):  # air voids
            y, x = rng.integers(2, n - 2, 2)
            img[y - 1 : y + 2, x - 1 : x + 2] -= rng.uniform(0.1, 0.3)
        if rng.random() < 0.3:  # formwork joint: straight and soft
            img[:, rng.integers(4, n - 4)] -= 0.08
        if cracked:
            horizontal = rng.random() < 0.5
            pos = rng.uniform(0.25 * n, 0.75 * n)
            for t in range(n):
                pos += rng.normal(0, 0.9)
                p = int(np.clip(pos, 0, n - 1))
                depth = rng.uniform(0.12, 0.30)
                if horizontal:
                    img[p, t] -= depth
                else:
                    img[t, p] -= depth
        return img.astype(np.float32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.from_numpy((self.patches[i] - 0.6) / 0.09)[None], float(self.labels[i])


class CrackModel:
    def __init__(self, lr=1e-3):
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 5, padding=2),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 1),
        )
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr)
        self.loss = nn.BCEWithLogitsLoss()

    def _step(self, x, y):
        logit = self.net(x)
        loss = self.loss(logit.squeeze(1), y.float())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def fit(self, train, epochs, validation):
        history = {"loss": [], "val_acc": []}
        for epoch in range(epochs):
            self.net.train()
            losses = [self._step(x, y) for x, y in train]
            val_loss, val_acc = self.evaluate(validation)
            history["loss"].append(np.mean(losses))
            history["val_acc"].append(val_acc)
            print(
                f"Epoch {epoch + 1}/{epochs} - loss: {np.mean(losses):.4f} - val_loss: {val_loss:.4f} "
                f"- val_acc: {val_acc:.4f}"
            )
        return history

    @torch.no_grad()
    def evaluate(self, loader):
        self.net.eval()
        n, loss, acc = 0, 0.0, 0.0
        for x, y in loader:
            logit = self.net(x)
            loss += self.loss(logit.squeeze(1), y.float()).item() * len(y)
            pred = (torch.sigmoid(logit) > 0.5).float()
            acc += (pred == y).float().mean().item() * len(y)
            n += len(y)
        return loss / n, acc / n


if __name__ == "__main__":
    train = DataLoader(ConcretePatches(1300), batch_size=32, shuffle=True)
    held_out = DataLoader(ConcretePatches(400), batch_size=100)
    model = CrackModel()
    model.fit(train, epochs=7, validation=held_out)
    print("held-out accuracy: %.4f" % model.evaluate(held_out)[1])
