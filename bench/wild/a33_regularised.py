"""Twelve groups of groceries with a regularised residual network, because the first try overfitted.

style: class-based with ReduceLROnPlateau and early stopping
fault: weight-decay-high
accept: underfitting
broken: 0.51
mended: 0.52
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
GROUPS = [0, 7, 9, 13, 16, 18, 19, 20, 27, 38, 39, 41]


class Photos(Dataset):
    def __init__(self, split, first, last, augment=False):
        root = SHARED / "data" / "grocery"
        count = dict.fromkeys(GROUPS, 0)
        self.augment = augment
        self.x, self.y = [], []
        for line in (root / f"{split}.txt").read_text().splitlines():
            path, _, group = line.split(", ")
            group = int(group)
            if group not in count:
                continue
            count[group] += 1
            if first < count[group] <= last:
                img = Image.open(root / path)
                img.draft("RGB", (80, 80))
                img = img.convert("RGB").resize((36, 36))
                self.x.append(torch.from_numpy(np.array(img)).permute(2, 0, 1))
                self.y.append(GROUPS.index(group))

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        x = self.x[i].float() / 127.5 - 1
        if self.augment:
            if torch.rand(()) < 0.5:
                x = x.flip(2)
            dx, dy = torch.randint(-3, 4, (2,)).tolist()
            x = torch.roll(x, (dy, dx), (1, 2))
        return x, self.y[i]


class ResUnit(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a = nn.Conv2d(c, c, 3, padding=1)
        self.b = nn.Conv2d(c, c, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x):
        return x + self.b(self.act(self.a(self.act(x))))


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 24, 3, stride=2, padding=1),
            ResUnit(24),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            ResUnit(48),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(48 * 9, classes),
        )

    def forward(self, x):
        return self.net(x)


class EarlyStopping:
    def __init__(self, patience):
        self.patience, self.best, self.bad = patience, -1.0, 0

    def __call__(self, value):
        self.best, self.bad = (value, 0) if value > self.best else (self.best, self.bad + 1)
        return self.bad >= self.patience


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(Photos("train", 0, 55, augment=True), batch_size=32, shuffle=True)
    val_loader = DataLoader(Photos("val", 0, 60) + Photos("train", 55, 85), batch_size=64)
    model = Net(len(GROUPS))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=0.2)
    scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=0.3, patience=4)
    stop = EarlyStopping(patience=8)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(18):
        model.train()
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(y)
        model.eval()
        hits = 0
        with torch.no_grad():
            for x, y in val_loader:
                hits += (model(x).argmax(1) == y).sum().item()
        acc = hits / len(val_loader.dataset)
        scheduler.step(acc)
        print(f"{epoch:02d} loss {running / len(train_loader.dataset):.4f} acc {acc:.4f}")
        if stop(acc):
            print("early stop, best", stop.best)
            break


if __name__ == "__main__":
    main()
