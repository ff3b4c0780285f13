"""White blood cell masks (boxes as ellipses) from a small U-Net, two pictures per batch.

style: U-Net segmentation, GroupNorm, BCE + Dice, VOC annotations
fault: none
broken: n/a
mended: 0.863
"""

import os
import xml.etree.ElementTree as ET

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

VOC = os.path.join(os.environ["FOVEA_SHARED"], "data", "bccd")
W, H = 128, 96


class WBCSegmentation(Dataset):
    def __init__(self, split, train):
        ids = open(os.path.join(VOC, "ImageSets", "Main", split + ".txt")).read().split()
        self.train = train
        self.samples = [self.load(i) for i in ids]

    def load(self, name):
        img = Image.open(os.path.join(VOC, "JPEGImages", name + ".jpg"))
        img.draft("RGB", (W, H))
        img = img.convert("RGB").resize((W, H), Image.BILINEAR)
        mask = Image.new("L", (W, H), 0)
        d = ImageDraw.Draw(mask)
        for ob in ET.parse(os.path.join(VOC, "Annotations", name + ".xml")).getroot().iter("object"):
            if ob.find("name").text != "WBC":
                continue
            b = ob.find("bndbox")
            box = [float(b.find(k).text) / 5 for k in ("xmin", "ymin", "xmax", "ymax")]
            d.ellipse(box, fill=255)
        return np.asarray(img), np.asarray(mask)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        img, mask = self.samples[i]
        x = torch.from_numpy(img.copy()).permute(2, 0, 1).float() / 255
        m = torch.from_numpy(mask.copy()).float()[None] / 255
        if self.train:
            if torch.rand(()) < 0.5:
                x, m = x.flip(2), m.flip(2)
            if torch.rand(()) < 0.5:
                x, m = x.flip(1), m.flip(1)
        x = (x - torch.tensor([0.66, 0.64, 0.73]).view(3, 1, 1)) / 0.14
        return x, m


def double(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False),
        nn.GroupNorm(4, o),
        nn.ReLU(True),
        nn.Conv2d(o, o, 3, padding=1, bias=False),
        nn.GroupNorm(4, o),
        nn.ReLU(True),
    )


class TinyUNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.d3, self.mid = double(3, c), double(c, 2 * c), double(2 * c, 4 * c), double(4 * c, 8 * c)
        self.u3 = nn.ConvTranspose2d(8 * c, 4 * c, 2, 2)
        self.c3 = double(8 * c, 4 * c)
        self.u2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2)
        self.c2 = double(4 * c, 2 * c)
        self.u1 = nn.ConvTranspose2d(2 * c, c, 2, 2)
        self.c1 = double(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.d3(F.max_pool2d(b, 2))
        z = self.mid(F.max_pool2d(c, 2))
        z = self.c3(torch.cat([self.u3(z), c], 1))
        z = self.c2(torch.cat([self.u2(z), b], 1))
        z = self.c1(torch.cat([self.u1(z), a], 1))
        return self.out(z)


def dice_loss(logit, target, eps=1.0):
    p = logit.sigmoid().flatten(1)
    t = target.flatten(1)
    inter = (p * t).sum(1)
    return (1 - (2 * inter + eps) / (p.sum(1) + t.sum(1) + eps)).mean()


def criterion(logit, target):
    return F.binary_cross_entropy_with_logits(logit, target) + dice_loss(logit, target)


def evaluate(net, loader):
    net.eval()
    inter = union = loss = n = 0
    with torch.no_grad():
        for x, m in loader:
            z = net(x)
            loss += criterion(z, m).item() * len(x)
            n += len(x)
            p, t = z > 0, m > 0.5
            inter += (p & t).sum().item()
            union += (p | t).sum().item()
    return loss / n, inter / max(union, 1)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(5)
    train = DataLoader(WBCSegmentation("train", True), batch_size=2, shuffle=True)
    val = DataLoader(WBCSegmentation("val", False), batch_size=8)
    net = TinyUNet()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    epochs = 6
    sched = torch.optim.lr_scheduler.PolynomialLR(opt, total_iters=epochs * len(train), power=0.9)
    for ep in range(1, epochs + 1):
        net.train()
        tot = 0
        for x, m in train:
            loss = criterion(net(x), m)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            tot += loss.item()
        vl, iou = evaluate(net, val)
        print(f"epoch {ep} train_loss {tot / len(train):.3f} val_loss {vl:.3f} val_IoU {iou:.3f}", flush=True)


if __name__ == "__main__":
    main()
