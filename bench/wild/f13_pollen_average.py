"""Pollen grains under the light microscope, six taxa.  I read that averaging the weights over the run gives
better final models, so the averaged copy is what I evaluate and keep.

style: palynologist turned coder, weight averaging class, checkpoint to a temp file
fault: batchnorm-mode
broken: 0.167
mended: 0.931
"""

import copy
import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

TAXA = ["Betula", "Tilia", "Pinus", "Corylus", "Malva", "Quercus"]
torch.manual_seed(30)
rs = np.random.RandomState(30)


def grain(t, n=44):
    y, x = np.mgrid[:n, :n] - n / 2.0
    x, y = x - rs.uniform(-3, 3), y - rs.uniform(-3, 3)
    r, a = np.hypot(x, y), np.arctan2(y, x) + rs.uniform(0, 2 * np.pi)
    R = rs.uniform(10, 13)
    if t == 0:
        edge = R + 2.0 * np.cos(3 * a)
    elif t == 1:
        edge = R - 1.5 * np.exp(-8 * (1 - np.cos(3 * a)))
    elif t == 2:
        edge = R * 0.75 + 3.8 * np.exp(-4 * (1 - np.cos(2 * a)))
    elif t == 3:
        edge = R + 0.6 * np.abs(np.cos(1.5 * a))
    elif t == 4:
        edge = R + 1.5 * np.cos(14 * a)
    else:
        edge = R * (1 + 0.18 * np.cos(2 * a))
    body = 1 / (1 + np.exp((r - edge) * 2))
    wall = np.exp(-(((r - edge + 1.5) / 1.1) ** 2))
    img = 0.82 - 0.35 * body * rs.uniform(0.8, 1.2) - 0.22 * wall
    if t in (3, 5):
        img -= 0.08 * body * np.sin(x * 1.1) * np.sin(y * 1.1) * (1 if t == 5 else 0)
    if t == 3:
        for k in range(3):
            img += 0.15 * np.exp(-((r - R) ** 2) / 4) * np.exp(-10 * (1 - np.cos(a - 2 * np.pi * k / 3)))
    return np.clip(img + rs.normal(0, 0.025, img.shape), 0, 1)


def collect(n):
    y = rs.randint(0, 6, n)
    x = np.stack([grain(t) for t in y]).astype(np.float32)[:, None]
    return TensorDataset(torch.from_numpy((x - 0.70) / 0.17), torch.from_numpy(y))


def conv(i, o, s):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride=s, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class PollenNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(conv(1, 16, 1), conv(16, 24, 2), conv(24, 32, 1), conv(32, 32, 2), conv(32, 48, 2))
        self.fc = nn.Linear(48 * 4, 6)

    def forward(self, x):
        h = nn.functional.adaptive_avg_pool2d(self.trunk(x), 2)
        return self.fc(h.flatten(1))


class Averaged:
    """Keeps a slowly moving copy of the network."""

    def __init__(self, net, decay=0.92):
        self.net = copy.deepcopy(net).eval()
        self.decay = decay
        for p in self.net.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, net):
        for mine, theirs in zip(self.net.parameters(), net.parameters()):
            mine.lerp_(theirs, 1 - self.decay)


def score(net, loader):
    net.eval()
    with torch.no_grad():
        return np.mean(np.concatenate([(net(x).argmax(1) == y).numpy() for x, y in loader]))


train = DataLoader(collect(1500), batch_size=50, shuffle=True)
test = DataLoader(collect(480), batch_size=160)
net = PollenNet()
avg = Averaged(net)
EPOCHS = 11
opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, EPOCHS)
lossf = nn.CrossEntropyLoss(label_smoothing=0.05)

for epoch in range(EPOCHS):
    net.train()
    run = []
    for x, y in train:
        opt.zero_grad()
        loss = lossf(net(x), y)
        loss.backward()
        opt.step()
        avg.update(net)
        run.append(loss.item())
    sched.step()
    print(f"epoch {epoch + 1}  loss {np.mean(run):.3f}  test {score(avg.net, test):.3f}")

with tempfile.TemporaryDirectory() as tmp:
    path = os.path.join(tmp, "pollen.pt")
    torch.save(avg.net.state_dict(), path)
    final = PollenNet()
    final.load_state_dict(torch.load(path))
    print("kept model, test accuracy:", round(float(score(final, test)), 4))
