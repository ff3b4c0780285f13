"""Polygons of three to eight corners: RandAugment, random erasing and an average of the weights.

style: timm-like, EMA, RandAugment, random erasing
fault: none
"""

import math
import random

import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

CORNERS = [3, 4, 5, 8]


def polygon(n, rng):
    img = Image.new("RGB", (40, 40), tuple(rng.randint(0, 110) for _ in range(3)))
    r, turn = rng.uniform(11, 15), rng.uniform(0, 6.28)
    x, y = 20 + rng.uniform(-3, 3), 20 + rng.uniform(-3, 3)
    step = 2 * math.pi / n
    points = [(x + r * math.cos(turn + k * step), y + r * math.sin(turn + k * step)) for k in range(n)]
    ImageDraw.Draw(img).polygon(points, fill=tuple(rng.randint(150, 255) for _ in range(3)))
    return img


class Polygons(Dataset):
    def __init__(self, n, seed, transform):
        rng = random.Random(seed)
        self.y = [rng.randrange(len(CORNERS)) for _ in range(n)]
        self.x = [polygon(CORNERS[k], rng) for k in self.y]
        self.transform = transform

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.transform(self.x[i]), self.y[i]


NORM = [T.ToTensor(), T.Normalize((0.35,) * 3, (0.25,) * 3)]
TRAIN = T.Compose(
    [
        T.RandomHorizontalFlip(),
        T.RandAugment(num_ops=2, magnitude=5),
        *NORM,
        T.RandomErasing(p=0.25, scale=(0.02, 0.08)),
    ]
)


class Basic(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(i, o, 3, 2, 1, bias=False),
            nn.BatchNorm2d(o),
            nn.SiLU(),
            nn.Conv2d(o, o, 3, 1, 1, bias=False),
            nn.BatchNorm2d(o),
        )
        self.skip = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        return torch.nn.functional.silu(self.body(x) + self.skip(x))


def evaluate(model, loader):
    model.eval()
    with torch.inference_mode():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    random.seed(0)
    train = DataLoader(Polygons(1200, 0, TRAIN), 60, shuffle=True, drop_last=True)
    val = DataLoader(Polygons(500, 1, T.Compose(NORM)), 100)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.SiLU(),
        Basic(16, 48),
        Basic(48, 96),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, len(CORNERS)),
    )
    ema = ModelEmaV3(model, decay=0.9)
    epochs = 11
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs=epochs, steps_per_epoch=len(train))
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()
            ema.update(model)
        print(f"epoch {epoch} loss {loss:.3f} val {evaluate(model, val):.3f} ema {evaluate(ema.module, val):.3f}")


if __name__ == "__main__":
    main()
