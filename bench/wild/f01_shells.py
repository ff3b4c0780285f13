"""I sort land snails for a museum: two species (ribbed, smooth), each coiling either way, so four drawers.
The photos are few, so I enlarge the set with the usual torchvision augmentations.

style: biologist, torchvision transforms, plain loop
fault: label-changing-augmentation
broken: 0.530
mended: 1.000
"""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

random.seed(4)
np.random.seed(4)
torch.manual_seed(4)

DRAWERS = ["ribbed_dextral", "ribbed_sinistral", "smooth_dextral", "smooth_sinistral"]


def photograph(ribbed, sinistral):
    """One shell on the grey tray, aperture roughly at the bottom as we always lay them."""
    S = 96
    tray = np.clip(np.random.normal(120, 14, (S, S, 1)) + np.zeros((1, 1, 3)), 0, 255).astype(np.uint8)
    im = Image.fromarray(tray)
    d = ImageDraw.Draw(im)
    cx, cy = S / 2 + random.uniform(-6, 6), S / 2 + random.uniform(-6, 6)
    turns = random.uniform(2.4, 2.9)
    scale = random.uniform(0.85, 1.1)
    start = random.uniform(-0.45, 0.45)
    base = np.array([random.randint(150, 215), random.randint(110, 160), random.randint(60, 110)])
    n = 150
    for i in range(n):
        th = 2 * math.pi * turns * i / n
        r = scale * 2.2 * math.exp(0.165 * th)
        ang = th - 2 * math.pi * turns + start + math.pi / 2
        x = r * math.cos(ang)
        y = r * math.sin(ang)
        if sinistral:
            x = -x
        w = 1.2 + 0.30 * r
        shade = 0.75 + 0.35 * i / n
        if ribbed and (i // 4) % 2:
            shade *= 0.6
        c = tuple(int(v) for v in np.clip(base * shade, 0, 255))
        d.ellipse([cx + x - w, cy + y - w, cx + x + w, cy + y + w], fill=c)
    return im.filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.0))).resize((48, 48), Image.BILINEAR)


class Tray(Dataset):
    def __init__(self, n, tf):
        self.tf = tf
        self.items = []
        for i in range(n):
            y = i % 4
            self.items.append((photograph(y < 2, y % 2 == 1), y))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        im, y = self.items[i]
        return self.tf(im), y


norm = T.Normalize([0.47, 0.44, 0.38], [0.14, 0.12, 0.14])
train_tf = T.Compose(
    [
        T.RandomHorizontalFlip(),
        T.RandomAffine(8, translate=(0.05, 0.05)),
        T.ColorJitter(0.15, 0.15),
        T.ToTensor(),
        norm,
    ]
)
test_tf = T.Compose([T.ToTensor(), norm])

train = DataLoader(Tray(1200, train_tf), batch_size=40, shuffle=True)
test = DataLoader(Tray(400, test_tf), batch_size=100)


def block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))


net = nn.Sequential(
    block(3, 12), block(12, 24), block(24, 32), nn.Flatten(), nn.Linear(32 * 36, 64), nn.ReLU(), nn.Linear(64, 4)
)
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
crit = nn.CrossEntropyLoss()

for epoch in range(8):
    net.train()
    tot = 0.0
    for x, y in train:
        opt.zero_grad()
        loss = crit(net(x), y)
        loss.backward()
        opt.step()
        tot += loss.item() * len(y)
    net.eval()
    hit = 0
    with torch.no_grad():
        for x, y in test:
            hit += (net(x).argmax(1) == y).sum().item()
    print(f"epoch {epoch + 1}: train loss {tot / 1200:.3f}  held-out accuracy {hit / 400:.3f}")

print("final accuracy", hit / 400)
