"""Does a tile of a blood smear show a white cell? bf16 autocast, accumulated gradients and an averaged model.

style: engine functions, ExponentialMovingAverage class, autocast on the CPU
fault: none
broken: n/a
mended: 0.94
"""

import copy
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
BCCD = SHARED / "data" / "bccd"
GRID, TILE = (3, 4), 32


def read_tiles(split, limit):
    """Every photo (640 x 480) is cut into twelve tiles; a tile is positive if the middle of a white cell is in it."""
    tiles, labels = [], []
    for name in (BCCD / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:limit]:
        image = Image.open(BCCD / "JPEGImages" / f"{name}.jpg")
        sx, sy = image.width / GRID[1], image.height / GRID[0]
        image.draft("RGB", (320, 240))
        small = np.asarray(image.convert("RGB").resize((GRID[1] * TILE, GRID[0] * TILE), Image.BILINEAR))
        found = np.zeros(GRID, dtype=bool)
        for obj in ET.parse(BCCD / "Annotations" / f"{name}.xml").getroot().iter("object"):
            if obj.findtext("name") == "WBC":
                x1, y1, x2, y2 = (float(obj.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
                found[min(int((y1 + y2) / 2 / sy), 2), min(int((x1 + x2) / 2 / sx), 3)] = True
        for r in range(GRID[0]):
            for c in range(GRID[1]):
                if found[r, c] or (r + c + len(name)) % 3 == 0:
                    tiles.append(small[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE])
                    labels.append(int(found[r, c]))
    x = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float() / 255
    return TensorDataset((x - torch.tensor([0.75, 0.68, 0.7]).view(3, 1, 1)) / 0.14, torch.tensor(labels))


class EMA:
    def __init__(self, model, decay):
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        for mine, other in zip(self.module.state_dict().values(), model.state_dict().values()):
            if mine.dtype.is_floating_point:
                mine.lerp_(other, 1 - decay)
            else:
                mine.copy_(other)


def build():
    layers, cin = [], 3
    for cout in (12, 24, 32):
        layers += [nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(), nn.MaxPool2d(2)]
        cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(cin, 2))


def train_one_epoch(model, ema, loader, optimizer, scheduler, accumulate):
    model.train()
    total = 0.0
    for step, (x, y) in enumerate(loader):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x).float(), y)
        (loss / accumulate).backward()
        total += loss.item()
        if (step + 1) % accumulate == 0:
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            ema.update(model)
    return total / len(loader)


@torch.no_grad()
def balanced_accuracy(model, loader):
    model.eval()
    pred, true = zip(*((model(x).argmax(1), y) for x, y in loader))
    pred, true = torch.cat(pred), torch.cat(true)
    return np.mean([(pred[true == c] == c).float().mean().item() for c in (0, 1)])


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train_set, val_set = read_tiles("train", 100), read_tiles("val", 60)
    train_loader = DataLoader(train_set, batch_size=16, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=64)
    model, epochs, accumulate = build(), 5, 2
    ema = EMA(model, 0.95)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = epochs * len(train_loader) // accumulate
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / (0.3 * steps), 1.0))
    for epoch in range(epochs):
        loss = train_one_epoch(model, ema, train_loader, optimizer, scheduler, accumulate)
        print(
            f"epoch {epoch} loss {loss:.3f} balanced accuracy {balanced_accuracy(model, val_loader):.3f} "
            f"averaged {balanced_accuracy(ema.module, val_loader):.3f}"
        )


if __name__ == "__main__":
    main()
