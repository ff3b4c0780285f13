"""Cell crops in batches of four, group normalisation because of them.

style: engine.py with AverageMeter, SGD, dict batches
fault: none
broken: n/a
mended: 1.00
"""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

BCCD = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "bccd"
KIND = {"RBC": 0, "WBC": 1, "Platelets": 2}


class AverageMeter:
    def __init__(self, name):
        self.name, self.total, self.n = name, 0.0, 0

    def update(self, v, n=1):
        self.total += v * n
        self.n += n

    def __str__(self):
        return f"{self.name} {self.total / self.n:.4f}"


class Cells(Dataset):
    def __init__(self, split, flip):
        self.flip, self.records = flip, []
        for stem in (BCCD / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            img = Image.open(BCCD / "JPEGImages" / f"{stem}.jpg").convert("RGB")
            tree, reds = ET.parse(BCCD / "Annotations" / f"{stem}.xml"), 0
            for obj in tree.getroot().iter("object"):
                name, bb = obj.findtext("name"), obj.find("bndbox")
                reds += name == "RBC"
                if name == "RBC" and reds > 1:
                    continue
                x0, y0, x1, y1 = (int(bb.findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
                if min(x1 - x0, y1 - y0) < 4:
                    continue
                cx, cy, half = (x0 + x1) // 2, (y0 + y1) // 2, 60
                crop = img.crop((cx - half, cy - half, cx + half, cy + half)).resize((32, 32), Image.BILINEAR)
                self.records.append((np.asarray(crop), KIND[name]))

    def __len__(self):
        return len(self.records)

    def __getitem__(self, i):
        array, label = self.records[i]
        if self.flip:
            array = np.rot90(array, np.random.randint(4))
        x = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1).float() / 255
        return {"image": (x - 0.68) / 0.17, "label": label}


def gn_block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.GroupNorm(8, o), nn.ReLU(inplace=True))


class GNNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(gn_block(3, 16), gn_block(16, 32), gn_block(32, 64), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(64, len(KIND))

    def forward(self, batch):
        return self.head(self.body(batch["image"]).flatten(1))


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    losses, acc = AverageMeter("loss"), AverageMeter("acc")
    for batch in loader:
        out = model(batch)
        loss = criterion(out, batch["label"])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        n = len(batch["label"])
        losses.update(loss.item(), n)
        acc.update((out.argmax(1) == batch["label"]).float().mean().item(), n)
    return losses, acc


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    acc = AverageMeter("val acc")
    for batch in loader:
        hit = (model(batch).argmax(1) == batch["label"]).float().mean().item()
        acc.update(hit, len(batch["label"]))
    return acc


def main():
    torch.manual_seed(33)
    np.random.seed(33)
    train = DataLoader(Cells("train", True), batch_size=4, shuffle=True)
    val = DataLoader(Cells("val", False), batch_size=64)
    model = GNNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=4e-3, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(3):
        print(epoch, *train_one_epoch(model, train, criterion, optimizer), evaluate(model, val))


if __name__ == "__main__":
    main()
