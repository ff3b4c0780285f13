"""Patch transformer on drawn clock faces with warm-up, mixup and label smoothing.

style: transformer recipe (mixup, EMA, warm-up + cosine, AdamW with decay groups)
fault: none
broken: n/a
mended: 0.850
"""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(2024)
N_CLASS, SIZE, PATCH = 8, 32, 4


def clock(octant, rng):
    """One hand on a cluttered dial; the class is the octant in which it points."""
    im = Image.new("RGB", (64, 64), tuple(int(v) for v in rng.uniform(90, 230, 3)))
    d = ImageDraw.Draw(im)
    cx, cy = 32 + rng.uniform(-4, 4, 2)
    r = rng.uniform(20, 27)
    d.ellipse([cx - r, cy - r, cx + r, cy + r], outline=(30, 30, 30), width=2)
    for k in range(12):
        a = math.pi * k / 6
        d.point((cx + 0.85 * r * math.cos(a), cy + 0.85 * r * math.sin(a)), fill=(0, 0, 0))
    a = 2 * math.pi * (octant + rng.uniform(0.02, 0.98)) / 8
    ln = rng.uniform(0.55, 0.9) * r
    d.line(
        [cx, cy, cx + ln * math.cos(a), cy + ln * math.sin(a)],
        fill=tuple(int(v) for v in rng.uniform(0, 70, 3)),
        width=3,
    )
    for _ in range(4):
        x, y = rng.uniform(0, 64, 2)
        d.rectangle([x, y, x + 5, y + 5], fill=tuple(int(v) for v in rng.uniform(0, 255, 3)))
    a = np.asarray(im.resize((SIZE, SIZE), Image.BILINEAR), np.float32) / 255
    return a + rng.normal(0, 0.06, a.shape)


def faces(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, N_CLASS, n)
    x = np.stack([clock(k, rng) for k in y]).transpose(0, 3, 1, 2)
    return torch.tensor((x - 0.6) / 0.22, dtype=torch.float32), torch.tensor(y)


class Layer(nn.Module):
    def __init__(self, d, h, drop):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, h, dropout=drop, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(drop), nn.Linear(2 * d, d), nn.Dropout(drop))

    def forward(self, x):
        y = self.n1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.ff(self.n2(x))


class PatchFormer(nn.Module):
    def __init__(self, d=64, depth=2, heads=4, drop=0.05):
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.GELU(), nn.Conv2d(32, d, 3, 2, 1))
        self.pos = nn.Parameter(torch.zeros(1, (SIZE // PATCH) ** 2, d))
        nn.init.trunc_normal_(self.pos, std=0.02)
        self.layers = nn.Sequential(*[Layer(d, heads, drop) for _ in range(depth)])
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, N_CLASS)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.norm(self.layers(x)).mean(1))


xt, yt = faces(1920, 0)
xv, yv = faces(600, 1)
loader = DataLoader(TensorDataset(xt, yt), batch_size=48, shuffle=True, drop_last=True)
model = PatchFormer()
decay = [p for p in model.parameters() if p.ndim >= 2]
plain = [p for p in model.parameters() if p.ndim < 2]
opt = torch.optim.AdamW(
    [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=2e-3, betas=(0.9, 0.98)
)
epochs = 17
total, warm = epochs * len(loader), 2 * len(loader)
sched = torch.optim.lr_scheduler.LambdaLR(
    opt, lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + math.cos(math.pi * (s - warm) / (total - warm)))
)
ema = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98))
soft = nn.CrossEntropyLoss(label_smoothing=0.1)
hard = nn.CrossEntropyLoss()

for epoch in range(epochs):
    model.train()
    run = 0.0
    for x, y in loader:
        lam = float(np.random.default_rng(sched.last_epoch).beta(0.2, 0.2))
        j = torch.randperm(len(x))
        z = model(lam * x + (1 - lam) * x[j])
        loss = lam * soft(z, y) + (1 - lam) * soft(z, y[j])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        sched.step()
        ema.update_parameters(model)
        run += loss.item() / len(loader)
    ema.eval()
    with torch.no_grad():
        z = torch.cat([ema(c) for c in xv.split(100)])
    print(
        f"epoch {epoch + 1:2d} train_loss {run:.3f} val_loss {hard(z, yv).item():.3f} val_acc {(z.argmax(1) == yv).float().mean().item():.3f}",
        flush=True,
    )
