"""Red cell, white cell or platelet: crops from blood smears, very unequal counts.

style: Kaggle kernel with a weighted sampler and macro F1
fault: none
broken: n/a
mended: 0.953
"""

import os
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

base = os.path.join(os.environ["FOVEA_SHARED"], "data/bccd")
CLASSES = {"RBC": 0, "WBC": 1, "Platelets": 2}
SIDE = 32
torch.set_num_threads(1)
torch.manual_seed(17)
np.random.seed(17)


def cut_cells(split):
    crops, labels = [], []
    for name in open(f"{base}/ImageSets/Main/{split}.txt").read().split():
        im = np.asarray(Image.open(f"{base}/JPEGImages/{name}.jpg").convert("RGB"))
        for o in ET.parse(f"{base}/Annotations/{name}.xml").getroot().iter("object"):
            kind = o.find("name").text
            x0, y0, x1, y1 = [int(float(o.find("bndbox").find(t).text)) for t in ("xmin", "ymin", "xmax", "ymax")]
            cx, cy, half = (x0 + x1) // 2, (y0 + y1) // 2, 56
            pad = np.pad(im, ((half, half), (half, half), (0, 0)), mode="reflect")
            tile = pad[cy : cy + 2 * half, cx : cx + 2 * half]
            if tile.shape[:2] != (2 * half, 2 * half):
                continue
            crops.append(np.asarray(Image.fromarray(tile).resize((SIDE, SIDE), Image.BILINEAR)))
            labels.append(CLASSES[kind])
    return np.stack(crops), np.array(labels)


class Cells(Dataset):
    def __init__(self, crops, labels, aug):
        self.crops, self.labels, self.aug = crops, labels, aug

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        a = self.crops[i]
        if self.aug:
            a = np.rot90(a, np.random.randint(4))
            if np.random.rand() < 0.5:
                a = a[:, ::-1]
        x = (a.astype(np.float32) / 255 - (0.62, 0.58, 0.70)) / (0.16, 0.18, 0.11)
        return torch.tensor(x.transpose(2, 0, 1).copy(), dtype=torch.float32), int(self.labels[i])


xtr, ytr = cut_cells("train")
xva, yva = cut_cells("val")
print("train", Counter(ytr.tolist()), "val", Counter(yva.tolist()))

freq = np.bincount(ytr)
sampler = WeightedRandomSampler(torch.as_tensor(1.0 / freq[ytr]), num_samples=1536, replacement=True)
train_dl = DataLoader(Cells(xtr, ytr, True), batch_size=48, sampler=sampler, drop_last=True)
valid_dl = DataLoader(Cells(xva, yva, False), batch_size=128)

model = nn.Sequential(
    nn.Conv2d(3, 24, 3, padding=1, bias=False),
    nn.BatchNorm2d(24),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(24, 48, 3, padding=1, bias=False),
    nn.BatchNorm2d(48),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(48, 64, 3, padding=1, bias=False),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Dropout(0.3),
    nn.Linear(64, 3),
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
criterion = nn.CrossEntropyLoss()

for epoch in range(7):
    model.train()
    losses = []
    for xb, yb in train_dl:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    preds, vl = [], 0.0
    with torch.no_grad():
        for xb, yb in valid_dl:
            out = model(xb)
            vl += criterion(out, yb).item() * len(yb)
            preds.append(out.argmax(1))
    preds = torch.cat(preds).numpy()
    f1, ba = f1_score(yva, preds, average="macro"), balanced_accuracy_score(yva, preds)
    scheduler.step()
    print(
        f"epoch {epoch} loss {np.mean(losses):.3f} val_loss {vl / len(yva):.3f} macro_f1 {f1:.3f} balanced_acc {ba:.3f} lr {optimizer.param_groups[0]['lr']:.1e}",
        flush=True,
    )
