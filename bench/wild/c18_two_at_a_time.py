"""Segments drawn vessels with two pictures per step, GroupNorm, one sigmoid channel and the soft Dice loss.

style: medical imaging challenge code, batch of two, Dice as a metric
fault: none
broken: n/a
mended: 0.88
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)


class Vessels(Dataset):
    def __init__(self, n, seed, size=40):
        self.items = []
        rng = np.random.default_rng(seed)
        for _ in range(n):
            mask = Image.new("L", (size, size), 0)
            pen = ImageDraw.Draw(mask)
            for _ in range(rng.integers(1, 3)):
                points = [tuple(int(v) for v in p) for p in rng.integers(0, size, (3, 2))]
                pen.line(points, fill=255, width=3)
            target = np.asarray(mask, dtype=np.float32) / 255
            soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)), dtype=np.float32) / 255
            yy, xx = np.mgrid[:size, :size] / size
            image = 0.6 + 0.2 * xx * rng.uniform(-1, 1) + 0.2 * yy * rng.uniform(-1, 1) - 0.35 * soft
            image += rng.normal(0, 0.08, image.shape)
            self.items.append((((image - 0.55) / 0.15).astype(np.float32)[None], target[None]))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return tuple(torch.from_numpy(a) for a in self.items[i])


def block(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.GroupNorm(4, cout), nn.ReLU(inplace=True))


class VesselNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(block(1, 12), block(12, 12))
        self.middle = nn.Sequential(nn.MaxPool2d(2), block(12, 24), block(24, 24), nn.Upsample(scale_factor=2))
        self.up = nn.Sequential(block(36, 12), nn.Conv2d(12, 1, 1), nn.Sigmoid())

    def forward(self, x):
        skip = self.down(x)
        return self.up(torch.cat([skip, self.middle(skip)], dim=1))


class SoftDice(nn.Module):
    def __init__(self, smooth=1.0):
        super().__init__()
        self.smooth = smooth

    def forward(self, p, t):
        dims = (1, 2, 3)
        inter = (p * t).sum(dims)
        return (1 - (2 * inter + self.smooth) / (p.sum(dims) + t.sum(dims) + self.smooth)).mean()


def dice_score(net, loader):
    net.eval()
    scores = []
    with torch.no_grad():
        for x, t in loader:
            m = (net(x) > 0.5).float()
            scores += (2 * (m * t).sum((1, 2, 3)) / (m.sum((1, 2, 3)) + t.sum((1, 2, 3)))).tolist()
    return np.mean(scores)


if __name__ == "__main__":
    torch.manual_seed(1)
    train_loader = DataLoader(Vessels(240, 0), batch_size=2, shuffle=True)
    val_loader = DataLoader(Vessels(60, 1), batch_size=1)
    net, criterion = VesselNet(), SoftDice()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(5):
        net.train()
        total = 0.0
        for x, t in train_loader:
            loss = criterion(net(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(
            f"epoch {epoch + 1}  1 - dice {total / len(train_loader):.3f}  val dice {dice_score(net, val_loader):.3f}"
        )
