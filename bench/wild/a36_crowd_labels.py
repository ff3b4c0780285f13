"""Leaf shapes labelled by paid annotators, one answer per picture; checked on pictures an expert labelled.

style: script reading annotations (JSON lines)
fault: noisy-labels
broken: 0.83
mended: 1.00
"""

import io
import json
import math
import random

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, Dataset

LEAVES = ["ovate", "linear", "lobed", "palmate", "cordate"]


def leaf(kind, rng):
    img = Image.new("RGB", (72, 72), (rng.randint(150, 220), rng.randint(150, 220), rng.randint(140, 200)))
    d = ImageDraw.Draw(img)
    green = (rng.randint(20, 110), rng.randint(90, 160), rng.randint(10, 80))
    size, phase = rng.uniform(18, 26), rng.uniform(0, 6.28)
    points = []
    for k in range(120):
        a = 2 * math.pi * k / 120
        if kind == 0:
            r, squeeze = 1.0, rng.uniform(0.58, 0.62)
        elif kind == 1:
            r, squeeze = 1.0, rng.uniform(0.20, 0.24)
        elif kind == 2:
            r, squeeze = 0.8 + 0.2 * math.cos(8 * a), 0.7
        elif kind == 3:
            r, squeeze = 0.6 + 0.4 * abs(math.cos(2.5 * a)), 1.0
        else:
            r, squeeze = 0.95 - 0.75 * max(0.0, math.cos(a)) ** 6, 0.85
        x, y = size * r * math.cos(a), size * r * squeeze * math.sin(a)
        points.append((36 + x * math.cos(phase) - y * math.sin(phase), 36 + x * math.sin(phase) + y * math.cos(phase)))
    d.polygon(points, fill=green)
    return img.resize((32, 32), Image.BILINEAR)


def annotate(truth, rng):
    """What a hurried annotator answers."""
    return truth if rng.random() > 0.4 else rng.randrange(len(LEAVES))


def collect(n, seed, expert):
    rng = random.Random(seed)
    records = io.StringIO()
    pictures = []
    for i in range(n):
        truth = rng.randrange(len(LEAVES))
        pictures.append(leaf(truth, rng))
        answer = truth if expert else annotate(truth, rng)
        records.write(json.dumps({"picture": i, "annotator": rng.randrange(12), "answer": LEAVES[answer]}) + "\n")
    records.seek(0)
    return pictures, records


class LeafDataset(Dataset):
    def __init__(self, pictures, records):
        self.x, self.y = [], []
        for line in records:
            record = json.loads(line)
            array = np.array(pictures[record["picture"]], dtype=np.float32) / 255
            self.x.append(torch.from_numpy((array - 0.6) / 0.22).permute(2, 0, 1))
            self.y.append(LEAVES.index(record["answer"]))

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class LeafNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 128), nn.ReLU(), nn.Linear(128, len(LEAVES)))

    def forward(self, x):
        return self.fc(self.conv(x))


if __name__ == "__main__":
    torch.manual_seed(0)
    train = DataLoader(LeafDataset(*collect(800, 0, expert=False)), batch_size=32, shuffle=True)
    val = DataLoader(LeafDataset(*collect(500, 1, expert=True)), batch_size=100)
    model = LeafNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(15):
        model.train()
        mean_loss = 0.0
        for x, y in train:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            mean_loss += loss.item() / len(train)
        model.eval()
        with torch.no_grad():
            acc = sum((model(x).argmax(1) == y).sum().item() for x, y in val) / len(val.dataset)
        print(f"epoch {epoch} loss {mean_loss:.3f} expert accuracy {acc:.3f}")
