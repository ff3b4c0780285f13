"""Backbone and head with an optimiser each, so that they can have their own learning rates.

style: script with two optimisers, model in two modules, global loop
fault: missing-zero-grad
broken: 0.38
mended: 0.59
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image

torch.manual_seed(4)
np.random.seed(4)

ROOT = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
KINDS = ["Fruit", "Packages", "Vegetables"]


def load_list(name, size=32):
    x, y = [], []
    for row in (ROOT / name).read_text().splitlines():
        file = row.split(",")[0]
        im = Image.open(ROOT / file)
        im.draft("RGB", (64, 64))
        x.append(np.array(im.convert("RGB").resize((size, size), Image.BILINEAR), dtype=np.float32))
        y.append(KINDS.index(file.split("/")[1]))
    x = np.stack(x).transpose(0, 3, 1, 2)
    return torch.from_numpy((x - 130) / 65), torch.tensor(y)


X, Y = load_list("train.txt")
XV, YV = load_list("val.txt")

backbone = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
)
head = nn.Sequential(nn.Linear(64 * 16, 64), nn.ReLU(), nn.Linear(64, 3))

opt_backbone = torch.optim.SGD(backbone.parameters(), lr=0.01, momentum=0.9)
opt_head = torch.optim.SGD(head.parameters(), lr=0.02, momentum=0.9)
ce = nn.CrossEntropyLoss()

BS = 64
for epoch in range(6):
    backbone.train()
    head.train()
    order = torch.randperm(len(X))
    epoch_loss, seen = 0.0, 0
    for start in range(0, len(order), BS):
        idx = order[start : start + BS]
        opt_head.zero_grad()
        scores = head(backbone(X[idx]))
        loss = ce(scores, Y[idx])
        loss.backward()
        opt_backbone.step()
        opt_head.step()
        epoch_loss += loss.item() * len(idx)
        seen += len(idx)
    backbone.eval()
    head.eval()
    with torch.no_grad():
        acc = (head(backbone(XV)).argmax(1) == YV).float().mean().item()
    print("epoch", epoch, "loss", round(epoch_loss / seen, 4), "val acc", round(acc, 4))
