"""A small U-Net that finds the blood cells of a field of view, plain SGD.

style: segmentation repository (DoubleConv, train_net, dice on the validation images)
fault: loss-summed
accept: learning-rate-high, exploding-gradient
broken: 0.00
mended: 0.72
"""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

ROOT = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "bccd"
SIZE = 48


class CellMasks(Dataset):
    """Downscaled fields with the ellipses inside the boxes as the mask."""

    def __init__(self, split, limit):
        self.samples = []
        for name in (ROOT / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:limit]:
            image = Image.open(ROOT / "JPEGImages" / f"{name}.jpg")
            w, h = image.size
            image.draft("RGB", (w // 4, h // 4))
            mask = Image.new("L", (w // 4, h // 4))
            draw = ImageDraw.Draw(mask)
            for box in ET.parse(ROOT / "Annotations" / f"{name}.xml").getroot().iter("bndbox"):
                x0, y0, x1, y1 = (int(box.findtext(k)) // 4 for k in ("xmin", "ymin", "xmax", "ymax"))
                if x1 > x0 and y1 > y0:
                    draw.ellipse((x0, y0, x1, y1), fill=255)
            image = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.BILINEAR), dtype=np.float32) / 255
            mask = np.asarray(mask.resize((SIZE, SIZE), Image.NEAREST)) > 127
            self.samples.append((image.transpose(2, 0, 1), mask[None].astype(np.float32)))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        image, mask = self.samples[i]
        return {"image": (torch.from_numpy(image) - 0.72) / 0.14, "mask": torch.from_numpy(mask)}


class DoubleConv(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(cin, cout, 3, padding=1),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
            nn.Conv2d(cout, cout, 3, padding=1),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc = DoubleConv(3, 12)
        self.down1 = DoubleConv(12, 24)
        self.down2 = DoubleConv(24, 32)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.up1 = DoubleConv(32 + 24, 24)
        self.up2 = DoubleConv(24 + 12, 12)
        self.outc = nn.Conv2d(12, 1, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        x = self.up1(torch.cat([self.up(x3), x2], dim=1))
        x = self.up2(torch.cat([self.up(x), x1], dim=1))
        return self.outc(x)


def dice_coeff(pred, target, eps=1e-6):
    inter = (pred * target).sum()
    return (2 * inter + eps) / (pred.sum() + target.sum() + eps)


def eval_net(net, loader):
    net.eval()
    scores = []
    with torch.no_grad():
        for batch in loader:
            pred = (torch.sigmoid(net(batch["image"])) > 0.5).float()
            scores += [dice_coeff(p, t).item() for p, t in zip(pred, batch["mask"], strict=True)]
    net.train()
    return float(np.mean(scores))


def train_net(net, epochs=8, batch_size=8, lr=0.02):
    train_loader = DataLoader(CellMasks("train", 140), batch_size=batch_size, shuffle=True, drop_last=True)
    val_loader = DataLoader(CellMasks("val", 60), batch_size=batch_size)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=1e-8)
    criterion = nn.BCEWithLogitsLoss(reduction="sum")
    for epoch in range(epochs):
        net.train()
        epoch_loss = 0
        for batch in train_loader:
            masks_pred = net(batch["image"])
            loss = criterion(masks_pred, batch["mask"])
            epoch_loss += loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1} loss {epoch_loss / len(train_loader):.4f} val dice {eval_net(net, val_loader):.4f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    train_net(UNet())
