"""Finds round particles with a centre heatmap and the focal loss, in the manner of CenterNet.

style: detection code, init_weights with a prior, peaks by max pooling
source: https://github.com/ultralytics/yolov3/issues/460
fault: dead-relu
accept: init-scale
broken: 0.00
mended: 0.97
"""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
STRIDE = 4


class Particles(Dataset):
    def __init__(self, n, seed, size=48):
        rng = np.random.default_rng(seed)
        yy, xx = np.mgrid[:size, :size]
        grid = size // STRIDE
        gy, gx = np.mgrid[:grid, :grid]
        self.samples = []
        for _ in range(n):
            img = rng.normal(0.3, 0.06, (size, size)) + 0.15 * np.sin(xx / rng.uniform(4, 9))
            heat = np.zeros((grid, grid))
            for _ in range(rng.integers(1, 5)):
                cy, cx = rng.integers(5, size - 5, 2)
                img[(yy - cy) ** 2 + (xx - cx) ** 2 <= rng.integers(6, 14)] += 0.5
                iy, ix = cy // STRIDE, cx // STRIDE
                heat = np.maximum(heat, np.exp(-((gy - iy) ** 2 + (gx - ix) ** 2) / 0.7))
            img = torch.tensor(img, dtype=torch.float32)
            self.samples.append((((img - 0.33) / 0.15)[None], torch.tensor(heat, dtype=torch.float32)[None]))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


class HeatmapNet(nn.Module):
    def __init__(self, prior=0.01):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.tower = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU())
        self.cls = nn.Conv2d(32, 1, 1)
        self.init_weights(prior)

    def init_weights(self, prior):
        bias = -math.log((1 - prior) / prior)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.constant_(m.bias, bias)

    def forward(self, x):
        return self.cls(self.tower(self.stem(x)))


def focal_loss(logits, target):
    p = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    positive = target.eq(1).float()
    pos = (1 - p) ** 2 * p.log() * positive
    neg = p**2 * (1 - p).log() * (1 - target) ** 4 * (1 - positive)
    return -(pos + neg).sum() / positive.sum().clamp_min(1)


def f1_of_peaks(net, loader, threshold=0.3):
    net.eval()
    tp = n_pred = n_true = 0
    with torch.no_grad():
        for x, heat in loader:
            p = torch.sigmoid(net(x))
            peaks = (p == F.max_pool2d(p, 3, 1, 1)) & (p > threshold)
            centres = heat.eq(1)
            near = F.max_pool2d(centres.float(), 3, 1, 1) > 0
            tp += (peaks & near).sum().item()
            n_pred += peaks.sum().item()
            n_true += centres.sum().item()
    return 2 * min(tp, n_true) / max(n_pred + n_true, 1)


def main():
    torch.manual_seed(2)
    train_loader = DataLoader(Particles(500, 1), batch_size=16, shuffle=True)
    val_loader = DataLoader(Particles(120, 2), batch_size=60)
    net = HeatmapNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(10):
        net.train()
        losses = []
        for x, heat in train_loader:
            loss = focal_loss(net(x), heat)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} focal {np.mean(losses):.3f} F1 {f1_of_peaks(net, val_loader):.3f}")


if __name__ == "__main__":
    main()
