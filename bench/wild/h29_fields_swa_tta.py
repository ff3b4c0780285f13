"""Irrigation patterns in satellite tiles, where up and down have no meaning. Constant high rate, averaged
weights at the end, statistics refreshed, and the eight orientations voted at prediction time.

style: remote-sensing consultant, torch.optim.swa_utils, dihedral test-time voting
fault: none
mended: 0.956
"""

import numpy as np
import torch
import torch.nn as nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(55)
torch.manual_seed(55)
LABELS = ["pivot", "drip rows", "flooded terraces", "checker plots", "fallow", "strip"]
S = 36


def tile(k):
    yy, xx = np.mgrid[:S, :S]
    veg = np.zeros((S, S))
    if k == 0:
        for _ in range(2):
            cx, cy = np.random.uniform(8, S - 8, 2)
            veg = np.maximum(veg, np.hypot(xx - cx, yy - cy) < np.random.uniform(7, 11))
    elif k == 1:
        th = np.random.uniform(0, np.pi)
        veg = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * (xx * np.cos(th) + yy * np.sin(th)) / np.random.uniform(3.5, 5)))
    elif k == 2:
        cx, cy = np.random.uniform(-15, S + 15, 2)
        wob = np.random.uniform(4, 7)
        veg = 0.5 + 0.5 * np.sign(np.sin(np.hypot(xx - cx, yy - cy) * 2 * np.pi / wob + 0.6 * np.sin(yy / 4)))
    elif k == 3:
        p = np.random.uniform(7, 10)
        th = np.random.uniform(0, np.pi / 2)
        u, v = xx * np.cos(th) + yy * np.sin(th), -xx * np.sin(th) + yy * np.cos(th)
        veg = (np.floor(u / p) + np.floor(v / p)) % 2
    elif k == 5:
        th, c = np.random.uniform(0, np.pi), np.random.uniform(-5, 5)
        veg = (np.abs((xx - 18) * np.cos(th) + (yy - 18) * np.sin(th) + c) < np.random.uniform(4, 7)).astype(float)
    soil = np.array([0.55, 0.45, 0.34]) * np.random.uniform(0.85, 1.15)
    crop = np.array([0.30, 0.48, 0.24]) * np.random.uniform(0.85, 1.15)
    img = soil * (1 - veg[..., None]) + crop * veg[..., None] + np.random.randn(S, S, 3) * 0.10
    return img.transpose(2, 0, 1)


def scene(n):
    y = np.random.randint(0, len(LABELS), n)
    x = np.stack([tile(k) for k in y]).astype(np.float32)
    return TensorDataset(torch.from_numpy((x - 0.43) / 0.15), torch.from_numpy(y))


def orient(x, code):
    x = torch.rot90(x, code % 4, (2, 3))
    return x.flip(3) if code >= 4 else x


def unit(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.GELU(), nn.MaxPool2d(2))


net = nn.Sequential(
    unit(3, 20),
    unit(20, 40),
    unit(40, 40),
    nn.Dropout2d(0.1),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(40, len(LABELS)),
)
train, test = scene(1400), scene(500)
loader = DataLoader(train, batch_size=56, shuffle=True)
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
averaged = AveragedModel(net)
criterion = nn.CrossEntropyLoss()
xt, yt = test.tensors


@torch.no_grad()
def vote(model, x):
    model.eval()
    return sum(model(orient(x, c)).softmax(1) for c in range(8)).argmax(1)


for epoch in range(14):
    net.train()
    total = 0.0
    for x, y in loader:
        x = orient(x, int(torch.randint(0, 8, ())))
        loss = criterion(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss.item()
    if epoch >= 8:
        averaged.update_parameters(net)
    net.eval()
    with torch.no_grad():
        single = (net(xt).argmax(1) == yt).float().mean().item()
    print(f"epoch {epoch:2d} loss {total / len(loader):.3f} raw weights {single:.3f}")

update_bn(loader, averaged)
print(f"averaged weights, eight votes: {(vote(averaged, xt) == yt).float().mean().item():.4f}")
