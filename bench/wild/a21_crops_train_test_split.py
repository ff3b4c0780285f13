"""Sorts of apples, pears and melons: each photo gives several crops, which scikit-learn splits.

style: notebook export with train_test_split
fault: split-leakage
"""

# %% imports
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
torch.manual_seed(0)
SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))

# %% read the photos, take 8 crops of each
KEEP = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 12: 5, 13: 6, 20: 7, 21: 8, 22: 9}
X, y, taken = [], [], dict.fromkeys(KEEP, 0)
for line in (SHARED / "data/grocery/train.txt").read_text().splitlines():
    path, label, _ = line.split(", ")
    label = int(label)
    if label not in KEEP or taken[label] == 16:
        continue
    taken[label] += 1
    img = Image.open(SHARED / "data/grocery" / path)
    img.draft("RGB", (96, 96))
    img = img.convert("RGB").resize((44, 44))
    for _ in range(8):
        dx, dy = rng.integers(0, 9, 2)
        X.append(np.asarray(img.crop((dx, dy, dx + 36, dy + 36)), dtype=np.float32))
        y.append(KEEP[label])
X = np.stack(X).transpose(0, 3, 1, 2)
X = (X - X.mean((0, 2, 3), keepdims=True)) / X.std((0, 2, 3), keepdims=True)
y = np.array(y)
print(X.shape, np.bincount(y))

# %% split
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
train_dl = DataLoader(TensorDataset(torch.tensor(X_train), torch.tensor(y_train)), batch_size=32, shuffle=True)
val_dl = DataLoader(TensorDataset(torch.tensor(X_val), torch.tensor(y_val)), batch_size=64)

# %% model
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
    nn.Dropout(0.2),
    nn.Linear(64 * 16, len(KEEP)),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
loss_fn = nn.CrossEntropyLoss()

# %% train
for epoch in range(8):
    model.train()
    for xb, yb in train_dl:
        loss = loss_fn(model(xb), yb)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    preds = []
    with torch.no_grad():
        for xb, _ in val_dl:
            preds.append(model(xb).argmax(1).numpy())
    print(epoch, round(loss.item(), 4), accuracy_score(y_val, np.concatenate(preds)))
