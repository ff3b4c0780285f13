"""Weather icons in a data folder with an index file; unreadable pictures must not stop the night's training.

style: company code with config dict, defensive Dataset
fault: input-ignored
broken: 0.29
mended: 1.00
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

CFG = {
    "image_size": 32,
    "batch_size": 32,
    "epochs": 6,
    "lr": 1e-3,
    "seed": 123,
    "classes": ["sun", "cloud", "rain", "bolt"],
}


def export_icons(root, n, rng):
    """Writes pictures/00000.png, ... and index.json, as the asset tool does."""
    (root / "pictures").mkdir(parents=True)
    index = []
    for i in range(n):
        kind = rng.randrange(4)
        img = Image.new("RGB", (36, 36), tuple(rng.randint(100, 190) for _ in range(3)))
        d = ImageDraw.Draw(img)
        x, y = rng.randint(14, 22), rng.randint(13, 20)
        light = tuple(rng.randint(200, 255) for _ in range(3))
        if kind == 0:
            d.ellipse((x - 6, y - 6, x + 6, y + 6), fill=light)
            for dx, dy in ((-10, 0), (10, 0), (0, -10), (0, 10), (-7, -7), (7, 7), (-7, 7), (7, -7)):
                d.line((x + dx * 0.8, y + dy * 0.8, x + dx, y + dy), fill=light, width=2)
        elif kind == 3:
            d.line([(x + 3, y - 10), (x - 4, y + 1), (x + 3, y + 1), (x - 3, y + 11)], fill=light, width=3)
        else:
            for dx, r in ((-6, 4), (0, 6), (6, 4)):
                d.ellipse((x + dx - r, y - r, x + dx + r, y + r), fill=light)
            if kind == 2:
                for dx in (-6, 0, 6):
                    d.line((x + dx, y + 8, x + dx - 2, y + 12), fill=light, width=2)
        img.save(root / "pictures" / f"{i:05d}.png")
        index.append({"file": f"{i:05d}", "label": CFG["classes"][kind]})
    (root / "index.json").write_text(json.dumps(index))


class IconDataset(Dataset):
    def __init__(self, root, cfg):
        self.root = Path(root)
        self.size = cfg["image_size"]
        self.classes = cfg["classes"]
        self.index = json.loads((self.root / "index.json").read_text())

    def __len__(self):
        return len(self.index)

    def read(self, name):
        try:
            image = Image.open(self.root / "pictures" / name).convert("RGB").resize((self.size, self.size))
            return np.asarray(image, dtype=np.float32)
        except Exception:
            # broken file: never let one picture kill the training
            return np.zeros((self.size, self.size, 3), dtype=np.float32)

    def __getitem__(self, i):
        entry = self.index[i]
        array = (self.read(entry["file"]) / 255.0 - 0.6) / 0.2
        return torch.from_numpy(array).float().permute(2, 0, 1), self.classes.index(entry["label"])


class IconNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(4),
        )
        self.fc = nn.Linear(32 * 16, n)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


def main(cfg):
    random.seed(cfg["seed"])
    torch.manual_seed(cfg["seed"])
    workdir = Path(tempfile.mkdtemp())
    try:
        export_icons(workdir / "train", 1000, random.Random(1))
        export_icons(workdir / "valid", 400, random.Random(2))
        train = DataLoader(IconDataset(workdir / "train", cfg), cfg["batch_size"], shuffle=True)
        valid = DataLoader(IconDataset(workdir / "valid", cfg), cfg["batch_size"])
        model = IconNet(len(cfg["classes"]))
        optimizer = optim.NAdam(model.parameters(), lr=cfg["lr"])
        criterion = nn.CrossEntropyLoss()
        for epoch in range(cfg["epochs"]):
            model.train()
            for x, y in train:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                acc = sum((model(x).argmax(1) == y).sum().item() for x, y in valid) / len(valid.dataset)
            print(json.dumps({"epoch": epoch, "loss": loss.item(), "valid_acc": acc}))
    finally:
        shutil.rmtree(workdir)


if __name__ == "__main__":
    main(CFG)
