"""Reads a round gauge: regresses the sine and cosine of the needle's angle.

style: regression project, SmoothL1, R2 printed
fault: none
"""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from sklearn.metrics import r2_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def gauge(angle, rng):
    back = int(rng.integers(170, 240))
    img = Image.new("L", (48, 48), int(rng.integers(60, 140)))
    d = ImageDraw.Draw(img)
    x, y, r = 24 + rng.uniform(-2, 2), 24 + rng.uniform(-2, 2), rng.uniform(17, 21)
    d.ellipse((x - r, y - r, x + r, y + r), fill=back)
    for k in range(8):
        a = k * math.pi / 4
        tick = (x + 0.8 * r * math.cos(a), y + 0.8 * r * math.sin(a), x + r * math.cos(a), y + r * math.sin(a))
        d.line(tick, fill=90, width=1)
    d.line((x, y, x + 0.8 * r * math.cos(angle), y + 0.8 * r * math.sin(angle)), fill=int(rng.integers(0, 80)), width=3)
    d.ellipse((x - 2, y - 2, x + 2, y + 2), fill=20)
    return np.asarray(img.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8)))), np.float32) / 255


def make(n, seed):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * math.pi, n)
    x = np.stack([gauge(a, rng) for a in angles])[:, None]
    targets = np.stack([np.sin(angles), np.cos(angles)], 1)
    return TensorDataset(torch.tensor((x - 0.6) / 0.25), torch.tensor(targets, dtype=torch.float32))


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ELU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ELU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ELU(),
        )
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(32 * 36, 64), nn.ELU(), nn.Linear(64, 2))

    def forward(self, x):
        return self.fc(self.conv(x))


def main():
    torch.manual_seed(0)
    train = DataLoader(make(1800, 0), batch_size=60, shuffle=True)
    test = DataLoader(make(500, 1), batch_size=125)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    loss_fn = nn.SmoothL1Loss()
    for epoch in range(12):
        model.train()
        for x, t in train:
            loss = loss_fn(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            p = torch.cat([model(x) for x, _ in test])
        t = test.dataset.tensors[1]
        val_loss = loss_fn(p, t).item()
        scheduler.step(val_loss)
        wrong = torch.atan2(p[:, 0], p[:, 1]) - torch.atan2(t[:, 0], t[:, 1])
        degrees = torch.rad2deg(torch.atan2(wrong.sin(), wrong.cos())).abs().mean().item()
        print(f"epoch {epoch:2d} val loss {val_loss:.5f} R2 {r2_score(t, p):.3f} mean error {degrees:.1f} degrees")


if __name__ == "__main__":
    main()
