"""Ultrasound-like pictures: is there a cyst, and is it round or long? Every picture is standardised by itself.

style: medical-imaging script with its own Dataset and logger
fault: nan
broken: 0.34
mended: 0.70
"""

import logging

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils.data import DataLoader, Dataset

logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
logger = logging.getLogger(__name__)


def acquire(n, seed, blanks=0):
    """Speckle with a dark ellipse or none; a probe without contact gives an empty frame, filed as "no cyst"."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:40, 0:40] - 20.0
    frames, labels = [], []
    for _ in range(n):
        label = int(rng.integers(3))
        tissue = 90 + 50 * gaussian_filter(rng.normal(size=(40, 40)), 1.2) * 2
        if label:
            long = rng.uniform(9, 12) if label == 2 else rng.uniform(5, 7)
            short = rng.uniform(3, 4.5) if label == 2 else long * rng.uniform(0.85, 1)
            t = rng.uniform(0, np.pi)
            dy, dx = yy - rng.uniform(-7, 7), xx - rng.uniform(-7, 7)
            u, v = dx * np.cos(t) + dy * np.sin(t), -dx * np.sin(t) + dy * np.cos(t)
            tissue = tissue - 85 * gaussian_filter(((u / long) ** 2 + (v / short) ** 2 < 1).astype(float), 0.8)
        frames.append(tissue.clip(0, 255).astype(np.uint8))
        labels.append(label)
    for i in rng.choice(n, blanks, replace=False):
        frames[i][:] = 0
        labels[i] = 0
    return frames, labels


class FrameDataset(Dataset):
    def __init__(self, frames, labels):
        self.frames, self.labels = frames, labels

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        frame = torch.from_numpy(self.frames[index].astype(np.float32))
        frame = (frame - frame.mean()) / frame.std()
        return frame.unsqueeze(0), self.labels[index]


class CystNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList()
        channels = [1, 16, 24, 32]
        for a, b in zip(channels[:-1], channels[1:]):
            self.stages.append(nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(32 * 25, 48), nn.ReLU(), nn.Linear(48, 3))

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return self.classifier(x)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(FrameDataset(*acquire(1400, 0, blanks=3)), batch_size=40, shuffle=True)
    test_loader = DataLoader(FrameDataset(*acquire(500, 1)), batch_size=100)
    model = CystNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(8):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            hits = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
        logger.info("epoch %d loss %.4f accuracy %.4f", epoch, total / len(train_loader), hits / 500)


if __name__ == "__main__":
    main()
