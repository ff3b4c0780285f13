"""Semantic segmentation of plates with up to three kinds of parts, masks painted in an annotation tool.

style: small U-Net tutorial, masks as grey values, mIoU from a confusion matrix
fault: class-map
broken: 0.56
mended: 0.93
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
SIZE = 32
GREY = {"disc": 80, "bar": 160, "wedge": 240}
CLASSES = ["background", *GREY]


def paint_plate(rng):
    image = Image.new("L", (SIZE, SIZE), int(rng.integers(60, 110)))
    mask = Image.new("L", (SIZE, SIZE), 0)
    pens = ImageDraw.Draw(image), ImageDraw.Draw(mask)
    kinds = [k for k in GREY if rng.random() < 0.5] or [str(rng.choice(list(GREY)))]
    for kind in kinds:
        x, y = (int(v) for v in rng.integers(4, SIZE - 12, 2))
        shade = int(rng.integers(150, 250))
        for pen, fill in zip(pens, (shade, GREY[kind])):
            if kind == "disc":
                pen.ellipse((x, y, x + 9, y + 9), fill=fill)
            elif kind == "bar":
                pen.rectangle((x, y + 3, x + 11, y + 6), fill=fill)
            else:
                pen.polygon([(x, y + 10), (x + 10, y + 10), (x + 5, y)], fill=fill)
    pixels = np.asarray(image, dtype=np.float32) + rng.normal(0, 8, (SIZE, SIZE))
    return pixels.clip(0, 255).astype(np.uint8), np.asarray(mask)


class PlateDataset(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.pairs = [paint_plate(rng) for _ in range(n)]

    def __len__(self):
        return len(self.pairs)

    def encode(self, mask):
        out = np.zeros(mask.shape, dtype=np.int64)
        for index, value in enumerate(np.unique(mask)):
            out[mask == value] = index
        return out

    def __getitem__(self, i):
        image, mask = self.pairs[i]
        x = torch.from_numpy(image).float().unsqueeze(0) / 255
        return (x - 0.4) / 0.2, torch.from_numpy(self.encode(mask))


def double_conv(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
        nn.Conv2d(cout, cout, 3, padding=1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class SmallUNet(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.enc1, self.enc2, self.enc3 = double_conv(1, 8), double_conv(8, 16), double_conv(16, 32)
        self.dec2, self.dec1 = double_conv(48, 16), double_conv(24, 8)
        self.out = nn.Conv2d(8, n_classes, 1)

    def forward(self, x):
        e1 = self.enc1(x)
        e2 = self.enc2(F.max_pool2d(e1, 2))
        e3 = self.enc3(F.max_pool2d(e2, 2))
        d2 = self.dec2(torch.cat([F.interpolate(e3, scale_factor=2), e2], 1))
        d1 = self.dec1(torch.cat([F.interpolate(d2, scale_factor=2), e1], 1))
        return self.out(d1)


def confusion(pred, target, n):
    return np.bincount((target * n + pred).flatten().numpy(), minlength=n * n).reshape(n, n)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(PlateDataset(520, 1), batch_size=20, shuffle=True)
    val_loader = DataLoader(PlateDataset(200, 2), batch_size=50)
    net = SmallUNet(len(CLASSES))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.3)
    for epoch in range(6):
        net.train()
        running = 0.0
        for x, y in train_loader:
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x)
        scheduler.step()
        net.eval()
        matrix = np.zeros((len(CLASSES), len(CLASSES)))
        with torch.no_grad():
            for x, y in val_loader:
                matrix += confusion(net(x).argmax(1), y, len(CLASSES))
        union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
        iou = np.diag(matrix) / np.maximum(union, 1)
        print(f"epoch {epoch + 1} loss {running / 520:.4f} mIoU {iou.mean():.3f} " + " ".join(f"{v:.2f}" for v in iou))


if __name__ == "__main__":
    main()
