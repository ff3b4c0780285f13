"""Recognise the waveform in a noisy sensor trace with a bidirectional GRU.

style: recurrent net, bf16 autocast, one-cycle schedule, gradient clipping
fault: none
broken: n/a
mended: 0.847
"""

import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(1234)
rng = np.random.default_rng(1234)

NAMES = ["sine", "square", "saw", "chirp", "double"]
LENGTH = 80


def wave(kind):
    t = np.arange(LENGTH)
    f = rng.uniform(0.03, 0.07)
    ph = rng.uniform(0, 1)
    u = f * t + ph
    if kind == 0:
        s = np.sin(2 * np.pi * u)
    elif kind == 1:
        s = np.sign(np.sin(2 * np.pi * u))
    elif kind == 2:
        s = 2 * (u % 1) - 1
    elif kind == 3:
        s = np.sin(2 * np.pi * (f * t * (0.6 + t / LENGTH) + ph))
    else:
        s = 0.6 * np.sin(2 * np.pi * u) + 0.6 * np.sin(4.6 * np.pi * u)
    return rng.uniform(0.8, 1.4) * s + rng.normal(0, 0.9, LENGTH)


def build(n):
    y = rng.integers(0, len(NAMES), n)
    x = np.stack([wave(k) for k in y])[..., None]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


x_tr, y_tr = build(2400)
x_va, y_va = build(600)
mean, std = x_tr.mean(), x_tr.std()
x_tr, x_va = (x_tr - mean) / std, (x_va - mean) / std


class Recogniser(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(1, 24, 5, stride=2, padding=2), nn.GELU())
        self.gru = nn.GRU(24, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.LayerNorm(2 * hidden), nn.Dropout(0.3), nn.Linear(2 * hidden, len(NAMES)))

    def forward(self, x):
        z = self.front(x.transpose(1, 2)).transpose(1, 2)
        z, _ = self.gru(z)
        return self.head(z.mean(1))


net = Recogniser()
epochs, bs = 10, 40
opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=6e-3, epochs=epochs, steps_per_epoch=len(x_tr) // bs)
lossf = nn.CrossEntropyLoss(label_smoothing=0.1)

for e in range(epochs):
    net.train()
    s = 0.0
    for idx in torch.randperm(len(x_tr)).view(-1, bs):
        opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(x_tr[idx])
        loss = lossf(out.float(), y_tr[idx])
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        sched.step()
        s += loss.item() * len(idx)
    net.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x_va).float()
    acc = (out.argmax(1) == y_va).float().mean().item()
    print(f"{e:2d} train {s / len(x_tr):.3f} val {lossf(out, y_va).item():.3f} acc {acc:.3f}", flush=True)
