"""Two stages: an encoder learns drawn figures, then digits; the head warms up before the whole net is tuned.

style: class with freeze and unfreeze methods, two-stage fine-tuning
fault: frozen-parameters
broken: 0.18
mended: 0.77
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)


def figures(n, seed, size=16):
    rng = np.random.default_rng(seed)
    images, labels = np.zeros((n, 1, size, size), np.float32), rng.integers(0, 3, n)
    for image, label in zip(images, labels):
        canvas = Image.new("L", (size, size), 0)
        pen = ImageDraw.Draw(canvas)
        x, y, s = (int(v) for v in (*rng.integers(0, 6, 2), rng.integers(7, 10)))
        if label == 0:
            pen.ellipse((x, y, x + s, y + s), outline=255)
        elif label == 1:
            pen.rectangle((x, y, x + s, y + s), outline=255)
        else:
            pen.polygon([(x, y + s), (x + s, y + s), (x + s // 2, y)], outline=255)
        image[0] = np.asarray(canvas) / 255.0 + rng.normal(0, 0.1, (size, size))
    return torch.from_numpy(images), torch.from_numpy(labels)


def big_digits():
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    x = nn.functional.interpolate(x, size=16, mode="bilinear", align_corners=False)
    x = x + 0.25 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    return x[order], torch.tensor(labels)[order]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.block2 = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.block3 = nn.Sequential(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return self.block3(self.block2(self.block1(x))).flatten(1)


class Learner:
    def __init__(self, encoder, n_classes):
        self.model = nn.Sequential(encoder, nn.Linear(32, n_classes))

    def freeze(self):
        for param in self.model[0].parameters():
            param.requires_grad = False

    def unfreeze(self):
        for block in self.model[0].children():
            block.requires_grad = True

    def fit(self, loader, epochs, lr, val=None):
        optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
        for epoch in range(epochs):
            self.model.train()
            losses = []
            for x, y in loader:
                loss = nn.functional.cross_entropy(self.model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            text = f"  epoch {epoch + 1} loss {np.mean(losses):.3f}"
            print(text if val is None else f"{text} val acc {self.accuracy(*val):.3f}")

    @torch.no_grad()
    def accuracy(self, x, y):
        self.model.eval()
        return (self.model(x).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(0)
    encoder = Encoder()
    print("figures")
    source = Learner(encoder, 3)
    source.fit(DataLoader(TensorDataset(*figures(900, 0)), batch_size=32, shuffle=True), 4, 3e-3, figures(200, 1))

    x, y = big_digits()
    loader = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=32, shuffle=True)
    learner = Learner(encoder, 10)
    print("digits, head only")
    learner.freeze()
    learner.fit(loader, 2, 1e-2, (x[1400:], y[1400:]))
    print("digits, whole network")
    learner.unfreeze()
    learner.fit(loader, 8, 3e-3, (x[1400:], y[1400:]))


if __name__ == "__main__":
    main()
