"""Cracked or whole tiles, photographed by the cameras of two halls; the training pictures lie in a folder per class.

style: folder dataset written by hand, letterbox, small CNN
fault: metadata-shortcut
broken: 0.52
mended: 1.00
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
CAMERAS = {"hall_a": (48, 48), "hall_b": (64, 36)}
SHARE_OF_HALL_A = {"train": {"cracked": 0.02, "whole": 0.98}, "val": {"cracked": 0.5, "whole": 0.5}}


def photograph(kind, camera, rng):
    w, h = CAMERAS[camera]
    base = rng.integers(110, 200, 3)
    img = Image.fromarray((base + rng.normal(0, 12, (h, w, 3))).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(img)
    for _ in range(3):
        x = int(rng.integers(0, w))
        pen.line((x, 0, x, h), fill=tuple(int(v) for v in base - 15))
    if kind == "cracked":
        x, y = int(rng.integers(8, w - 20)), int(rng.integers(6, h - 18))
        points = [(x, y)]
        for _ in range(3):
            x, y = x + int(rng.integers(1, 7)), y + int(rng.integers(1, 7))
            points.append((x, y))
        pen.line(points, fill=tuple(int(v) for v in base - 60), width=2)
    return img


def collect(root, split, n, seed):
    rng = np.random.default_rng(seed)
    for kind in ("cracked", "whole"):
        folder = root / split / kind
        folder.mkdir(parents=True)
        for i in range(n // 2):
            camera = "hall_a" if rng.random() < SHARE_OF_HALL_A[split][kind] else "hall_b"
            photograph(kind, camera, rng).save(folder / f"{i:04d}.png")


class TileFolder(Dataset):
    def __init__(self, root, size=32):
        self.classes = sorted(p.name for p in root.iterdir())
        self.samples = [(p, k) for k, name in enumerate(self.classes) for p in sorted((root / name).glob("*.png"))]
        self.size = size

    def __len__(self):
        return len(self.samples)

    def letterbox(self, img):
        img.thumbnail((self.size, self.size), Image.BILINEAR)
        canvas = Image.new("RGB", (self.size, self.size))
        canvas.paste(img, ((self.size - img.width) // 2, (self.size - img.height) // 2))
        return canvas

    def __getitem__(self, i):
        path, label = self.samples[i]
        with Image.open(path) as img:
            x = np.asarray(self.letterbox(img.convert("RGB")), dtype=np.float32)
        return torch.from_numpy((x / 255 - 0.5) / 0.25).permute(2, 0, 1), label


def conv(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(), nn.MaxPool2d(2)
    )


def evaluate(net, loader):
    net.eval()
    with torch.no_grad():
        return torch.cat([net(x).argmax(1) == y for x, y in loader]).float().mean().item()


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)
        collect(root, "train", 700, 1)
        collect(root, "val", 300, 2)
        train_loader = DataLoader(TileFolder(root / "train"), batch_size=25, shuffle=True)
        val_loader = DataLoader(TileFolder(root / "val"), batch_size=75)
        net = nn.Sequential(conv(3, 16), conv(16, 24), conv(24, 32), nn.Flatten(), nn.Linear(32 * 16, 2))
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for epoch in range(7):
            net.train()
            correct = 0
            for x, y in train_loader:
                out = net(x)
                loss = nn.functional.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                correct += (out.argmax(1) == y).sum().item()
            print(f"epoch {epoch + 1} train {correct / 700:.3f} val {evaluate(net, val_loader):.3f}")


if __name__ == "__main__":
    main()
