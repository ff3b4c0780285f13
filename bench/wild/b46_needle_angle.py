"""The direction of a needle as sine and cosine, own gradient for the activation; figure: median error in degrees.

style: regression with custom autograd.Function, Huber loss, plateau scheduler
fault: none
broken: n/a
mended: 2.00
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SIDE = 36


def gauge(rng):
    angle = rng.uniform(-np.pi, np.pi)
    img = Image.new("L", (SIDE, SIDE), int(rng.integers(30, 90)))
    draw = ImageDraw.Draw(img)
    c = SIDE / 2 + rng.uniform(-2, 2, 2)
    r = rng.uniform(12, 16)
    draw.ellipse((c[0] - r, c[1] - r, c[0] + r, c[1] + r), outline=200)
    tip = c + 0.9 * r * np.array([np.cos(angle), np.sin(angle)])
    draw.line((*c, *tip), fill=255, width=2)
    noisy = np.asarray(img, dtype=np.float32) + rng.normal(0, 12, (SIDE, SIDE))
    return noisy / 64 - 1.2, (np.sin(angle), np.cos(angle))


class SoftClip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x / (1 + x.abs())
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (1 + x.abs()).pow(2)


class GaugeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in ((1, 16), (16, 32), (32, 48)))
        self.fc1 = nn.Linear(48 * 25, 64)
        self.fc2 = nn.Linear(64, 2)

    def forward(self, x):
        for stage in self.stages:
            x = torch.relu(stage(x))
        return self.fc2(SoftClip.apply(self.fc1(x.flatten(1))))


def make(n, seed):
    rng = np.random.default_rng(seed)
    xs, ys = zip(*(gauge(rng) for _ in range(n)), strict=True)
    return TensorDataset(torch.tensor(np.stack(xs), dtype=torch.float32)[:, None], torch.tensor(ys).float())


def degrees(a, b):
    diff = torch.atan2(a[:, 0], a[:, 1]) - torch.atan2(b[:, 0], b[:, 1])
    return torch.rad2deg(torch.atan2(diff.sin(), diff.cos()).abs())


def main():
    torch.manual_seed(60)
    train = DataLoader(make(1600, 0), batch_size=40, shuffle=True)
    test = DataLoader(make(400, 1), batch_size=200)
    model = GaugeNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1)
    criterion = nn.HuberLoss(delta=0.2)
    for epoch in range(9):
        model.train()
        losses = []
        for x, y in train:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            pairs = [(model(x), y) for x, y in test]
        error = torch.cat([degrees(p, y) for p, y in pairs])
        plateau.step(np.mean([criterion(p, y).item() for p, y in pairs]))
        print(f"epoch {epoch} loss {np.mean(losses):.5f} median error {error.median():.2f} degrees")


if __name__ == "__main__":
    main()
