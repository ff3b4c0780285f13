"""Four shapes, bright on dark or dark on bright, with a functional-style network.

style: StackOverflow question, functional forward, manual batches
fault: missing-nonlinearity
broken: 0.33
mended: 0.95
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw

SHAPES = ["disc", "square", "triangle", "cross"]
SIZE = 32


def draw_shape(kind, rng):
    img = Image.new("L", (SIZE, SIZE))
    d = ImageDraw.Draw(img)
    r = int(rng.integers(6, 11))
    cx, cy = (int(v) for v in rng.integers(r + 1, SIZE - r - 1, 2))
    if kind == 0:
        d.ellipse((cx - r, cy - r, cx + r, cy + r), fill=1)
    elif kind == 1:
        d.rectangle((cx - r, cy - r, cx + r, cy + r), fill=1)
    elif kind == 2:
        d.polygon([(cx - r, cy + r), (cx + r, cy + r), (cx, cy - r)], fill=1)
    else:
        w = max(2, r // 3)
        d.rectangle((cx - r, cy - w, cx + r, cy + w), fill=1)
        d.rectangle((cx - w, cy - r, cx + w, cy + r), fill=1)
    sign = rng.choice([-1.0, 1.0])
    return sign * np.asarray(img, dtype=np.float32) + rng.normal(0, 0.15, (SIZE, SIZE)).astype(np.float32)


def make_data(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    x = np.stack([draw_shape(k, rng) for k in y])[:, None]
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(32 * 16, 64)
        self.fc2 = nn.Linear(64, 4)

    def forward(self, x):
        x = self.pool(self.conv1(x))
        F.relu(x)
        x = self.pool(self.conv2(x))
        F.relu(x)
        x = self.pool(self.conv3(x))
        F.relu(x)
        x = x.view(-1, 32 * 16)
        x = self.fc1(x)
        F.relu(x)
        return self.fc2(x)


torch.manual_seed(0)
x_train, y_train = make_data(1600, 0)
x_test, y_test = make_data(400, 1)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(12):
    losses = []
    for idx in torch.randperm(len(x_train)).split(50):
        optimizer.zero_grad()
        out = net(x_train[idx])
        loss = F.cross_entropy(out, y_train[idx])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        predicted = net(x_test).argmax(1)
    print(epoch, "loss", round(np.mean(losses), 3), "test acc", (predicted == y_test).float().mean().item())
for k, name in enumerate(SHAPES):
    print(name, (predicted[y_test == k] == k).float().mean().item())
