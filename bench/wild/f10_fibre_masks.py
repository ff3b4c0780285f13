"""Segment thin collagen fibres.  They fill about 5 % of the pixels, so I go straight for the soft Dice coefficient
and maximise it; no cross-entropy at all.

style: imaging researcher, tiny U-Net, negative Dice objective
fault: none
mended: 0.923
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

rng = np.random.default_rng(2024)
torch.manual_seed(2024)
S = 48


def slide():
    canvas = Image.new("L", (S * 2, S * 2), 0)
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 4)):
        p = rng.uniform(0, 2 * S, 2)
        a = rng.uniform(0, 2 * np.pi)
        path = [tuple(p)]
        for _ in range(16):
            a += rng.normal(0, 0.25)
            p = p + 6 * np.array([np.cos(a), np.sin(a)])
            path.append(tuple(p))
        pen.line(path, fill=255, width=3)
    m = np.asarray(canvas.resize((S, S), Image.BOX)) / 255.0
    img = 0.45 * gaussian_filter(m, 0.6) + 0.35 * gaussian_filter(rng.normal(0, 1, (S, S)), 4) * 4
    img += rng.normal(0, 0.06, (S, S))
    return img.astype(np.float32), (m > 0.4).astype(np.float32)


def make(n):
    a, b = zip(*[slide() for _ in range(n)])
    return torch.tensor(np.stack(a))[:, None], torch.tensor(np.stack(b))[:, None]


class Double(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(
            nn.Conv2d(i, o, 3, padding=1),
            nn.InstanceNorm2d(o, affine=True),
            nn.LeakyReLU(0.1),
            nn.Conv2d(o, o, 3, padding=1),
            nn.LeakyReLU(0.1),
        )


class MiniUNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.d3 = Double(1, c), Double(c, 2 * c), Double(2 * c, 3 * c)
        self.u2, self.u1 = Double(5 * c, 2 * c), Double(3 * c, c)
        self.last = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.d3(F.max_pool2d(b, 2))
        b = self.u2(torch.cat([b, F.interpolate(c, scale_factor=2.0)], 1))
        a = self.u1(torch.cat([a, F.interpolate(b, scale_factor=2.0)], 1))
        return torch.sigmoid(self.last(a))


def dice(p, m, smooth=1.0):
    inter = (p * m).sum((1, 2, 3))
    return (2 * inter + smooth) / (p.sum((1, 2, 3)) + m.sum((1, 2, 3)) + smooth)


Xtr, Mtr = make(400)
Xva, Mva = make(100)
print("foreground fraction", Mtr.mean().item())

net = MiniUNet()
optimizer = torch.optim.RMSprop(net.parameters(), lr=2e-3, alpha=0.95)

for epoch in range(14):
    net.train()
    total = 0.0
    for idx in torch.randperm(len(Xtr)).split(10):
        x, m = Xtr[idx], Mtr[idx]
        k = int(rng.integers(4))
        x, m = torch.rot90(x, k, (2, 3)), torch.rot90(m, k, (2, 3))
        objective = -dice(net(x), m).mean()
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()
        total += objective.item()
    if epoch == 10:
        for gparam in optimizer.param_groups:
            gparam["lr"] = 4e-4
    net.eval()
    with torch.no_grad():
        hard = (net(Xva) > 0.5).float()
        score = dice(hard, Mva).mean().item()
    print(f"epoch {epoch}: objective {total / (len(Xtr) / 10):+.4f}, validation Dice {score:.4f}")

print("validation Dice:", score)
