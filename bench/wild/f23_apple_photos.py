"""Five apple varieties, 278 photos.  That is very little, so I first blow every photo up into ten variants
(zoom, flip, brightness) and train on the whole pile.  My sorting camera is monochrome, hence the grey conversion.

style: market-garden hobbyist, offline augmentation, random_split
fault: split-leakage
broken: 0.887
mended: 0.407
"""

import os
import random

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageEnhance, ImageOps
from torch.utils.data import DataLoader, Dataset, random_split

SHARED = os.environ["FOVEA_SHARED"]
GROCERY = os.path.join(SHARED, "data/grocery")
NAMES = ["Golden Delicious", "Granny Smith", "Pink Lady", "Red Delicious", "Royal Gala"]
COPIES, PX = 10, 40

random.seed(12)
torch.manual_seed(12)


def variant(photo):
    w, h = photo.size
    s = random.uniform(0.75, 1.0)
    cw, ch = int(w * s), int(h * s)
    x, y = random.randint(0, w - cw), random.randint(0, h - ch)
    out = photo.crop((x, y, x + cw, y + ch)).resize((PX, PX), Image.BILINEAR)
    if random.random() < 0.5:
        out = ImageOps.mirror(out)
    return ImageEnhance.Brightness(out).enhance(random.uniform(0.85, 1.15))


class Apples(Dataset):
    """All variants of all apple photos."""

    def __init__(self):
        self.pictures, self.varieties = [], []
        with open(os.path.join(GROCERY, "train.txt")) as f:
            for line in f:
                path, fine, coarse = [v.strip() for v in line.split(",")]
                if int(coarse) != 0:
                    continue
                photo = Image.open(os.path.join(GROCERY, path)).convert("L")
                photo.thumbnail((120, 120))
                for _ in range(COPIES):
                    self.pictures.append(np.asarray(variant(photo)))
                    self.varieties.append(int(fine))

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        x = torch.from_numpy(self.pictures[i])[None].float()
        return (x - 120.0) / 64.0, self.varieties[i]


apples = Apples()
n_test = len(apples) // 5
train_part, test_part = random_split(
    apples, [len(apples) - n_test, n_test], generator=torch.Generator().manual_seed(12)
)
print(len(train_part), "to train,", len(test_part), "to test")
train_loader = DataLoader(train_part, batch_size=40, shuffle=True)
test_loader = DataLoader(test_part, batch_size=100)

net = nn.Sequential(
    nn.Conv2d(1, 24, 3, padding=1),
    nn.BatchNorm2d(24),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(24, 40, 3, padding=1),
    nn.BatchNorm2d(40),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(40, 64, 3, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(64 * 25, 96),
    nn.ReLU(),
    nn.Linear(96, len(NAMES)),
)
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
criterion = nn.CrossEntropyLoss()

EPOCHS = 10
for epoch in range(1, EPOCHS + 1):
    net.train()
    cum, right = 0.0, 0
    for x, y in train_loader:
        optimizer.zero_grad()
        out = net(x)
        loss = criterion(out, y)
        loss.backward()
        optimizer.step()
        cum += loss.item() * len(y)
        right += (out.argmax(1) == y).sum().item()
    net.eval()
    ok = 0
    with torch.no_grad():
        for x, y in test_loader:
            ok += (net(x).argmax(1) == y).sum().item()
    print(
        f"{epoch:2d}: loss {cum / len(train_part):.3f}  train {right / len(train_part):.3f}  test {ok / len(test_part):.3f}"
    )

print("test accuracy", ok / len(test_part))
