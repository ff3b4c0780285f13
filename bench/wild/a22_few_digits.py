"""Handwritten digits on cluttered paper with very few labelled examples and a roomy network.

style: script with history dictionary and best epoch printed at the end
fault: overfitting
broken: 0.25
mended: 0.48
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


def cluttered(indices, rng):
    digits = load_digits()
    images = np.zeros((len(indices), 1, 12, 12), np.float32)
    for n, i in enumerate(indices):
        dy, dx = rng.integers(0, 5, 2)
        images[n, 0, dy : dy + 8, dx : dx + 8] = digits.images[i] / 16
    images += rng.normal(0, 0.15, images.shape)
    return torch.from_numpy((images - 0.13) / 0.3), torch.from_numpy(digits.target[indices])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 9, 256)
        self.fc2 = nn.Linear(256, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def main():
    rng = np.random.default_rng(5)
    torch.manual_seed(5)
    order = rng.permutation(1797)
    x, y = cluttered(order[:120], rng)
    x_val, y_val = cluttered(order[1000:1700], rng)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    history = {"loss": [], "val_loss": [], "val_acc": []}
    for epoch in range(50):
        model.train()
        running = 0.0
        for idx in torch.randperm(len(x)).split(25):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            running += loss.item() * len(idx)
        model.eval()
        with torch.no_grad():
            logits = model(x_val)
        history["loss"].append(running / len(x))
        history["val_loss"].append(F.cross_entropy(logits, y_val).item())
        history["val_acc"].append((logits.argmax(1) == y_val).float().mean().item())
        print("epoch %02d " % epoch + " ".join(f"{k} {v[-1]:.4f}" for k, v in history.items()))


if __name__ == "__main__":
    main()
