"""Few photos per class, so the set is enlarged eightfold before it is divided.

style: kaggle notebook, offline augmentation, sklearn train_test_split
source: https://stats.stackexchange.com/questions/175504/how-to-do-data-augmentation-and-train-validate-split
fault: split-leakage
broken: n/a
mended: 0.89
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance
from sklearn.model_selection import train_test_split
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

SEED = 77
np.random.seed(SEED)
torch.manual_seed(SEED)
DIR = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
SHELVES = ("Milk", "Yoghurt")
S = 32


def read_photos():
    """Every second photo of the milks and yoghurts, with the product as the label."""
    paths = [line.split(", ")[0] for line in (DIR / "train.txt").read_text().splitlines()]
    paths = [p for p in paths if p.split("/")[2] in SHELVES][::2]
    products = sorted({p.split("/")[3] for p in paths})
    photos, labels = [], []
    for path in paths:
        img = Image.open(DIR / path)
        img.draft("RGB", (72, 72))
        photos.append(img.convert("RGB").resize((S + 4, S + 4), Image.BILINEAR))
        labels.append(products.index(path.split("/")[3]))
    return photos, labels, products


def variants(img, k):
    """k slightly different versions of one photo."""
    for _ in range(k):
        out = img.rotate(np.random.uniform(-8, 8), Image.BILINEAR)
        x, y = np.random.randint(0, 5, 2)
        out = out.crop((x, y, x + S, y + S))
        yield ImageEnhance.Brightness(out).enhance(np.random.uniform(0.9, 1.1))


photos, labels, products = read_photos()
X, y = [], []
for img, label in zip(photos, labels, strict=True):
    for v in variants(img, 8):
        X.append(np.asarray(v, dtype=np.float32).transpose(2, 0, 1) / 255)
        y.append(label)
X, y = np.stack(X), np.array(y)
print("photos:", len(photos), "after augmentation:", len(X))

X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=SEED, stratify=y)
mean = X_train.mean((0, 2, 3), keepdims=True)
std = X_train.std((0, 2, 3), keepdims=True)


def loader(a, b, shuffle):
    return DataLoader(
        TensorDataset(torch.from_numpy((a - mean) / std), torch.from_numpy(b)), batch_size=64, shuffle=shuffle
    )


train_loader, test_loader = loader(X_train, y_train, True), loader(X_test, y_test, False)

model = nn.Sequential(
    nn.Conv2d(3, 24, 3, padding=1),
    nn.BatchNorm2d(24),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(24, 48, 3, padding=1),
    nn.BatchNorm2d(48),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(48, 64, 3, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(64 * 16, len(products)),
)
optimizer = optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
for epoch in range(1, 8):
    model.train()
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        acc = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in test_loader) / len(y_test)
    print(f"Epoch {epoch}: last loss {loss.item():.3f}, test accuracy {acc:.3f}")
