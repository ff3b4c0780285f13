"""Segments the white cell in blood smears with a small U-Net: batches of 8, group norm, accumulated gradients.

style: segmentation project, dice loss, gradient accumulation
fault: none
"""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
ROOT = SHARED / "data" / "bccd"
SIZE, ACCUMULATE = 64, 2


class WhiteCells(Dataset):
    """Pictures of 64 x 64 and a mask: the ellipse in the box of each white cell."""

    def __init__(self, split, augment):
        self.augment = augment
        self.data = []
        for stem in (ROOT / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            image = Image.open(ROOT / "JPEGImages" / f"{stem}.jpg")
            width, height = image.size
            image.draft("RGB", (width // 4, height // 4))
            mask = Image.new("L", (width, height), 0)
            for obj in ET.parse(ROOT / "Annotations" / f"{stem}.xml").findall("object"):
                if obj.findtext("name") == "WBC":
                    box = [int(obj.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax")]
                    ImageDraw.Draw(mask).ellipse(box, fill=255)
            rgb = np.asarray(image.convert("RGB").resize((SIZE, SIZE)), np.float32) / 255
            target = np.asarray(mask.resize((SIZE, SIZE)), np.float32) / 255 > 0.5
            x = torch.from_numpy((rgb - 0.68) / 0.15).permute(2, 0, 1)
            self.data.append((x, torch.from_numpy(target).float()[None]))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        x, m = self.data[i]
        if self.augment:
            for axis in (1, 2):
                if torch.rand(()) < 0.5:
                    x, m = x.flip(axis), m.flip(axis)
        return x, m


class DoubleConv(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(
            nn.Conv2d(i, o, 3, padding=1, bias=False),
            nn.GroupNorm(4, o),
            nn.ReLU(inplace=True),
            nn.Conv2d(o, o, 3, padding=1, bias=False),
            nn.GroupNorm(4, o),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, base=8):
        super().__init__()
        self.down1, self.down2 = DoubleConv(3, base), DoubleConv(base, base * 2)
        self.middle = DoubleConv(base * 2, base * 4)
        self.up2, self.up1 = DoubleConv(base * 6, base * 2), DoubleConv(base * 3, base)
        self.out = nn.Conv2d(base, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.up2(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
        a = self.up1(torch.cat([F.interpolate(b, scale_factor=2), a], 1))
        return self.out(a)


def dice_loss(logits, target):
    p = torch.sigmoid(logits)
    overlap = 2 * (p * target).sum((1, 2, 3)) + 1
    return (1 - overlap / (p.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)).mean()


def main():
    torch.manual_seed(0)
    train = DataLoader(WhiteCells("trainval", True), batch_size=8, shuffle=True)
    test = DataLoader(WhiteCells("test", False), batch_size=8)
    model = UNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(7):
        model.train()
        optimizer.zero_grad()
        for i, (x, m) in enumerate(train):
            logits = model(x)
            loss = F.binary_cross_entropy_with_logits(logits, m) + dice_loss(logits, m)
            (loss / ACCUMULATE).backward()
            if (i + 1) % ACCUMULATE == 0 or i + 1 == len(train):
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        intersection = union = 0.0
        with torch.no_grad():
            for x, m in test:
                p = model(x) > 0
                intersection += (p & (m > 0.5)).sum().item()
                union += (p | (m > 0.5)).sum().item()
        print(f"epoch {epoch}: loss {loss.item():.3f}, IoU {intersection / union:.3f}")


if __name__ == "__main__":
    main()
