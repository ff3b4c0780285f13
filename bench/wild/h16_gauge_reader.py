"""Reading pressure gauges in a boiler room: which of the eight sectors does the needle point to? Pictures are
numbered shots, the readings were typed into a CSV while shooting.

style: plant technician, csv + glob, plain script without functions for training
fault: labels-shuffled
broken: 0.100
mended: 1.000
"""

import csv
import glob
import math
import os
import random
import tempfile

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset, random_split

random.seed(100)
np.random.seed(100)
torch.manual_seed(100)


def shoot(sector):
    im = Image.new("L", (64, 64), random.randint(30, 80))
    d = ImageDraw.Draw(im)
    d.ellipse([4, 4, 60, 60], fill=random.randint(190, 230), outline=20, width=3)
    for i in range(16):
        a = 2 * math.pi * i / 16
        d.line(
            [(32 + 22 * math.cos(a), 32 + 22 * math.sin(a)), (32 + 26 * math.cos(a), 32 + 26 * math.sin(a))],
            fill=60,
            width=2,
        )
    a = 2 * math.pi * (sector + random.uniform(0.12, 0.88)) / 8
    d.line(
        [(32 - 6 * math.cos(a), 32 - 6 * math.sin(a)), (32 + 21 * math.cos(a), 32 + 21 * math.sin(a))], fill=20, width=3
    )
    d.ellipse([28, 28, 36, 36], fill=40)
    glare = random.randint(10, 54)
    d.line([(glare, 8), (glare + 8, 20)], fill=255, width=3)
    a = np.asarray(im.resize((32, 32), Image.BILINEAR), np.float32) + np.random.randn(32, 32) * 9
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))


class GaugeShots(Dataset):
    def __init__(self, folder):
        self.files = sorted(glob.glob(os.path.join(folder, "*.png")))
        with open(os.path.join(folder, "readings.csv")) as f:
            self.sector = [int(row["sector"]) for row in csv.DictReader(f)]
        assert len(self.files) == len(self.sector)
        self.cache = {}

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        if i not in self.cache:
            a = np.asarray(Image.open(self.files[i]), np.float32)
            self.cache[i] = torch.from_numpy((a - 150) / 60)[None]
        return self.cache[i], self.sector[i]


tmp = tempfile.TemporaryDirectory()
with open(os.path.join(tmp.name, "readings.csv"), "w", newline="") as f:
    w = csv.DictWriter(f, fieldnames=["shot", "sector", "operator"])
    w.writeheader()
    for i in range(1600):
        s = random.randrange(8)
        shoot(s).save(os.path.join(tmp.name, f"shot_{i}.png"))
        w.writerow({"shot": i, "sector": s, "operator": random.choice(["MK", "JB"])})

shots = GaugeShots(tmp.name)
train, test = random_split(shots, [1280, 320])
train_loader = DataLoader(train, batch_size=40, shuffle=True)
test_loader = DataLoader(test, batch_size=160)

net = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 5, padding=2),
    torch.nn.ReLU(),
    torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(16, 32, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(32, 32, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.Flatten(),
    torch.nn.Linear(32 * 64, 64),
    torch.nn.ReLU(),
    torch.nn.Linear(64, 8),
)
opt = torch.optim.Adam(net.parameters(), lr=1e-3)

for epoch in range(16):
    net.train()
    for x, y in train_loader:
        opt.zero_grad()
        out = net(x)
        loss = torch.nn.functional.cross_entropy(out, y)
        loss.backward()
        opt.step()
    net.eval()
    ok = 0
    with torch.no_grad():
        for x, y in test_loader:
            ok += (net(x).argmax(1) == y).sum().item()
    print("epoch", epoch, "loss", round(loss.item(), 3), "test", round(ok / len(test), 3))

print("readings right:", round(ok / len(test), 4))
tmp.cleanup()
