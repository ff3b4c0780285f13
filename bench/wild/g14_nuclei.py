"""Segmenting nuclei in (simulated) DAPI images. My GPU never holds more than a few tiles, so micro-batches of 4, GroupNorm, accumulation, and a loss that sums over pixels as in our lab's older code.

style: accelerate with gradient accumulation, hand-written summed BCE + Dice, tiny U-Net
fault: none
mended: 0.928
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset


class Dapi(Dataset):
    """16-bit like tiles; empty ones occur."""

    def __init__(self, n, seed, size=48):
        rng = np.random.default_rng(seed)
        yy, xx = np.mgrid[:size, :size]
        self.tiles, self.masks = [], []
        for _ in range(n):
            img = np.full((size, size), rng.uniform(200, 500))
            mask = np.zeros((size, size), bool)
            for _ in range(rng.poisson(4)):
                cx, cy = rng.uniform(0, size, 2)
                a, b, t = rng.uniform(4, 8), rng.uniform(3, 6), rng.uniform(0, 3.14)
                u = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t)
                v = -(xx - cx) * np.sin(t) + (yy - cy) * np.cos(t)
                r = (u / a) ** 2 + (v / b) ** 2
                inside = r < 1
                mask |= inside
                img += rng.uniform(500, 2600) * np.exp(-np.clip(r - 0.5, 0, None) * 2.2)
                # out-of-focus ghost that must not be segmented
                gx, gy = rng.uniform(0, size, 2)
                img += rng.uniform(100, 500) * np.exp(-((xx - gx) ** 2 + (yy - gy) ** 2) / 120)
            img = rng.poisson(img / 12) * 12 + rng.normal(0, 60, img.shape)
            self.tiles.append(img.astype(np.float32))
            self.masks.append(mask.astype(np.float32))

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, i):
        t = torch.from_numpy(self.tiles[i]).clamp(min=1).log()[None]
        return (t - 6.6) / 0.8, torch.from_numpy(self.masks[i])[None]


def gn(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1),
        nn.GroupNorm(4, o),
        nn.SiLU(),
        nn.Conv2d(o, o, 3, padding=1),
        nn.GroupNorm(4, o),
        nn.SiLU(),
    )


class UNet(nn.Module):
    def __init__(self, w=12):
        super().__init__()
        self.a, self.b, self.c = gn(1, w), gn(w, 2 * w), gn(2 * w, 4 * w)
        self.d, self.e = gn(6 * w, 2 * w), gn(3 * w, w)
        self.out = nn.Conv2d(w, 1, 1)
        nn.init.constant_(self.out.bias, -1.5)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        d = self.d(torch.cat([F.interpolate(c, scale_factor=2.0), b], 1))
        return self.out(self.e(torch.cat([F.interpolate(d, scale_factor=2.0), a], 1)))


def loss_sum(logits, mask):
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="sum")
    p = logits.sigmoid()
    dice = 1 - (2 * (p * mask).sum() + 1) / ((p + mask).sum() + 1)
    return bce + 500 * dice


def main():
    set_seed(6)
    acc = Accelerator(gradient_accumulation_steps=3, cpu=True)
    train = DataLoader(Dapi(420, 1), batch_size=4, shuffle=True)
    val = DataLoader(Dapi(120, 2), batch_size=20)
    model = UNet()
    opt = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    epochs = 6
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.05, total_iters=epochs * len(train) // 3)
    model, opt, train, val, sched = acc.prepare(model, opt, train, val, sched)
    for epoch in range(epochs):
        model.train()
        running = 0.0
        for x, m in train:
            with acc.accumulate(model):
                loss = loss_sum(model(x), m)
                acc.backward(loss)
                if acc.sync_gradients:
                    acc.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                sched.step()
                opt.zero_grad()
            running += loss.item()
        acc.print(f"epoch {epoch}: {running / len(train):.0f} per micro-batch")
    model.eval()
    inter = union = 0.0
    with torch.no_grad():
        for x, m in val:
            p = model(x) > 0
            p, m = acc.gather_for_metrics((p, m))
            inter += (p & m.bool()).sum().item()
            union += (p | m.bool()).sum().item()
    acc.print(f"IoU over all validation pixels: {inter / union:.3f}")


if __name__ == "__main__":
    main()
