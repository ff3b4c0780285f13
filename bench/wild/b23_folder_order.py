"""Photos read folder by folder and trained in that order, with batch normalisation.

style: script with num_workers loaders and a generator of file lists
fault: not-shuffled
broken: 0.20
mended: 0.65
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset

ROOT = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
GROUPS = ["Apple", "Pear", "Melon", "Juice", "Milk", "Yoghurt", "Pepper", "Tomato"]


class Groceries(Dataset):
    def __init__(self, split, size=36):
        self.size = size
        listed = [line.split(", ")[0] for line in (ROOT / f"{split}.txt").read_text().splitlines()]
        self.samples = [(p, g) for g, name in enumerate(GROUPS) for p in listed if p.split("/")[2] == name]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, group = self.samples[index]
        with Image.open(ROOT / path) as img:
            img.draft("RGB", (self.size * 2, self.size * 2))
            pixels = np.asarray(img.convert("RGB").resize((self.size, self.size), Image.BILINEAR))
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(127.5).sub(1)
        return x, torch.tensor(group)


class SmallVGG(nn.Module):
    cfg = (16, "M", 32, "M", 64, "M", 64)

    def __init__(self, n_classes):
        super().__init__()
        layers, c = [], 3
        for v in self.cfg:
            if v == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(c, v, 3, padding=1, bias=False), nn.BatchNorm2d(v), nn.ReLU(True)]
                c = v
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(c, n_classes)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def main():
    torch.manual_seed(13)
    train_loader = DataLoader(Groceries("train"), batch_size=40, num_workers=2, drop_last=True)
    val_loader = DataLoader(Groceries("val"), batch_size=40, num_workers=2)
    model = SmallVGG(len(GROUPS))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(5):
        model.train()
        for step, (x, y) in enumerate(train_loader):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                print(f"epoch {epoch} step {step} loss {loss.item():.3f}")
        model.eval()
        correct = total = 0
        with torch.inference_mode():
            for x, y in val_loader:
                correct += (model(x).argmax(1) == y).sum().item()
                total += y.numel()
        print(f"epoch {epoch} validation accuracy {correct / total:.3f}")


if __name__ == "__main__":
    main()
