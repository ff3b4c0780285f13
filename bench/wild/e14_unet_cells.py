"""Mask of the nucleus area in synthetic microscope fields.

style: small U-Net, Dice + BCE, bf16 autocast on the CPU, AdamW with poly decay, Dice metric
fault: none
broken: n/a
mended: 0.961
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def field(rng, n=48):
    yy, xx = np.mgrid[:n, :n].astype(np.float32)
    a = rng.uniform(0.55, 0.8) + 0.06 * np.sin(xx / rng.uniform(5, 12) + rng.uniform(0, 6)) * np.ones_like(yy)
    mask = np.zeros((n, n), np.float32)
    for _ in range(rng.integers(3, 7)):
        cx, cy, rx, ry = *rng.uniform(5, n - 5, 2), *rng.uniform(4, 8, 2)
        e = ((xx - cx) / rx) ** 2 + ((yy - cy) / ry) ** 2
        a[(e < 1) & (e > 0.0)] -= rng.uniform(0.12, 0.3)
        mask[e < 1] = 1
    for _ in range(2):  # dust: small and just as dark
        cx, cy = rng.uniform(2, n - 2, 2)
        a[(xx - cx) ** 2 + (yy - cy) ** 2 < 3] -= 0.25
    return a + rng.normal(0, 0.09, a.shape), mask


def conv(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.SiLU(),
        nn.Conv2d(o, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.SiLU(),
    )


class UNet(nn.Module):
    def __init__(self, w=10):
        super().__init__()
        self.d1, self.d2, self.mid = conv(1, w), conv(w, 2 * w), conv(2 * w, 4 * w)
        self.u2, self.u1 = conv(6 * w, 2 * w), conv(3 * w, w)
        self.out = nn.Conv2d(w, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        c = self.u2(torch.cat([F.interpolate(c, scale_factor=2.0), b], 1))
        c = self.u1(torch.cat([F.interpolate(c, scale_factor=2.0), a], 1))
        return self.out(c)


def objective(logit, mask):
    p = logit.sigmoid()
    dice = 1 - (2 * (p * mask).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(logit, mask) + dice.mean()


@torch.no_grad()
def dice_of(model, loader):
    model.eval()
    inter = total = 0.0
    for x, m in loader:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            p = model(x)
        p = (p.float() > 0).float()
        inter += (p * m).sum().item()
        total += (p.sum() + m.sum()).item()
    return 2 * inter / total


def main(epochs=6):
    torch.manual_seed(14)
    rng = np.random.default_rng(14)
    data = [field(rng) for _ in range(560)]
    x = torch.tensor(np.stack([d[0] for d in data]), dtype=torch.float32)[:, None]
    m = torch.tensor(np.stack([d[1] for d in data]))[:, None]
    x = (x - x[:400].mean()) / x[:400].std()
    train = DataLoader(TensorDataset(x[:400], m[:400]), batch_size=16, shuffle=True)
    val = DataLoader(TensorDataset(x[400:], m[400:]), batch_size=40)
    model = UNet()
    opt = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = epochs * len(train)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: (1 - i / (steps + 1)) ** 0.9)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for xb, mb in train:
            opt.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logit = model(xb)
            loss = objective(logit.float(), mb)
            loss.backward()
            opt.step()
            sched.step()
            total += loss.item() * len(xb)
        print(f"epoch {epoch + 1}: loss {total / 400:.4f}  val dice {dice_of(model, val):.4f}")
    print(f"final dice {dice_of(model, val):.4f}")


if __name__ == "__main__":
    main()
