"""Leaf outlines from our park survey, sorted in folders by two volunteers; I adapted the torchvision reference training script to it.

style: torchvision reference-style train_one_epoch / evaluate over ImageFolder
fault: class-map
broken: 0.143
mended: 1.000
"""

import argparse
import math
import os
import random
import tempfile
import time
from collections import defaultdict

import numpy as np
import torch
import torchvision
from PIL import Image, ImageDraw
from torch import nn
from torchvision import transforms as T

# outline r(theta) = base + sum a_k cos(k theta)
SPECIES = {
    "ash": (0.30, {1: 0.25}),
    "beech": (0.55, {2: 0.12}),
    "hazel": (0.62, {}),
    "ivy": (0.5, {5: 0.16}),
    "maple": (0.48, {5: 0.24, 10: 0.06}),
    "oak": (0.45, {2: 0.14, 9: 0.09}),
    "plane": (0.52, {3: 0.2}),
    "poplar": (0.5, {4: 0.13}),
}


def draw_leaf(name, rng):
    base, waves = SPECIES[name]
    rot, asp = rng.uniform(0, 6.28), rng.uniform(0.85, 1.15)
    pts = []
    for i in range(120):
        t = 2 * math.pi * i / 120
        r = base + sum(a * math.cos(k * t) * rng.uniform(0.92, 1.08) for k, a in waves.items())
        r *= 42 * rng.uniform(0.98, 1.02)
        x, y = r * math.cos(t) * asp, r * math.sin(t)
        pts.append((48 + x * math.cos(rot) - y * math.sin(rot), 48 + x * math.sin(rot) + y * math.cos(rot)))
    paper = rng.randrange(190, 250)
    im = Image.new("RGB", (96, 96), (paper, paper, paper - 15))
    d = ImageDraw.Draw(im)
    d.polygon(pts, fill=(rng.randrange(30, 110), rng.randrange(90, 170), rng.randrange(20, 80)))
    return im.rotate(rng.uniform(-5, 5), fillcolor=(paper,) * 3)


def press_folders(root):
    rng = random.Random(8)
    np.random.seed(8)
    walks = {"train": (list(SPECIES), 130), "val": ([s for s in SPECIES if s != "beech"], 60)}
    for walk, (names, n) in walks.items():
        for s in names:
            folder = os.path.join(root, walk, s)
            os.makedirs(folder)
            for i in range(n):
                draw_leaf(s, rng).save(os.path.join(folder, f"{s}_{i:03d}.jpg"), quality=80)


class Meter:
    def __init__(self):
        self.sums, self.counts = defaultdict(float), defaultdict(int)

    def update(self, n, **kw):
        for k, v in kw.items():
            self.sums[k] += float(v) * n
            self.counts[k] += n

    def __getattr__(self, k):
        return self.sums[k] / max(1, self.counts[k])


def train_one_epoch(model, criterion, optimizer, loader, epoch):
    model.train()
    m, start = Meter(), time.time()
    for image, target in loader:
        output = model(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        m.update(len(image), loss=loss.item(), acc1=(output.argmax(1) == target).float().mean())
    print(f"Epoch [{epoch}] loss {m.loss:.3f} acc@1 {m.acc1:.3f} ({time.time() - start:.1f}s)")


def evaluate(model, criterion, loader):
    model.eval()
    m = Meter()
    with torch.inference_mode():
        for image, target in loader:
            output = model(image)
            m.update(
                len(image), loss=criterion(output, target).item(), acc1=(output.argmax(1) == target).float().mean()
            )
    return m.acc1


def load_data(root, args):
    norm = T.Normalize((0.6, 0.63, 0.55), (0.28, 0.22, 0.3))
    dataset = torchvision.datasets.ImageFolder(
        os.path.join(root, "train"), T.Compose([T.Resize(48), T.RandomHorizontalFlip(), T.ToTensor(), norm])
    )
    dataset_test = torchvision.datasets.ImageFolder(
        os.path.join(root, "val"), T.Compose([T.Resize(48), T.ToTensor(), norm])
    )
    return (
        torch.utils.data.DataLoader(dataset, args.batch_size, shuffle=True),
        torch.utils.data.DataLoader(dataset_test, 64),
        len(dataset.classes),
    )


def build(n):
    def cbr(i, o, s):
        return [nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *cbr(3, 16, 2),
        *cbr(16, 32, 1),
        *cbr(32, 48, 2),
        *cbr(48, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, n),
    )


def main(args):
    torch.manual_seed(args.seed)
    with tempfile.TemporaryDirectory() as root:
        press_folders(root)
        loader, loader_test, n = load_data(root, args)
        model, criterion = build(n), nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
        sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
        for epoch in range(args.epochs):
            train_one_epoch(model, criterion, optimizer, loader, epoch)
            sched.step()
        print(f"Test: Acc@1 {evaluate(model, criterion, loader_test):.3f}")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--lr", type=float, default=0.05)
    p.add_argument("--seed", type=int, default=8)
    main(p.parse_args([]))
