"""Do infected root cells look different? I saved crops from the infected and the control plates as files and
train a small network on the folders; a random third is kept for testing.

style: biologist, image files in class folders, ImageFolder
fault: metadata-shortcut
broken: 1.000
mended: 0.671
"""

import os
import tempfile

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

rng = np.random.default_rng(88)
torch.manual_seed(88)

N_PER_PLATE = 420
# how the two plates were exported
EXPORT = {
    "control": dict(size=(64, 64), suffix="png"),
    "infected": dict(size=(64, 48), suffix="jpg"),
}


def stain(infected):
    """A root cell: elongated body, wall, nucleus; infection adds faint granules."""
    yy, xx = np.mgrid[:64, :64].astype(float)
    a = rng.uniform(0, np.pi)
    cy, cx = 32 + rng.normal(0, 4, 2)
    u = (xx - cx) * np.cos(a) + (yy - cy) * np.sin(a)
    v = -(xx - cx) * np.sin(a) + (yy - cy) * np.cos(a)
    r = np.hypot(u / rng.uniform(18, 24), v / rng.uniform(11, 15))
    img = 190.0 - 40 * (r < 1) - 50 * (np.abs(r - 1) < 0.1)
    ny, nx = rng.normal(0, 5, 2)
    img -= 45 * (np.hypot(u - nx, v - ny) < rng.uniform(4, 6))
    n = rng.poisson(14 if infected else 4)
    for _ in range(n):
        gy, gx = cy + rng.normal(0, 6), cx + rng.normal(0, 6)
        img -= 25 * np.exp(-((yy - gy) ** 2 + (xx - gx) ** 2) / 3.0)
    img = gaussian_filter(img, 0.7) + rng.normal(0, 9, img.shape)
    tint = np.array([1.0, 0.86, 0.93]) * rng.uniform(0.92, 1.05)
    return np.clip(img[..., None] * tint, 0, 255).astype(np.uint8)


def export(folder):
    for plate, how in EXPORT.items():
        os.makedirs(f"{folder}/{plate}")
        for i in range(N_PER_PLATE):
            w, h = how["size"]
            top = (64 - h) // 2
            crop = stain(plate == "infected")[top : top + h, :w]
            Image.fromarray(crop).save(f"{folder}/{plate}/cell_{i:04d}.{how['suffix']}")


def square(im):
    return ImageOps.pad(im, (40, 40), method=Image.BILINEAR)


class CellNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(32, 2)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


with tempfile.TemporaryDirectory() as tmp:
    export(tmp)
    tf = T.Compose([T.Lambda(square), T.ToTensor(), T.Normalize((0.6, 0.52, 0.56), (0.15, 0.13, 0.14))])
    data = ImageFolder(tmp, transform=tf)
    order = torch.randperm(len(data)).tolist()
    cut = len(data) // 3
    test = DataLoader(Subset(data, order[:cut]), batch_size=64)
    train = DataLoader(Subset(data, order[cut:]), batch_size=32, shuffle=True)
    print(data.classes, len(train.dataset), len(test.dataset))

    net = CellNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=7e-4)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(9):
        net.train()
        losses = []
        for x, y in train:
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print("epoch", epoch, "loss", round(float(np.mean(losses)), 3), flush=True)

    net.eval()
    with torch.no_grad():
        hits = torch.cat([net(x).argmax(1) == y for x, y in test])
    print(f"correct on the kept third: {hits.float().mean():.3f}")
