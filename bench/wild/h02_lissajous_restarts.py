"""Oscilloscope figures: read the frequency ratio of a Lissajous curve from a photo of the screen.
Warm restarts and soft targets, as in the SGDR paper; the loss jumps up on each restart.

style: physics student, numpy heavy, fractional-epoch scheduler
fault: none
mended: 0.984
"""

import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(7)
torch.manual_seed(7)

RATIOS = [(1, 1), (1, 2), (1, 3), (2, 3), (3, 4), (1, 4), (3, 5), (2, 5)]
N_PIX = 36


def screen(k):
    a, b = RATIOS[k]
    if rng.random() < 0.5:
        a, b = b, a
    t = np.linspace(0, 2 * np.pi, 900)
    phase = rng.uniform(0.25, np.pi / 2)
    x = 0.42 * np.sin(a * t + phase) * rng.uniform(0.8, 1.0)
    y = 0.42 * np.sin(b * t) * rng.uniform(0.8, 1.0)
    img = np.zeros((N_PIX, N_PIX), np.float32)
    xi = ((x + 0.5) * (N_PIX - 1) + rng.normal(0, 0.25, t.size)).round().astype(int).clip(0, N_PIX - 1)
    yi = ((y + 0.5) * (N_PIX - 1) + rng.normal(0, 0.25, t.size)).round().astype(int).clip(0, N_PIX - 1)
    np.add.at(img, (yi, xi), 0.25)
    img = np.minimum(img, 1.0) + rng.normal(0, 0.08, img.shape)
    return img


def make(n):
    k = rng.integers(0, len(RATIOS), n)
    x = np.stack([screen(i) for i in k])[:, None].astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(k)


x_tr, y_tr = make(2400)
x_te, y_te = make(800)
mu, sd = x_tr.mean(), x_tr.std()
x_tr, x_te = (x_tr - mu) / sd, (x_te - mu) / sd


class Scope(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(1, 24, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.c = nn.Linear(48 * 16, len(RATIOS))

    def forward(self, x):
        return self.c(self.f(x).flatten(1))


net = Scope()
opt = torch.optim.SGD(net.parameters(), lr=0.08, momentum=0.9, nesterov=True, weight_decay=1e-4)
# cycles of 2, 4 and 8 epochs
sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=2, T_mult=2, eta_min=1e-5)
criterion = nn.CrossEntropyLoss(label_smoothing=0.3)

BATCH = 80
n_batches = len(x_tr) // BATCH
for epoch in range(14):
    net.train()
    order = torch.randperm(len(x_tr))
    running = 0.0
    for b in range(n_batches):
        idx = order[b * BATCH : (b + 1) * BATCH]
        opt.zero_grad()
        loss = criterion(net(x_tr[idx]), y_tr[idx])
        loss.backward()
        opt.step()
        sched.step(epoch + (b + 1) / n_batches)
        running += loss.item()
    net.eval()
    with torch.no_grad():
        acc = (net(x_te).argmax(1) == y_te).float().mean().item()
    print(f"{epoch:3d} lr {opt.param_groups[0]['lr']:.5f} loss {running / n_batches:.4f} acc {acc:.4f}")
print(f"accuracy on fresh screens: {acc:.4f}")
