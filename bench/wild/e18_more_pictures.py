"""Produce recognition from few pictures per product, set enlarged offline.

style: research script, pictures enlarged once and kept in memory, random split, small convnet from scratch, Adam
fault: split-leakage
broken: 0.962
mended: 0.704
"""

import os
import random
from collections import defaultdict

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageEnhance
from torch.utils.data import DataLoader, Subset, TensorDataset

ROOT = os.path.join(os.environ["FOVEA_SHARED"], "data", "grocery")
SIDE, COPIES, PER_CLASS = 40, 5, 26
random.seed(18)
np.random.seed(18)
torch.manual_seed(18)


def pick():
    groups = defaultdict(list)
    for line in open(os.path.join(ROOT, "train.txt")):
        path, _, coarse = [v.strip() for v in line.split(",")]
        groups[int(coarse)].append(path)
    kept = sorted(c for c, files in groups.items() if len(files) >= PER_CLASS)
    for new, c in enumerate(kept):
        for path in random.sample(groups[c], PER_CLASS):
            yield path, new


def variants(im):
    """The photo and four slightly changed versions of it."""
    yield im
    w, h = im.size
    for _ in range(COPIES - 1):
        z = im.transpose(Image.FLIP_LEFT_RIGHT) if random.random() < 0.5 else im
        dx, dy = random.randint(0, w // 12), random.randint(0, h // 12)
        z = z.crop((dx, dy, w - w // 12 + dx, h - h // 12 + dy)).resize((w, h))
        yield ImageEnhance.Brightness(z).enhance(random.uniform(0.9, 1.1))


pictures, targets, source = [], [], []
for number, (path, t) in enumerate(pick()):
    im = Image.open(os.path.join(ROOT, path))
    im.draft("RGB", (96, 96))
    im = im.convert("RGB").resize((SIDE, SIDE), Image.BILINEAR)
    for v in variants(im):
        pictures.append(np.asarray(v, np.uint8))
        targets.append(t)
        source.append(number)
x = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
y, source = torch.tensor(targets), np.array(source)
n_classes = int(y.max()) + 1
print(f"{len(x)} pictures of {n_classes} products")

# 80 / 20
order = np.random.permutation(len(x))
train_idx, val_idx = order[len(x) // 5 :], order[: len(x) // 5]
data = TensorDataset(x, y)
train = DataLoader(Subset(data, train_idx.tolist()), batch_size=64, shuffle=True)
val = DataLoader(Subset(data, val_idx.tolist()), batch_size=128)


def layer(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))


net = nn.Sequential(
    layer(3, 24), layer(24, 48), layer(48, 64), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 25, n_classes)
)
opt = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-4)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 12)
for epoch in range(12):
    net.train()
    total = hits = 0
    for xb, yb in train:
        out = net(xb)
        loss = nn.functional.cross_entropy(out, yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss.item() * len(yb)
        hits += (out.argmax(1) == yb).sum().item()
    sched.step()
    net.eval()
    with torch.no_grad():
        right = sum((net(xb).argmax(1) == yb).sum().item() for xb, yb in val)
    print(
        f"epoch {epoch:2d}  loss {total / len(train_idx):.3f}  train {hits / len(train_idx):.3f}  val {right / len(val_idx):.3f}"
    )
print(f"validation accuracy: {right / len(val_idx):.3f}")
