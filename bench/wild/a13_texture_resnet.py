"""Surfaces with four grades of roughness, a small ResNet, and a baseline measured before training starts.

style: research script with a results dictionary
fault: batchnorm-mode
"""

import json

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

SEED = 11
N_TRAIN, N_TEST = 1200, 600
SIGMAS = [0.6, 0.9, 1.3, 1.8, 2.5]


def surfaces(n, rng):
    labels = rng.integers(0, len(SIGMAS), n)
    images = np.empty((n, 1, 32, 32), np.float32)
    for i, k in enumerate(labels):
        field = gaussian_filter(rng.normal(size=(32, 32)), SIGMAS[k] * rng.uniform(0.93, 1.07))
        field = field / field.std() * rng.uniform(0.4, 1.2)
        images[i, 0] = field + rng.uniform(-0.8, 0.8) + rng.normal(0, 0.1, (32, 32))
    return torch.from_numpy(images), torch.from_numpy(labels)


class Block(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.short = nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.short(x))


class ResNet8(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16), Block(16, 32, 2), Block(32, 64, 2))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


@torch.no_grad()
def accuracy(model, x, y):
    model.eval()
    return sum((model(a).argmax(1) == b).sum().item() for a, b in zip(x.split(100), y.split(100))) / len(x)


def main():
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    x_train, y_train = surfaces(N_TRAIN, rng)
    x_test, y_test = surfaces(N_TEST, rng)
    model = ResNet8(len(SIGMAS))
    results = {"before": accuracy(model, x_test, y_test), "epochs": []}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    for epoch in range(6):
        for idx in torch.randperm(N_TRAIN).split(40):
            loss = F.cross_entropy(model(x_train[idx]), y_train[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        results["epochs"].append({"loss": round(loss.item(), 4), "accuracy": accuracy(model, x_test, y_test)})
        print(epoch, results["epochs"][-1])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
