"""Extension-service app: eight kinds of leaf damage photographed on a scanner. Photos come as one folder per
kind; of one kind we were only sent a handful, which all went into training.

style: agronomist, ImageFolder trees, function per step
fault: class-map
broken: 0.143
mended: 1.000
"""

import pathlib
import random
import tempfile

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

KINDS = ["anthracnose", "chlorosis", "galls", "healthy", "leafminer", "mildew", "rust", "scorch"]
PX = 40


def scan(kind):
    big = PX * 2
    im = Image.new("RGB", (big, big), (235, 235, 230))
    d = ImageDraw.Draw(im)
    green = (random.randint(50, 80), random.randint(120, 150), random.randint(40, 70))
    if kind == "chlorosis":
        green = (random.randint(160, 185), random.randint(165, 185), random.randint(60, 90))
    a, b = random.randint(26, 32), random.randint(30, 38)
    d.ellipse([40 - a, 40 - b, 40 + a, 40 + b], fill=green)
    vein = tuple(int(c * 1.15) for c in green)
    d.line([(40, 40 - b), (40, 40 + b)], fill=vein, width=2)
    for y in range(-20, 24, 10):
        d.line([(40, 40 + y), (40 + a - 6, 32 + y)], fill=vein)
        d.line([(40, 40 + y), (40 - a + 6, 32 + y)], fill=vein)

    def spots(n, lo, hi, fill, outline=None):
        for _ in range(n):
            x, y, r = random.randint(22, 58), random.randint(18, 62), random.randint(lo, hi)
            d.ellipse([x - r, y - r, x + r, y + r], fill=fill, outline=outline)

    if kind == "anthracnose":
        spots(random.randint(3, 6), 4, 7, (60, 35, 25), (110, 80, 40))
    elif kind == "galls":
        spots(random.randint(5, 9), 2, 4, (150, 60, 80), (200, 120, 130))
    elif kind == "rust":
        spots(random.randint(20, 35), 1, 2, (200, 110, 30))
    elif kind == "mildew":
        spots(random.randint(4, 8), 4, 8, (205, 210, 205))
    elif kind == "scorch":
        d.arc(
            [40 - a, 40 - b, 40 + a, 40 + b],
            random.randint(0, 90),
            random.randint(200, 360),
            fill=(120, 80, 40),
            width=7,
        )
    elif kind == "leafminer":
        p = [(random.randint(25, 55), random.randint(25, 55))]
        for _ in range(14):
            p.append(
                (min(58, max(22, p[-1][0] + random.randint(-9, 9))), min(60, max(20, p[-1][1] + random.randint(-9, 9))))
            )
        d.line(p, fill=(215, 215, 190), width=2)
    im = (
        im.rotate(random.uniform(0, 360), fillcolor=(235, 235, 230))
        .filter(ImageFilter.GaussianBlur(0.7))
        .resize((PX, PX))
    )
    arr = np.asarray(im, np.float32) * random.uniform(0.85, 1.08) + np.random.randn(PX, PX, 3) * 6
    return Image.fromarray(arr.clip(0, 255).astype(np.uint8))


def fill_folders(root):
    for kind in KINDS:
        counts = {"train": 150, "val": 50}
        if kind == "chlorosis":
            counts = {"train": 30}
        for split, n in counts.items():
            folder = root / split / kind
            folder.mkdir(parents=True)
            for i in range(n):
                scan(kind).save(folder / f"{i:04d}.png")


def transforms(train):
    steps = [v2.ToImage()]
    if train:
        steps += [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.6, 0.65, 0.5], [0.25, 0.2, 0.25])]
    return v2.Compose(steps)


def loaders(root):
    train = ImageFolder(root / "train", transforms(True))
    val = ImageFolder(root / "val", transforms(False))
    return DataLoader(train, 40, shuffle=True), DataLoader(val, 100), len(train.classes)


def model(n):
    def stage(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))

    return nn.Sequential(
        stage(3, 16), stage(16, 32), stage(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, n)
    )


def run_epoch(net, loader, opt=None):
    net.train(opt is not None)
    total, right, loss_sum = 0, 0, 0.0
    with torch.set_grad_enabled(opt is not None):
        for x, y in loader:
            out = net(x)
            loss = nn.functional.cross_entropy(out, y)
            if opt is not None:
                opt.zero_grad()
                loss.backward()
                opt.step()
            loss_sum += loss.item() * len(y)
            right += (out.argmax(1) == y).sum().item()
            total += len(y)
    return loss_sum / total, right / total


def main():
    random.seed(12)
    np.random.seed(12)
    torch.manual_seed(12)
    with tempfile.TemporaryDirectory() as tmp:
        root = pathlib.Path(tmp)
        fill_folders(root)
        train_dl, val_dl, n = loaders(root)
        net = model(n)
        opt = torch.optim.Adam(net.parameters(), lr=3e-3)
        for e in range(12):
            tl, ta = run_epoch(net, train_dl, opt)
            vl, va = run_epoch(net, val_dl)
            print(f"epoch {e + 1:2d}: train {tl:.3f}/{ta:.3f}   val {vl:.3f}/{va:.3f}")
    print(f"validation accuracy {va:.4f}")


if __name__ == "__main__":
    main()
