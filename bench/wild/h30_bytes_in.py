"""Sorting seeds on a microcontroller later, so the network must eat raw camera bytes; the first layer learns the
scale. Separable blocks as in Xception, residual branches that start at nothing.

style: firmware developer, uint8 tensors, terse code, RMSprop
fault: none
mended: 0.998
"""

import numpy as np
import torch
from torch import nn

torch.manual_seed(88)
rs = np.random.RandomState(88)
SEEDS = ["lentil", "bean", "rice", "sunflower", "corn", "pea", "pumpkin", "flax"]
E = 32


def seed_photo(k):
    yy, xx = np.mgrid[:E, :E]
    t = rs.uniform(0, np.pi)
    cx, cy = rs.uniform(13, 19, 2)
    u = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t)
    v = -(xx - cx) * np.sin(t) + (yy - cy) * np.cos(t)
    ru, rv, rgb, stripe = [
        (6, 5.6, (150, 105, 60), 0),
        (9, 5, (120, 40, 35), 0),
        (8, 2.4, (215, 205, 185), 0),
        (10, 4.6, (90, 85, 80), 1),
        (7, 6, (220, 170, 60), 0),
        (6, 6, (110, 150, 70), 0),
        (10.5, 6.5, (215, 205, 175), 0),
        (6, 3, (110, 75, 45), 0),
    ][k]
    s = rs.uniform(0.85, 1.15)
    d = (u / (ru * s)) ** 2 + (v / (rv * s)) ** 2
    m = (d < 1)[..., None]
    body = np.array(rgb) * (1.15 - 0.35 * d.clip(0, 1))[..., None] * rs.uniform(0.75, 1.2)
    if stripe:
        body = body * np.where(np.sin(v * 2.2) > 0.2, 1.7, 0.7)[..., None]
    tray = np.ones((E, E, 3)) * rs.uniform(40, 190) + rs.randn(E, E, 1) * 6
    return (np.where(m, body, tray) + rs.randn(E, E, 3) * 14).clip(0, 255).astype(np.uint8)


def batch(n):
    k = rs.randint(0, len(SEEDS), n)
    return torch.from_numpy(np.stack([seed_photo(i) for i in k])).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(
        k
    ).long()


class Separable(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(
            nn.Conv2d(i, i, 3, padding=1, groups=i, bias=False), nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o)
        )


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.f = nn.Sequential(nn.ReLU(), Separable(c, c), nn.ReLU(), Separable(c, c))
        nn.init.zeros_(self.f[-1][-1].weight)

    def forward(self, x):
        return x + self.f(x)


class SeedNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.BatchNorm2d(3, affine=False)
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24))
        self.r1, self.r2 = Residual(24), Residual(40)
        self.down = nn.Sequential(nn.ReLU(), Separable(24, 40), nn.MaxPool2d(2))
        self.head = nn.Linear(40, len(SEEDS))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, b):
        x = self.scale(b.float())
        x = self.r2(self.down(self.r1(self.stem(x))))
        return self.head(x.relu().mean((2, 3)))


xb, yb = batch(1700)
xt, yt = batch(500)
net = SeedNet()
opt = torch.optim.RMSprop(net.parameters(), lr=3e-3, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=1e-5)
dec = torch.optim.lr_scheduler.ExponentialLR(opt, 0.82)
for ep in range(14):
    net.train()
    ls = []
    for i in torch.randperm(len(xb)).split(64):
        if len(i) < 64:
            continue
        l = nn.functional.cross_entropy(net(xb[i]), yb[i])
        opt.zero_grad()
        l.backward()
        opt.step()
        ls.append(l.item())
    dec.step()
    net.eval()
    with torch.no_grad():
        a = (net(xt).argmax(1) == yt).float().mean().item()
    print(f"{ep:02d} {np.mean(ls):.4f} {a:.4f}")
print(f"seeds sorted correctly {a:.4f}")
