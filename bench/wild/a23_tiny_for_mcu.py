"""Reads 36 letters and digits with a network meant for a microcontroller.

style: embedded project, parameter count printed
fault: under-capacity
accept: underfitting
broken: 0.02
mended: 0.73
"""

import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from torch.utils.data import DataLoader, Dataset

ALPHABET = string.ascii_uppercase + string.digits


class Characters(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        fonts = [ImageFont.load_default(size=s) for s in (17, 20, 23)]
        self.images, self.labels = [], []
        for _ in range(n):
            label = int(rng.integers(len(ALPHABET)))
            img = Image.new("L", (28, 28), int(rng.integers(0, 60)))
            xy = tuple(14 + rng.uniform(-2, 2, 2))
            ink = int(rng.integers(150, 256))
            ImageDraw.Draw(img).text(xy, ALPHABET[label], fill=ink, font=fonts[rng.integers(3)], anchor="mm")
            a = np.asarray(img.rotate(float(rng.normal(0, 5))), np.float32) / 255
            self.images.append((a + rng.normal(0, 0.05, a.shape).astype(np.float32) - 0.25) / 0.3)
            self.labels.append(label)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i]).float()[None], self.labels[i]


class MicroNet(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width * 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(width * 2),
            nn.LeakyReLU(0.1),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(width * 32, width * 2),
            nn.LeakyReLU(0.1),
            nn.Linear(width * 2, len(ALPHABET)),
        )

    def forward(self, x):
        return self.net(x)


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(0)
    train_loader = DataLoader(Characters(2600, 0), batch_size=64, shuffle=True)
    val_loader = DataLoader(Characters(800, 1), batch_size=200)
    model = MicroNet()
    print(sum(p.numel() for p in model.parameters()), "parameters")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
    for epoch in range(9):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        scheduler.step()
        train_acc, val_acc = accuracy(model, train_loader), accuracy(model, val_loader)
        print(f"{epoch}: loss {loss:.3f} train {train_acc:.3f} val {val_acc:.3f}")
