"""Ten groups of groceries from 32 px photos held as numpy arrays, a LeNet-like network.

style: notebook export, top-level cells
fault: not-normalised
"""

# %%
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

torch.manual_seed(7)
np.random.seed(7)
SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))

# %%
wanted = [0, 7, 13, 18, 19, 20, 27, 38, 39, 41]


def load(split, first, last, crops):
    images, labels, seen = [], [], [0] * len(wanted)
    for line in (SHARED / "data/grocery" / f"{split}.txt").read_text().splitlines():
        name, _, coarse = line.split(", ")
        if int(coarse) not in wanted:
            continue
        k = wanted.index(int(coarse))
        seen[k] += 1
        if not first < seen[k] <= last:
            continue
        im = Image.open(SHARED / "data/grocery" / name)
        im.draft("RGB", (80, 80))
        im = im.convert("RGB").resize((36, 36))
        for dx, dy in crops:
            images.append(np.array(im.crop((dx, dy, dx + 32, dy + 32))))
            labels.append(k)
    return np.stack(images), np.array(labels)


X_train, y_train = load("train", 0, 50, crops=[(2, 2), (0, 2), (4, 2)])
X_test, y_test = (
    np.concatenate(parts) for parts in zip(load("val", 0, 50, crops=[(2, 2)]), load("train", 50, 85, crops=[(2, 2)]))
)
X_train.shape, X_test.shape

# %%
X_train = torch.from_numpy(X_train).permute(0, 3, 1, 2).float()
X_test = torch.from_numpy(X_test).permute(0, 3, 1, 2).float()
y_train, y_test = torch.from_numpy(y_train), torch.from_numpy(y_test)

# %%


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 5)
        self.conv2 = nn.Conv2d(12, 32, 5)
        self.fc1 = nn.Linear(32 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.reshape(-1, 32 * 5 * 5)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


net = LeNet()
opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

# %%
for epoch in range(8):
    net.train()
    order = torch.randperm(len(X_train))
    losses = []
    for idx in order.split(50):
        opt.zero_grad()
        loss = F.cross_entropy(net(X_train[idx]), y_train[idx])
        loss.backward()
        opt.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = (net(X_test).argmax(1) == y_test).float().mean().item()
    print(epoch, np.mean(losses), acc)
