"""Sorts small drawings of five shapes that lie in a folder next to a labels.csv.

style: forum post with a custom Dataset over files
fault: labels-shuffled
"""

import csv
import glob
import math
import os
import random
import tempfile

import torch
import torch.nn as nn
import torchvision.transforms as transforms
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset, Subset

NAMES = ["circle", "square", "triangle", "star", "cross"]


def draw(kind, rng):
    background = tuple(rng.randint(0, 120) for _ in range(3))
    ink = tuple(rng.randint(135, 255) for _ in range(3))
    img = Image.new("RGB", (32, 32), background)
    d = ImageDraw.Draw(img)
    cx, cy, r = rng.uniform(11, 21), rng.uniform(11, 21), rng.uniform(6, 10)
    turn = rng.uniform(0, 2 * math.pi)
    if kind == 0:
        d.ellipse((cx - r, cy - r, cx + r, cy + r), fill=ink)
    elif kind in (1, 2):
        n = 4 if kind == 1 else 3
        angles = [turn + 2 * math.pi * k / n for k in range(n)]
        d.polygon([(cx + r * math.cos(a), cy + r * math.sin(a)) for a in angles], fill=ink)
    elif kind == 3:
        points = []
        for k in range(10):
            a, q = turn + math.pi * k / 5, r if k % 2 == 0 else r * 0.4
            points.append((cx + q * math.cos(a), cy + q * math.sin(a)))
        d.polygon(points, fill=ink)
    else:
        for a in (turn, turn + math.pi / 2):
            dx, dy = r * math.cos(a), r * math.sin(a)
            d.line((cx - dx, cy - dy, cx + dx, cy + dy), fill=ink, width=3)
    return img


def make_folder(folder, n=2000):
    rng = random.Random(1)
    with open(os.path.join(folder, "labels.csv"), "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["id", "shape"])
        for i in range(n):
            kind = rng.randrange(5)
            draw(kind, rng).save(os.path.join(folder, f"img_{i}.png"))
            w.writerow([i, NAMES[kind]])


class ShapesDataset(Dataset):
    def __init__(self, folder, transform=None):
        self.files = sorted(glob.glob(os.path.join(folder, "*.png")))
        with open(os.path.join(folder, "labels.csv")) as f:
            self.labels = [NAMES.index(row["shape"]) for row in csv.DictReader(f)]
        assert len(self.files) == len(self.labels)
        self.transform = transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, idx):
        image = Image.open(self.files[idx]).convert("RGB")
        if self.transform:
            image = self.transform(image)
        return image, self.labels[idx]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(64 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 5)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = self.pool(torch.relu(self.conv3(x)))
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


torch.manual_seed(0)
folder = tempfile.mkdtemp()
make_folder(folder)
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.35,) * 3, (0.25,) * 3)])
dataset = ShapesDataset(folder, transform)
perm = torch.randperm(len(dataset)).tolist()
train_set, test_set = Subset(dataset, perm[:1500]), Subset(dataset, perm[1500:])
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
test_loader = DataLoader(test_set, batch_size=100)

model = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

for epoch in range(12):
    model.train()
    running_loss = 0.0
    for images, labels in train_loader:
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()

    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            correct += (model(images).argmax(1) == labels).sum().item()
    print("epoch", epoch, "loss", running_loss / len(train_loader), "test acc", correct / len(test_set))
