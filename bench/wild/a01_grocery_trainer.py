"""Recognises 81 kinds of groceries from small photos with a residual network and a Trainer class.

style: class-based Trainer, Dataset over list files
fault: class-map
"""

import os
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class GroceryDataset(Dataset):
    """Photos named by a list file: `path, class, coarse class` on each line."""

    def __init__(self, root, split, size=36, max_per_class=16, train=False):
        self.train = train
        rows = []
        seen = {}
        for line in (root / f"{split}.txt").read_text().splitlines():
            name, label, _ = line.split(", ")
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= max_per_class:
                rows.append((name, int(label)))
        self.classes = sorted({label for _, label in rows})
        self.class_to_idx = {c: i for i, c in enumerate(self.classes)}
        self.labels = [self.class_to_idx[label] for _, label in rows]
        self.images = []
        for name, _ in rows:
            img = Image.open(root / name)
            img.draft("RGB", (size * 2, size * 2))
            self.images.append(np.asarray(img.convert("RGB").resize((size, size), Image.BILINEAR)))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = torch.from_numpy(self.images[i].copy()).permute(2, 0, 1).float().div(255)
        x = (x - 0.45) / 0.25
        if self.train and random.random() < 0.5:
            x = x.flip(-1)
        return x, self.labels[i]


class Residual(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.down = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.down(x))


class GroceryNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(Residual(24, 32, 1), Residual(32, 64, 2), Residual(64, 96, 2))
        self.fc = nn.Linear(96, num_classes)

    def forward(self, x):
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


class Trainer:
    def __init__(self, model, train_set, val_set, epochs=11, lr=2e-3):
        self.model = model
        self.epochs = epochs
        self.train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        self.val_loader = DataLoader(val_set, batch_size=128)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-2)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=epochs)

    def train_epoch(self):
        self.model.train()
        total = 0.0
        for x, y in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(y)
        return total / len(self.train_loader.dataset)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        hits = 0
        for x, y in self.val_loader:
            hits += (self.model(x).argmax(1) == y).sum().item()
        return hits / len(self.val_loader.dataset)

    def fit(self):
        for epoch in range(self.epochs):
            loss = self.train_epoch()
            acc = self.validate()
            self.scheduler.step()
            print(f"epoch {epoch + 1:2d} train loss {loss:.3f} val acc {acc:.3f}")


if __name__ == "__main__":
    seed_everything(0)
    root = SHARED / "data" / "grocery"
    train_set = GroceryDataset(root, "train", train=True)
    val_set = GroceryDataset(root, "val")
    print(len(train_set), "train", len(val_set), "val", len(train_set.classes), "classes")
    Trainer(GroceryNet(len(train_set.classes)), train_set, val_set).fit()
