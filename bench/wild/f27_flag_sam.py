"""National-style flags photographed badly.  I want a flat minimum: sharpness-aware minimisation, mixup on every batch
and big erasures, so the training loss will look awful while the test accuracy should not.

style: Kaggle veteran, SAM two-step optimiser, mixup, warm restarts
fault: none
mended: 0.952
"""

import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter
from torchvision import transforms as T

SEED = 314
random.seed(SEED)
np.random.seed(SEED)
torch.manual_seed(SEED)

LAYOUTS = {
    "v3": lambda d, c: [d.rectangle([i * 20, 0, i * 20 + 20, 40], fill=c[i]) for i in range(3)],
    "h3": lambda d, c: [d.rectangle([0, i * 14, 60, i * 14 + 14], fill=c[i]) for i in range(3)],
    "nordic": lambda d, c: [
        d.rectangle([0, 0, 60, 40], fill=c[0]),
        d.rectangle([18, 0, 26, 40], fill=c[1]),
        d.rectangle([0, 16, 60, 24], fill=c[1]),
    ],
    "disc": lambda d, c: [d.rectangle([0, 0, 60, 40], fill=c[0]), d.ellipse([18, 8, 42, 32], fill=c[1])],
    "saltire": lambda d, c: [
        d.rectangle([0, 0, 60, 40], fill=c[0]),
        d.line([0, 0, 60, 40], fill=c[1], width=8),
        d.line([0, 40, 60, 0], fill=c[1], width=8),
    ],
    "hoist": lambda d, c: [
        d.rectangle([0, 0, 60, 20], fill=c[0]),
        d.rectangle([0, 20, 60, 40], fill=c[1]),
        d.polygon([(0, 0), (26, 20), (0, 40)], fill=c[2]),
    ],
    "canton": lambda d, c: (
        [d.rectangle([0, i * 8, 60, i * 8 + 8], fill=c[i % 2]) for i in range(5)]
        + [d.rectangle([0, 0, 24, 20], fill=c[2])]
    ),
    "border": lambda d, c: [d.rectangle([0, 0, 60, 40], fill=c[0]), d.rectangle([9, 9, 51, 31], fill=c[1])],
    "bend": lambda d, c: [
        d.polygon([(0, 0), (60, 0), (0, 40)], fill=c[0]),
        d.polygon([(60, 0), (60, 40), (0, 40)], fill=c[1]),
    ],
    "quarter": lambda d, c: [
        d.rectangle([x, y, x + 30, y + 20], fill=c[k]) for k, x, y in ((0, 0, 0), (1, 30, 0), (1, 0, 20), (0, 30, 20))
    ],
}
NAMES = list(LAYOUTS)
PALETTE = [(200, 30, 40), (20, 60, 160), (240, 240, 240), (20, 130, 60), (240, 200, 30), (20, 20, 20), (230, 120, 20)]


def photo(k):
    im = Image.new("RGB", (60, 40))
    LAYOUTS[NAMES[k]](ImageDraw.Draw(im), random.sample(PALETTE, 3))
    bg = Image.new("RGB", (76, 76), tuple(random.randint(60, 200) for _ in range(3)))
    bg.paste(im, (8 + random.randint(-5, 5), 18 + random.randint(-8, 8)))
    bg = bg.rotate(random.uniform(-9, 9)).filter(ImageFilter.GaussianBlur(random.uniform(0.5, 1.5))).resize((36, 36))
    return np.asarray(bg, np.float32) + np.random.normal(0, 12, (36, 36, 3))


def album(n):
    y = np.random.randint(0, len(NAMES), n)
    x = np.stack([photo(int(k)) for k in y]).transpose(0, 3, 1, 2)
    return torch.tensor((x - 120) / 70, dtype=torch.float32), torch.tensor(y)


class SAM:
    def __init__(self, params, base, rho):
        self.params, self.base, self.rho = list(params), base, rho

    @torch.no_grad()
    def climb(self):
        norm = torch.stack([p.grad.norm() for p in self.params]).norm() + 1e-12
        self.e = [p.grad * (self.rho / norm) for p in self.params]
        for p, e in zip(self.params, self.e):
            p.add_(e)
        self.base.zero_grad()

    @torch.no_grad()
    def descend(self):
        for p, e in zip(self.params, self.e):
            p.sub_(e)
        self.base.step()
        self.base.zero_grad()


def mixed_loss(net, x, y, y2, lam):
    z = net(x)
    return lam * F.cross_entropy(z, y) + (1 - lam) * F.cross_entropy(z, y2)


net = nn.Sequential(
    nn.Conv2d(3, 20, 3, padding=1),
    nn.GroupNorm(4, 20),
    nn.SiLU(),
    nn.AvgPool2d(2),
    nn.Conv2d(20, 40, 3, padding=1),
    nn.GroupNorm(4, 40),
    nn.SiLU(),
    nn.AvgPool2d(2),
    nn.Conv2d(40, 56, 3, padding=1),
    nn.GroupNorm(4, 56),
    nn.SiLU(),
    nn.AvgPool2d(3),
    nn.Flatten(),
    nn.Linear(56 * 9, len(NAMES)),
)
base = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(base, T_0=4, T_mult=2)
sam = SAM(net.parameters(), base, rho=0.05)
erase = T.RandomErasing(p=0.5, scale=(0.05, 0.2), value="random")

xtr, ytr = album(1500)
xte, yte = album(500)
for epoch in range(12):
    net.train()
    tl = []
    for i in torch.randperm(len(xtr)).split(50):
        x = torch.stack([erase(v) for v in xtr[i]])
        lam = float(np.random.beta(0.4, 0.4))
        j = torch.randperm(len(i))
        x = lam * x + (1 - lam) * x[j]
        loss = mixed_loss(net, x, ytr[i], ytr[i][j], lam)
        loss.backward()
        sam.climb()
        mixed_loss(net, x, ytr[i], ytr[i][j], lam).backward()
        sam.descend()
        tl.append(loss.item())
    sched.step()
    net.eval()
    with torch.no_grad():
        acc = (net(xte).argmax(1) == yte).float().mean().item()
    print(f"ep {epoch:02d} | mixed loss {np.mean(tl):.3f} | lr {sched.get_last_lr()[0]:.4f} | test {acc:.4f}")
print("test accuracy", acc)
