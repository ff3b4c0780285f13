"""Type of blood cell from a crop around its box.

style: VOC XML annotations, crops in memory, WeightedRandomSampler, balanced accuracy, RMSprop
fault: none
broken: n/a
mended: 0.993
"""

import os
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

BCCD = os.path.join(os.environ["FOVEA_SHARED"], "data", "bccd")
CELLS = {"RBC": 0, "WBC": 1, "Platelets": 2}
SIDE = 32


def crops_of(split):
    ids = open(f"{BCCD}/ImageSets/Main/{split}.txt").read().split()
    pictures, labels = [], []
    for name in ids:
        root = ET.parse(f"{BCCD}/Annotations/{name}.xml").getroot()
        im = Image.open(f"{BCCD}/JPEGImages/{name}.jpg").convert("RGB")
        for obj in root.iter("object"):
            b = obj.find("bndbox")
            x0, y0, x1, y1 = (int(float(b.find(k).text)) for k in ("xmin", "ymin", "xmax", "ymax"))
            cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
            half = max(max(x1 - x0, y1 - y0) / 2, 16)
            if cx - half < 0 or cy - half < 0 or cx + half > im.width or cy + half > im.height:
                continue
            crop = im.crop((int(cx - half), int(cy - half), int(cx + half), int(cy + half))).resize(
                (SIDE, SIDE), Image.BILINEAR
            )
            pictures.append(np.asarray(crop))
            labels.append(CELLS[obj.find("name").text])
    return np.stack(pictures), np.array(labels)


class Crops(Dataset):
    def __init__(self, pictures, labels, mean, std, train):
        self.pictures, self.labels, self.mean, self.std, self.train = pictures, labels, mean, std, train

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        a = (self.pictures[i].astype(np.float32) / 255 - self.mean) / self.std
        if self.train:  # a cell has no up or down
            a = np.rot90(a, np.random.randint(4))
            if np.random.rand() < 0.5:
                a = a[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1))), int(self.labels[i])


def net():
    def step(i, o):
        return [nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1), nn.MaxPool2d(2)]

    return nn.Sequential(
        *step(3, 16), *step(16, 32), *step(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)
    )


def balanced_accuracy(pred, true):
    return float(np.mean([(pred[true == c] == c).mean() for c in np.unique(true)]))


if __name__ == "__main__":
    torch.manual_seed(0)
    np.random.seed(0)
    px, py = crops_of("train")
    vx, vy = crops_of("val")
    tx, ty = crops_of("test")
    vx, vy = np.concatenate([vx, tx]), np.concatenate([vy, ty])
    mean, std = (px / 255).mean((0, 1, 2)).astype(np.float32), (px / 255).std((0, 1, 2)).astype(np.float32)
    print("train", Counter(py.tolist()), "held out", Counter(vy.tolist()))
    share = np.bincount(py) / len(py)
    sampler = WeightedRandomSampler(torch.tensor(1 / share[py]), num_samples=1600, replacement=True)
    train = DataLoader(Crops(px, py, mean, std, True), batch_size=64, sampler=sampler)
    held = DataLoader(Crops(vx, vy, mean, std, False), batch_size=200)
    model = net()
    opt = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    plan = torch.optim.lr_scheduler.ExponentialLR(opt, 0.8)
    for epoch in range(8):
        model.train()
        seen, total = 0, 0.0
        for x, y in train:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            seen, total = seen + len(y), total + loss.item() * len(y)
        plan.step()
        model.eval()
        with torch.no_grad():
            pred = np.concatenate([model(x).argmax(1).numpy() for x, _ in held])
        print(f"epoch {epoch}: loss {total / seen:.4f}  balanced accuracy {balanced_accuracy(pred, vy):.4f}")
    print("final balanced accuracy %.4f" % balanced_accuracy(pred, vy))
