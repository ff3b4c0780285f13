"""Grocery photos, nine classes, a VGG-like network with batch norm and dropout; validated after each epoch.

style: script with fit and validate functions, tqdm-like prints
fault: eval-in-train-mode
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
COARSE = {0: 0, 7: 1, 13: 2, 19: 3, 20: 4, 27: 5, 38: 6, 39: 7, 41: 8}


class Photos(Dataset):
    def __init__(self, parts, transform):
        root = SHARED / "data" / "grocery"
        self.transform = transform
        self.images, self.labels = [], []
        for split, start, stop in parts:
            count = np.zeros(len(COARSE), int)
            for line in (root / f"{split}.txt").read_text().splitlines():
                path, _, coarse = line.split(", ")
                label = COARSE.get(int(coarse))
                if label is None:
                    continue
                count[label] += 1
                if start < count[label] <= stop:
                    photo = Image.open(root / path)
                    photo.draft("RGB", (80, 80))
                    self.images.append(photo.convert("RGB").resize((40, 40), Image.BICUBIC))
                    self.labels.append(label)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(self.images[i]), self.labels[i]


def conv_bn(i, o):
    return [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True)]


class VGG(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.body = nn.Sequential(
            *conv_bn(3, 24),
            nn.MaxPool2d(2),
            *conv_bn(24, 48),
            nn.MaxPool2d(2),
            *conv_bn(48, 64),
            *conv_bn(64, 64),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64 * 25, 128),
            nn.ReLU(True),
            nn.Dropout(0.5),
            nn.Linear(128, n_classes),
        )

    def forward(self, x):
        return self.head(self.body(x))


def fit(model, loader, optimizer, scheduler, criterion, epoch):
    model.train()
    seen, total = 0, 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.item() * len(y)
        seen += len(y)
    sys.stdout.write(f"epoch {epoch}: train loss {total / seen:.4f} ")


def validate(model, loader, criterion):
    correct, seen, total = 0, 0, 0.0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            total += criterion(out, y).item() * len(y)
            correct += int((out.argmax(1) == y).sum())
            seen += len(y)
    sys.stdout.write(f"val loss {total / seen:.4f} val acc {correct / seen:.4f}\n")


if __name__ == "__main__":
    torch.manual_seed(2)
    norm = transforms.Normalize([0.5, 0.45, 0.36], [0.25, 0.25, 0.25])
    train_tf = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor(), norm])
    val_tf = transforms.Compose([transforms.ToTensor(), norm])
    train_loader = DataLoader(Photos([("train", 0, 70)], train_tf), batch_size=32, shuffle=True)
    val_loader = DataLoader(Photos([("val", 0, 40), ("train", 70, 100)], val_tf), batch_size=8)
    model = VGG(len(COARSE))
    criterion = nn.CrossEntropyLoss()
    epochs = 8
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = OneCycleLR(optimizer, max_lr=2e-3, total_steps=epochs * len(train_loader))
    for epoch in range(epochs):
        fit(model, train_loader, optimizer, scheduler, criterion, epoch)
        validate(model, val_loader, criterion)
