"""Residual network written by a beginner, for eight kinds of groceries.

style: beginner's forum post, one file, plain loops
source: https://www.engineermaxxing.com/micro/lessons/pytorch-internals.html
fault: optimizer-misses-parameters
broken: 0.18
mended: 0.54
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
np.random.seed(0)
torch.set_num_threads(1)

DATA = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
N_CLASSES = 8


def read(list_file):
    rows = [line.split(", ") for line in (DATA / list_file).read_text().splitlines()]
    return [(path, int(coarse)) for path, _, coarse in rows]


def load(rows):
    images, labels = [], []
    for path, label in rows:
        img = Image.open(DATA / path)
        img.draft("RGB", (96, 96))
        images.append(np.asarray(img.convert("RGB").resize((40, 40), Image.BILINEAR)))
        labels.append(label)
    x = torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (x - 0.5) / 0.25, torch.tensor(labels)


train_rows, val_rows = read("train.txt"), read("val.txt")
common = [c for c, _ in Counter(c for _, c in train_rows).most_common(N_CLASSES)]
index = {c: i for i, c in enumerate(sorted(common))}
x_train, y_train = load([(p, index[c]) for p, c in train_rows if c in index])
x_val, y_val = load([(p, index[c]) for p, c in val_rows if c in index])
print(x_train.shape, x_val.shape)

train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)
val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=64)


class ResBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + x)


class Net(nn.Module):
    def __init__(self, widths=(16, 32, 48)):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = []
        channels = 8
        for w in widths:
            self.stages.append(nn.Sequential(nn.Conv2d(channels, w, 3, stride=2, padding=1), ResBlock(w)))
            channels = w
        self.fc = nn.Linear(channels, N_CLASSES)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        x = x.mean(dim=(2, 3))
        return self.fc(x)


net = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

for epoch in range(7):
    net.train()
    running, correct, total = 0.0, 0, 0
    for images, labels in train_loader:
        optimizer.zero_grad()
        outputs = net(images)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(labels)
        correct += (outputs.argmax(1) == labels).sum().item()
        total += len(labels)

    net.eval()
    hits = 0
    with torch.no_grad():
        for images, labels in val_loader:
            hits += (net(images).argmax(1) == labels).sum().item()
    print(f"[{epoch + 1}] loss {running / total:.3f} train acc {correct / total:.3f} val acc {hits / len(y_val):.3f}")
