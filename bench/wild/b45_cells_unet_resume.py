"""U-Net on cell fields with BCE and Dice, interrupted in the middle and resumed from a checkpoint.

style: in-memory tensors, index batches, checkpoint dictionary, model returning a dict
fault: none
broken: n/a
mended: 0.86
"""

import os
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

BCCD = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "bccd"
SIDE = 48


def fields(split, limit, only):
    xs, ys = [], []
    for name in (BCCD / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:limit]:
        img = Image.open(BCCD / "JPEGImages" / f"{name}.jpg")
        w, h = img.size
        img.draft("RGB", (w // 4, h // 4))
        mask = Image.new("L", (w // 4, h // 4))
        draw = ImageDraw.Draw(mask)
        for obj in ET.parse(BCCD / "Annotations" / f"{name}.xml").getroot().iter("object"):
            if obj.findtext("name") == only:
                x0, y0, x1, y1 = (int(obj.find("bndbox").findtext(k)) // 4 for k in ("xmin", "ymin", "xmax", "ymax"))
                if x1 > x0 and y1 > y0:
                    draw.ellipse((x0, y0, x1, y1), fill=255)
        xs.append(np.asarray(img.convert("RGB").resize((SIDE, SIDE), Image.BILINEAR)))
        ys.append(np.asarray(mask.resize((SIDE, SIDE), Image.NEAREST)) > 127)
    x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float() / 255
    return (x - 0.72) / 0.14, torch.from_numpy(np.stack(ys)).float()[:, None]


class Up(nn.Module):
    def __init__(self, cin, cskip, cout):
        super().__init__()
        self.up = nn.ConvTranspose2d(cin, cout, 2, stride=2)
        self.conv = nn.Sequential(
            nn.Conv2d(cout + cskip, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()
        )

    def forward(self, x, skip):
        return self.conv(torch.cat([self.up(x), skip], 1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()

        def down(i, o):
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

        self.d1, self.d2, self.d3 = down(3, 16), down(16, 24), down(24, 32)
        self.u2, self.u1 = Up(32, 24, 24), Up(24, 16, 16)
        self.out = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.d3(F.max_pool2d(b, 2))
        return {"logits": self.out(self.u1(self.u2(c, b), a))}


def criterion(out, mask):
    logits = out["logits"]
    prob = logits.sigmoid()
    dice = 1 - (2 * (prob * mask).sum() + 1) / (prob.sum() + mask.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + dice


def iou(model, x, y):
    model.eval()
    with torch.no_grad():
        p = model(x)["logits"] > 0
    return ((p & (y > 0)).sum() / (p | (y > 0)).sum()).item()


def run(x, y, xv, yv, path, until, total):
    model = UNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    first = 0
    if path.exists():
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        first = state["epoch"] + 1
        print("resumed at epoch", first)
    for epoch in range(first, until):
        model.train()
        losses = []
        for idx in torch.randperm(len(x)).split(8):
            loss = criterion(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        print(f"epoch {epoch} loss {np.mean(losses):.4f} IoU {iou(model, xv, yv):.4f}")
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "epoch": epoch,
            },
            path,
        )


if __name__ == "__main__":
    torch.manual_seed(73)
    x, y = fields("train", 160, "WBC")
    xv, yv = fields("val", 60, "WBC")
    print(f"share of the pixels that are white cells: {y.mean():.3f}")
    with tempfile.TemporaryDirectory() as tmp:
        checkpoint = Path(tmp) / "last.pt"
        run(x, y, xv, yv, checkpoint, until=4, total=9)
        run(x, y, xv, yv, checkpoint, until=9, total=9)
