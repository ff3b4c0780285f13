"""Which of six objects are in the picture? Any number of them may be: multi-label with BCEWithLogitsLoss.

style: multi-label tutorial, F1 by hand
fault: none
"""

import random

import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

OBJECTS = ["ball", "box", "tent", "ring", "stick", "cross"]


class Scenes(Dataset):
    def __init__(self, n, seed):
        rng = random.Random(seed)
        self.data = [self.scene(rng) for _ in range(n)]

    @staticmethod
    def scene(rng):
        img = Image.new("RGB", (54, 54), tuple(rng.randint(0, 90) for _ in range(3)))
        d = ImageDraw.Draw(img)
        cells = [(9 + 18 * c, 9 + 18 * r) for r in range(3) for c in range(3)]
        rng.shuffle(cells)
        target = torch.zeros(len(OBJECTS))
        for k, name in enumerate(OBJECTS):
            if rng.random() > 0.4:
                continue
            target[k] = 1
            x, y = cells.pop()
            x, y, r = x + rng.randint(-2, 2), y + rng.randint(-2, 2), rng.randint(5, 7)
            ink = tuple(rng.randint(140, 255) for _ in range(3))
            box = (x - r, y - r, x + r, y + r)
            if name == "ball":
                d.ellipse(box, fill=ink)
            elif name == "box":
                d.rectangle(box, fill=ink)
            elif name == "tent":
                d.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
            elif name == "ring":
                d.ellipse(box, outline=ink, width=2)
            elif name == "stick":
                d.rectangle((x - 1, y - r, x + 1, y + r), fill=ink)
            else:
                d.line((x - r, y - r, x + r, y + r), fill=ink, width=2)
                d.line((x - r, y + r, x + r, y - r), fill=ink, width=2)
        return (to_tensor(img) - 0.25) / 0.25, target

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i]


class SceneNet(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for i, o in ((3, 16), (16, 32), (32, 48)):
            layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Conv2d(48, 64, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.out = nn.Linear(64, len(OBJECTS))

    def forward(self, x):
        return self.out(self.head(self.features(x)))


def f1(model, loader):
    model.eval()
    tp = fp = fn = torch.zeros(len(OBJECTS))
    with torch.no_grad():
        for x, t in loader:
            p = (torch.sigmoid(model(x)) > 0.5).float()
            tp = tp + (p * t).sum(0)
            fp = fp + (p * (1 - t)).sum(0)
            fn = fn + ((1 - p) * t).sum(0)
    return (2 * tp / (2 * tp + fp + fn)).mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    train, val = DataLoader(Scenes(1200, 0), 40, shuffle=True), DataLoader(Scenes(500, 1), 100)
    model = SceneNet()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(7):
        model.train()
        for x, t in train:
            optimizer.zero_grad()
            loss = criterion(model(x), t)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f} macro F1 {f1(model, val):.4f}")
