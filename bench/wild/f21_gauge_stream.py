"""Read an analogue pressure gauge to the nearest of 12 positions.  The renderer is cheap, so there is no data set:
every batch is drawn fresh and no picture is ever seen twice.

style: simulation person, infinite python generator, zero-gamma residual net, heavy Nesterov momentum
fault: none
mended: 0.996
"""

import itertools
import math

import numpy as np
import torch
import torch.nn as nn

torch.manual_seed(123)
N = 36
yy, xx = np.mgrid[:N, :N].astype(np.float32)


def render(r, k):
    cx, cy = N / 2 + r.uniform(-2, 2), N / 2 + r.uniform(-2, 2)
    R = r.uniform(13, 16)
    rad, ang = np.hypot(xx - cx, yy - cy), np.arctan2(yy - cy, xx - cx)
    face, ring = r.uniform(0.7, 0.95), r.uniform(0.1, 0.4)
    im = np.where(rad < R, face, r.uniform(0.2, 0.6)).astype(np.float32)
    im[np.abs(rad - R) < 1.2] = ring
    ticks = (np.abs(np.cos(6 * ang)) > 0.97) & (rad > R - 4) & (rad < R - 1)
    im[ticks] = ring
    th = 2 * math.pi * (k + r.uniform(-0.3, 0.3)) / 12
    along = (xx - cx) * math.cos(th) + (yy - cy) * math.sin(th)
    across = -(xx - cx) * math.sin(th) + (yy - cy) * math.cos(th)
    hand = (along > -3) & (along < R - 4) & (np.abs(across) < 1.1)
    im[hand] = r.uniform(0.0, 0.25)
    gx, gy = r.uniform(0, N, 2)
    im += r.uniform(0, 0.3) * np.exp(-((xx - gx) ** 2 + (yy - gy) ** 2) / 40)
    return im + r.normal(0, 0.05, im.shape)


def stream(seed, batch):
    r = np.random.default_rng(seed)
    while True:
        k = r.integers(0, 12, batch)
        x = np.stack([render(r, int(i)) for i in k]).astype(np.float32)
        yield torch.from_numpy((x - 0.6) / 0.27)[:, None], torch.from_numpy(k)


class Res(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.na = nn.BatchNorm2d(c)
        self.b = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.nb = nn.BatchNorm2d(c)
        nn.init.zeros_(self.nb.weight)

    def forward(self, x):
        return torch.relu(x + self.nb(self.b(torch.relu(self.na(self.a(x))))))


class GaugeNet(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 4, stride=4, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            Res(16),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            Res(32),
            Res(32),
            nn.Flatten(),
            nn.Linear(32 * 25, 12),
        )


STEPS = 900
net = GaugeNet()
opt = torch.optim.SGD(net.parameters(), lr=2e-3, momentum=0.98, nesterov=True, weight_decay=1e-4)
lr_at = lambda t: min(1.0, (t + 1) / 60) * 0.5 * (1 + math.cos(math.pi * t / STEPS))
sched = torch.optim.lr_scheduler.LambdaLR(opt, lr_at)
loss_fn = nn.CrossEntropyLoss()
ema = None

net.train()
for step, (x, k) in enumerate(itertools.islice(stream(1, 48), STEPS)):
    loss = loss_fn(net(x), k)
    opt.zero_grad()
    loss.backward()
    opt.step()
    sched.step()
    ema = loss.item() if ema is None else 0.97 * ema + 0.03 * loss.item()
    if (step + 1) % 100 == 0:
        print(f"step {step + 1}: running loss {ema:.3f}")

net.eval()
hits = torch.cat([net(x).argmax(1) == k for x, k in itertools.islice(stream(2, 100), 8)])
print("accuracy on 800 fresh gauges:", hits.float().mean().item())
