"""Fruit and vegetables named from the folder names of the two lists, scikit-learn encoder for the labels.

style: notebook flattened to a script, Dataset per split
fault: class-map
broken: 0.14
mended: 0.42
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.preprocessing import LabelEncoder
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

BASE = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
IMG = 32


def list_split(name):
    """Paths and the names of the produce: the folder below Fruit and Vegetables."""
    paths, names = [], []
    for line in (BASE / f"{name}.txt").read_text().splitlines():
        path = line.split(", ")[0]
        parts = path.split("/")
        if parts[1] in ("Fruit", "Vegetables"):
            paths.append(BASE / path)
            names.append(parts[2])
    return paths, names


class Produce(Dataset):
    def __init__(self, split, transform):
        self.paths, names = list_split(split)
        self.encoder = LabelEncoder()
        self.labels = self.encoder.fit_transform(names)
        self.transform = transform
        self.cache = {}

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        if i not in self.cache:
            img = Image.open(self.paths[i])
            img.draft("RGB", (64, 64))
            self.cache[i] = img.convert("RGB").resize((IMG, IMG), Image.BILINEAR)
        return self.transform(self.cache[i]), int(self.labels[i])


normalize = T.Normalize([0.55, 0.45, 0.33], [0.24, 0.24, 0.25])
train_tf = T.Compose([T.RandomCrop(IMG, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), normalize])
val_tf = T.Compose([T.ToTensor(), normalize])

torch.manual_seed(1)
train_ds, val_ds = Produce("train", train_tf), Produce("val", val_tf)
train_dl = DataLoader(train_ds, batch_size=48, shuffle=True, drop_last=True)
val_dl = DataLoader(val_ds, batch_size=64)
n_classes = len(train_ds.encoder.classes_)
print(len(train_ds), "train", len(val_ds), "val", n_classes, "classes")


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())


model = nn.Sequential(
    conv(3, 16),
    nn.MaxPool2d(2),
    conv(16, 32),
    nn.MaxPool2d(2),
    conv(32, 64),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(0.25),
    nn.Linear(64 * 4 * 4, n_classes),
)
opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
EPOCHS = 8
sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=4e-3, total_steps=EPOCHS * len(train_dl))
loss_fn = nn.CrossEntropyLoss()

for epoch in range(EPOCHS):
    model.train()
    tr_loss, tr_acc = [], []
    for xb, yb in train_dl:
        out = model(xb)
        loss = loss_fn(out, yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        tr_loss.append(loss.item())
        tr_acc.append((out.argmax(1) == yb).float().mean().item())
    model.eval()
    va_loss, right = 0.0, 0
    with torch.no_grad():
        for xb, yb in val_dl:
            out = model(xb)
            va_loss += loss_fn(out, yb).item() * len(yb)
            right += (out.argmax(1) == yb).sum().item()
    print(
        f"{epoch}: train {np.mean(tr_loss):.3f} / {np.mean(tr_acc):.3f}"
        f"  val {va_loss / len(val_ds):.3f} / {right / len(val_ds):.3f}"
    )
