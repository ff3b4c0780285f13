"""Predicts class and box of one figure in a picture; settings taken over from a recipe for eight cards.

style: config as a nested dict, runner class, linear scaling rule
source: https://github.com/open-mmlab/mmdetection/issues/1759
fault: learning-rate-low
broken: 0.80
mended: 0.98
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)

cfg = {
    "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
    "data": {"samples_per_gpu": 16, "n_train": 900, "n_val": 250},
    "base_batch_size": 8 * 64,
    "gpus": 1,
    "total_epochs": 9,
    "loss_weights": {"cls": 1.0, "box": 5.0},
}
FIGURES = ("disc", "frame", "plus", "wedge")


class OneFigure(Dataset):
    def __init__(self, n, seed, size=32):
        rng = np.random.default_rng(seed)
        self.records = []
        for _ in range(n):
            kind = int(rng.integers(len(FIGURES)))
            w, h = (int(v) for v in rng.integers(10, 18, 2))
            x, y = int(rng.integers(0, size - w)), int(rng.integers(0, size - h))
            img = Image.new("L", (size, size), 40)
            pen = ImageDraw.Draw(img)
            if kind == 0:
                pen.ellipse((x, y, x + w, y + h), fill=200)
            elif kind == 1:
                pen.rectangle((x, y, x + w, y + h), outline=200, width=3)
            elif kind == 2:
                pen.line((x + w // 2, y, x + w // 2, y + h), fill=200, width=3)
                pen.line((x, y + h // 2, x + w, y + h // 2), fill=200, width=3)
            else:
                pen.polygon([(x, y), (x + w, y), (x, y + h)], fill=200)
            pixels = (np.asarray(img, np.float32) + rng.normal(0, 10, (size, size)) - 70) / 65
            box = np.array([x + w / 2, y + h / 2, w, h], np.float32) / size
            self.records.append((pixels.astype(np.float32)[None], kind, box))

    def __len__(self):
        return len(self.records)

    def __getitem__(self, i):
        pixels, kind, box = self.records[i]
        return torch.from_numpy(pixels), kind, torch.from_numpy(box)


class OneStage(nn.Module):
    def __init__(self):
        super().__init__()
        layers, cin = [], 1
        for cout, stride in ((16, 2), (24, 1), (32, 2), (32, 2)):
            layers += [nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)]
            cin = cout
        self.backbone = nn.Sequential(*layers, nn.Flatten())
        self.cls_head = nn.Linear(32 * 16, len(FIGURES))
        self.box_head = nn.Sequential(nn.Linear(32 * 16, 4), nn.Sigmoid())

    def forward(self, x):
        features = self.backbone(x)
        return self.cls_head(features), self.box_head(features)


def iou(a, b):
    lo = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    hi = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    inter = (hi - lo).clamp_min(0).prod(1)
    return inter / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - inter)


def scaled_lr(cfg):
    total = cfg["gpus"] * cfg["data"]["samples_per_gpu"]
    return cfg["optimizer"]["lr"] * total / cfg["base_batch_size"]


class Runner:
    def __init__(self, cfg, model):
        self.cfg, self.model = cfg, model
        opt = cfg["optimizer"]
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=scaled_lr(cfg), momentum=opt["momentum"], weight_decay=opt["weight_decay"]
        )

    def train(self, loader):
        self.model.train()
        logs = []
        for x, kind, box in loader:
            cls, pred = self.model(x)
            weights = self.cfg["loss_weights"]
            loss = weights["cls"] * F.cross_entropy(cls, kind) + weights["box"] * F.smooth_l1_loss(pred, box, beta=0.05)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            logs.append(loss.item())
        return np.mean(logs)

    @torch.no_grad()
    def val(self, loader):
        self.model.eval()
        found = []
        overlaps = []
        for x, kind, box in loader:
            cls, pred = self.model(x)
            overlap = iou(pred, box)
            found.append((cls.argmax(1) == kind) & (overlap > 0.5))
            overlaps.append(overlap)
        return torch.cat(found).float().mean().item(), torch.cat(overlaps).mean().item()


def main():
    torch.manual_seed(0)
    data = cfg["data"]
    train_loader = DataLoader(OneFigure(data["n_train"], 1), data["samples_per_gpu"], shuffle=True)
    val_loader = DataLoader(OneFigure(data["n_val"], 2), 50)
    runner = Runner(cfg, OneStage())
    for epoch in range(cfg["total_epochs"]):
        loss = runner.train(train_loader)
        ap, overlap = runner.val(val_loader)
        print(f"Epoch [{epoch + 1}][{cfg['total_epochs']}] loss: {loss:.4f}, acc@50: {ap:.3f}, mean IoU: {overlap:.3f}")


if __name__ == "__main__":
    main()
