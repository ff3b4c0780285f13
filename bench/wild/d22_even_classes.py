"""Thirty-odd kinds of fruit and vegetables with unequal counts, made even before training.

style: Kaggle kernel, pandas-like lists, small CNN from scratch
fault: split-leakage
broken: 0.898
mended: 0.758
"""

import os

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from sklearn.model_selection import train_test_split
from sklearn.utils import resample
from torch.utils.data import DataLoader, Dataset

SEED, IMG, BS, EPOCHS = 1, 32, 32, 7
ROOT = os.path.join(os.environ["FOVEA_SHARED"], "data", "grocery")
torch.manual_seed(SEED)
np.random.seed(SEED)
torch.set_num_threads(1)


def load():
    rows = []
    for line in open(os.path.join(ROOT, "train.txt")):
        path, fine, _ = line.strip().split(", ")
        if "/Packages/" not in path:
            rows.append((path, int(fine)))
    ids = {c: i for i, c in enumerate(sorted({r[1] for r in rows}))}
    x, y = [], []
    for path, fine in rows:
        im = Image.open(os.path.join(ROOT, path))
        im.draft("RGB", (64, 64))
        x.append(np.asarray(im.convert("RGB").resize((IMG, IMG))))
        y.append(ids[fine])
    return np.stack(x), np.array(y)


def balance(x, y, per_class):
    xs, ys = [], []
    for c in np.unique(y):
        part = resample(x[y == c], replace=True, n_samples=per_class, random_state=SEED)
        xs.append(part)
        ys.append(np.full(per_class, c))
    return np.concatenate(xs), np.concatenate(ys)


class Produce(Dataset):
    def __init__(self, x, y, training):
        self.x, self.y, self.training = x, y, training

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        im = self.x[i]
        if self.training and np.random.rand() < 0.5:
            im = im[:, ::-1]
        t = torch.from_numpy(im.transpose(2, 0, 1).astype(np.float32) / 255)
        return (t - 0.45) / 0.27, int(self.y[i])


images, labels = load()
images, labels = balance(images, labels, 60)
x_train, x_val, y_train, y_val = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=SEED)
n_classes = labels.max() + 1
print("train", x_train.shape, "val", x_val.shape, "classes", n_classes)

train_dl = DataLoader(Produce(x_train, y_train, True), BS, shuffle=True, drop_last=True)
val_dl = DataLoader(Produce(x_val, y_val, False), 128)


def stage(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))


model = nn.Sequential(
    stage(3, 32), stage(32, 64), stage(64, 128), nn.Flatten(), nn.Dropout(0.4), nn.Linear(128 * 16, int(n_classes))
)
opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, EPOCHS)
crit = nn.CrossEntropyLoss()

for epoch in range(EPOCHS):
    model.train()
    loss_sum = acc_sum = 0.0
    for xb, yb in train_dl:
        out = model(xb)
        loss = crit(out, yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        loss_sum += loss.item()
        acc_sum += (out.argmax(1) == yb).float().mean().item()
    sched.step()
    model.eval()
    vl = vc = 0.0
    with torch.no_grad():
        for xb, yb in val_dl:
            out = model(xb)
            vl += crit(out, yb).item() * len(yb)
            vc += (out.argmax(1) == yb).sum().item()
    print(
        f"Epoch {epoch + 1}/{EPOCHS} - loss: {loss_sum / len(train_dl):.4f} - acc: {acc_sum / len(train_dl):.4f} - val_loss: {vl / len(y_val):.4f} - val_acc: {vc / len(y_val):.4f}",
        flush=True,
    )
