"""Tram tickets are long strips with one stamped zone symbol somewhere along them.  Which of six symbols is it?

style: transport operator intern, nested config dict, registry of builders
fault: bad-resize
broken: 0.443
mended: 1.000
"""

import random

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

CFG = {
    "seed": 19,
    "data": {
        "n_train": 1500,
        "n_test": 420,
        "batch": 30,
        "pipeline": [
            {"name": "Resize", "size": 32},
            {"name": "CenterCrop", "size": 32},
            {"name": "ToTensor"},
            {"name": "Normalize", "mean": [0.75], "std": [0.2]},
        ],
    },
    "model": {"widths": [16, 32, 48], "classes": 6},
    "optim": {"name": "AdamW", "lr": 2e-3, "weight_decay": 1e-3},
    "train": {"epochs": 9},
}


def build_pipeline(specs):
    steps = []
    for spec in specs:
        spec = dict(spec)
        steps.append(getattr(transforms, spec.pop("name"))(**spec))
    return transforms.Compose(steps)


def build_optimizer(params, spec):
    spec = dict(spec)
    return getattr(torch.optim, spec.pop("name"))(params, **spec)


def ticket(zone):
    W, H = 200, 40
    base = random.randint(200, 240)
    im = Image.new("L", (W, H), base)
    d = ImageDraw.Draw(im)
    for x in range(0, W, random.choice((5, 6, 7))):  # guilloche background
        d.line([x, 0, x + 12, H], fill=base - random.randint(15, 30))
    for _ in range(4):  # printed text rows
        y, x = random.randint(3, H - 6), random.randint(0, W - 50)
        for k in range(random.randint(4, 9)):
            d.rectangle([x + 5 * k, y, x + 5 * k + 3, y + 3], fill=base - 90)
    cx, cy, r = random.randint(16, W - 16), random.randint(15, H - 15), random.randint(9, 12)
    ink = random.randint(10, 60)
    if zone == 0:
        d.ellipse([cx - r, cy - r, cx + r, cy + r], outline=ink, width=3)
    elif zone == 1:
        d.rectangle([cx - r, cy - r, cx + r, cy + r], outline=ink, width=3)
    elif zone == 2:
        d.polygon([(cx, cy - r), (cx - r, cy + r), (cx + r, cy + r)], fill=ink)
    elif zone == 3:
        d.line([cx - r, cy - r, cx + r, cy + r], fill=ink, width=4)
        d.line([cx - r, cy + r, cx + r, cy - r], fill=ink, width=4)
    elif zone == 4:
        d.rectangle([cx - r, cy - 2, cx + r, cy + 2], fill=ink)
        d.rectangle([cx - 2, cy - r, cx + 2, cy + r], fill=ink)
    else:
        d.ellipse([cx - r, cy - r, cx + r, cy + r], fill=ink)
    return im


class Tickets(Dataset):
    def __init__(self, n, pipeline):
        self.zones = [random.randrange(6) for _ in range(n)]
        self.scans = [ticket(z) for z in self.zones]
        self.pipeline = pipeline

    def __len__(self):
        return len(self.zones)

    def __getitem__(self, i):
        return self.pipeline(self.scans[i]), self.zones[i]


def build_model(spec):
    layers, c = [], 1
    for w in spec["widths"]:
        layers += [nn.Conv2d(c, w, 3, padding=1), nn.BatchNorm2d(w), nn.ReLU(), nn.MaxPool2d(2)]
        c = w
    layers += [
        nn.Conv2d(c, c, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(c, spec["classes"]),
    ]
    return nn.Sequential(*layers)


def main(cfg):
    random.seed(cfg["seed"])
    np.random.seed(cfg["seed"])
    torch.manual_seed(cfg["seed"])
    pipe = build_pipeline(cfg["data"]["pipeline"])
    train = DataLoader(Tickets(cfg["data"]["n_train"], pipe), cfg["data"]["batch"], shuffle=True)
    test = DataLoader(Tickets(cfg["data"]["n_test"], pipe), 105)
    model = build_model(cfg["model"])
    optim = build_optimizer(model.parameters(), cfg["optim"])
    lossf = nn.CrossEntropyLoss()
    for epoch in range(cfg["train"]["epochs"]):
        model.train()
        acc_loss = 0.0
        for scan, zone in train:
            optim.zero_grad()
            loss = lossf(model(scan), zone)
            loss.backward()
            optim.step()
            acc_loss += loss.item()
        model.eval()
        with torch.no_grad():
            right = sum((model(s).argmax(1) == z).sum().item() for s, z in test)
        print({"epoch": epoch, "loss": round(acc_loss / len(train), 3), "test": round(right / len(test.dataset), 3)})
    print("test accuracy", right / len(test.dataset))


if __name__ == "__main__":
    main(CFG)
