"""Land-cover tiles come from the GIS group as one .npz per class.  I concatenate them and iterate over minibatches
with a small numpy generator, because the DataLoader felt like overkill.

style: GIS analyst, numpy generator for batches, no DataLoader
fault: not-shuffled
broken: 0.398
mended: 0.963
"""

import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
from scipy.ndimage import gaussian_filter

CLASSES = ["forest", "water", "urban", "crop", "bare", "orchard", "wetland", "road"]
rng = np.random.default_rng(99)
torch.manual_seed(99)
P = 32


def tile(c):
    z = lambda s: gaussian_filter(rng.normal(size=(P, P)), s) * s * 3
    yy, xx = np.mgrid[:P, :P]
    base = rng.normal(0, 0.05, 3)[:, None, None] + 0.4 * np.ones((3, P, P))
    t = np.zeros((P, P))
    if c == 0:
        t = 0.12 * z(1.2) - 0.1
    elif c == 1:
        t = 0.04 * z(4) - 0.2
    elif c == 2:
        b = (rng.random((8, 8)) > 0.5).astype(float)
        t = 0.35 * np.kron(b, np.ones((4, 4))) - 0.1
    elif c == 3:
        a = rng.uniform(0, np.pi)
        t = 0.14 * np.sin((xx * np.cos(a) + yy * np.sin(a)) * rng.uniform(1.2, 1.7))
    elif c == 4:
        t = 0.06 * z(3) + 0.15
    elif c == 5:
        s = rng.integers(5, 8)
        t = -0.3 * (((xx % s) - s // 2) ** 2 + ((yy % s) - s // 2) ** 2 < 3) + 0.1
    elif c == 6:
        t = np.where(z(3) > 0, -0.2, 0.08)
    else:
        a = rng.uniform(0, np.pi)
        d = (xx - P / 2) * np.cos(a) + (yy - P / 2) * np.sin(a) - rng.uniform(-6, 6)
        t = 0.3 * (np.abs(d) < 2) + 0.08 * z(2)
    tint = np.array([0.9, 1.0, 0.8])[:, None, None] * (1 + rng.normal(0, 0.1, (3, 1, 1)))
    return (base + t * tint + rng.normal(0, 0.05, (3, P, P))).astype(np.float32)


def deliver(folder, n):
    for c, name in enumerate(CLASSES):
        np.savez(os.path.join(folder, f"{name}.npz"), tiles=np.stack([tile(c) for _ in range(n)]))


def read_all(folder):
    xs, ys = [], []
    for c, name in enumerate(CLASSES):
        with np.load(os.path.join(folder, f"{name}.npz")) as z:
            xs.append(z["tiles"])
            ys.append(np.full(len(xs[-1]), c))
    return np.concatenate(xs), np.concatenate(ys)


def minibatches(x, y, size):
    order = np.arange(len(y))
    rng.permutation(order)
    for s in range(0, len(order), size):
        take = order[s : s + size]
        yield torch.from_numpy(x[take]), torch.from_numpy(y[take])


net = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 48, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(2),
    nn.Flatten(),
    nn.Linear(192, 64),
    nn.ReLU(),
    nn.Linear(64, len(CLASSES)),
)

with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
    deliver(a, 220)
    deliver(b, 60)
    xtr, ytr = read_all(a)
    xte, yte = read_all(b)

mean, std = xtr.mean((0, 2, 3), keepdims=True), xtr.std((0, 2, 3), keepdims=True)
xtr, xte = (xtr - mean) / std, (xte - mean) / std

optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
ce = nn.CrossEntropyLoss()
for epoch in range(18):
    net.train()
    seen = loss_sum = 0
    for xb, yb in minibatches(xtr, ytr, 40):
        optimiser.zero_grad()
        loss = ce(net(xb), yb)
        loss.backward()
        optimiser.step()
        loss_sum += loss.item() * len(yb)
        seen += len(yb)
    net.eval()
    with torch.no_grad():
        pred = net(torch.from_numpy(xte)).argmax(1).numpy()
    print("epoch", epoch, "loss", round(loss_sum / seen, 4), "test", round(float((pred == yte).mean()), 4))

for c, name in enumerate(CLASSES):
    print(f"  {name:8s} {np.mean(pred[yte == c] == c):.2f}")
print("overall accuracy", round(float((pred == yte).mean()), 4))
