"""Wildlife camera with a wide strip sensor (48x160). Six silhouettes; I reuse the preprocessing of my ImageNet
projects at a smaller size and wonder why it plateaus.

style: ecologist, PNG files in a temp dir, ImageFolder, torchvision recipe
fault: bad-resize
broken: 0.562
mended: 1.000
"""

import os
import random
import tempfile

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

random.seed(31)
np.random.seed(31)
torch.manual_seed(31)

H, W = 48, 160
SPECIES = {
    "boar": [
        (0, 12),
        (4, 6),
        (16, 4),
        (24, 8),
        (24, 16),
        (20, 16),
        (19, 22),
        (16, 22),
        (16, 16),
        (7, 16),
        (6, 22),
        (3, 22),
        (3, 15),
    ],
    "deer": [
        (0, 10),
        (16, 9),
        (19, 2),
        (22, 0),
        (21, 5),
        (25, 7),
        (20, 9),
        (19, 14),
        (18, 24),
        (16, 24),
        (15, 15),
        (5, 15),
        (4, 24),
        (2, 24),
    ],
    "fox": [
        (0, 16),
        (6, 10),
        (18, 9),
        (20, 6),
        (22, 9),
        (26, 11),
        (21, 13),
        (20, 20),
        (18, 20),
        (17, 14),
        (9, 14),
        (8, 20),
        (6, 20),
        (6, 13),
    ],
    "owl": [(8, 0), (11, 3), (14, 0), (17, 6), (17, 16), (14, 22), (11, 22), (8, 16), (8, 6)],
    "snake": [
        (0, 18),
        (5, 14),
        (10, 18),
        (15, 14),
        (20, 18),
        (25, 15),
        (26, 17),
        (20, 21),
        (15, 17),
        (10, 21),
        (5, 17),
        (1, 21),
    ],
    "hare": [
        (0, 14),
        (6, 8),
        (14, 9),
        (15, 0),
        (17, 0),
        (17, 8),
        (20, 11),
        (17, 14),
        (17, 20),
        (14, 20),
        (12, 16),
        (6, 16),
        (6, 20),
        (1, 20),
    ],
}


def photo(name):
    sky = np.linspace(150, 110, H)[:, None] + np.random.randn(H, W) * 7
    im = Image.fromarray(sky.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    d = ImageDraw.Draw(im)
    for _ in range(10):
        x = random.randint(0, W)
        d.line(
            [(x, H), (x + random.randint(-5, 5), random.randint(26, 40))],
            fill=random.randint(50, 90),
            width=random.choice([1, 2]),
        )
    sc = random.uniform(0.85, 1.2)
    x0, y0 = random.uniform(2, W - 34), random.uniform(6, H - 30)
    mirrored = random.random() < 0.5
    pts = [(26 - px if mirrored else px, py) for px, py in SPECIES[name]]
    d.polygon([(x0 + px * sc, y0 + py * sc) for px, py in pts], fill=random.randint(25, 70))
    a = np.asarray(im, np.float32) + np.random.randn(H, W) * 8
    return Image.fromarray(a.clip(0, 255).astype(np.uint8)).convert("RGB")


def write_tree(root):
    for split, n in (("train", 240), ("val", 70)):
        for name in SPECIES:
            folder = os.path.join(root, split, name)
            os.makedirs(folder)
            for i in range(n):
                photo(name).save(os.path.join(folder, f"{name}_{i:03d}.png"))


norm = transforms.Normalize([0.5] * 3, [0.2] * 3)
data_transforms = {
    "train": transforms.Compose(
        [
            transforms.Resize(48),
            transforms.CenterCrop(48),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            norm,
        ]
    ),
    "val": transforms.Compose(
        [
            transforms.Resize(48),
            transforms.CenterCrop(48),
            transforms.ToTensor(),
            norm,
        ]
    ),
}


def block(i, o):
    return [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]


with tempfile.TemporaryDirectory() as root:
    write_tree(root)
    sets = {s: datasets.ImageFolder(os.path.join(root, s), data_transforms[s]) for s in ("train", "val")}
    loaders = {s: DataLoader(sets[s], batch_size=48, shuffle=(s == "train")) for s in sets}

    model = nn.Sequential(
        *block(3, 16),
        *block(16, 32),
        *block(32, 64),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, len(SPECIES)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    best = 0.0
    for epoch in range(9):
        for phase in ("train", "val"):
            model.train(phase == "train")
            running_loss, running_corrects = 0.0, 0
            for inputs, labels in loaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * inputs.size(0)
                running_corrects += (outputs.argmax(1) == labels).sum().item()
            n = len(sets[phase])
            print(f"epoch {epoch} {phase:5s} loss {running_loss / n:.4f} acc {running_corrects / n:.4f}")
    print(f"final val accuracy {running_corrects / n:.4f}")
