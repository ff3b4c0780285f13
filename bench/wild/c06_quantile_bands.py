"""Predicts the 10, 50 and 90 percent quantiles of a noisy blade length from drawn pictures (pinball loss).

style: regression research code, functions and a config dict
fault: none
broken: n/a
mended: 0.98
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

torch.set_num_threads(1)
CONFIG = {"quantiles": (0.1, 0.5, 0.9), "epochs": 14, "batch": 32, "lr": 2e-3, "size": 28}


def blade(rng, size):
    """A blade of a certain length; the caliper that gave the answer scatters more for long blades."""
    length, angle = rng.uniform(6, 24), rng.uniform(0, np.pi)
    dx, dy = np.cos(angle) * length / 2, np.sin(angle) * length / 2
    cx, cy = size / 2 + rng.uniform(-1, 1, 2)
    big = Image.new("L", (size * 4, size * 4), 30)
    ImageDraw.Draw(big).line([4 * (cx - dx), 4 * (cy - dy), 4 * (cx + dx), 4 * (cy + dy)], fill=220, width=8)
    pixels = np.asarray(big.resize((size, size), Image.BOX), dtype=np.float32) / 255
    return pixels, (length + rng.normal(0, 0.05 * length)) / 24, length / 24


def make_data(n, seed):
    rng = np.random.default_rng(seed)
    x, y, true = zip(*(blade(rng, CONFIG["size"]) for _ in range(n)))
    x = torch.tensor(np.stack(x)).unsqueeze(1)
    return (x - 0.17) / 0.15, torch.tensor(y, dtype=torch.float32), torch.tensor(true, dtype=torch.float32)


def pinball(pred, target, quantiles):
    diff = target[:, None] - pred
    return torch.maximum(quantiles * diff, (quantiles - 1) * diff).mean()


def build():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(24, 32, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(7),
        nn.Flatten(),
        nn.Linear(32, 32),
        nn.LeakyReLU(0.1),
        nn.Linear(32, len(CONFIG["quantiles"])),
    )


def main():
    torch.manual_seed(0)
    x, y, _ = make_data(1200, 1)
    xv, yv, true = make_data(400, 2)
    q = torch.tensor(CONFIG["quantiles"])
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG["lr"])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, CONFIG["epochs"])
    for epoch in range(CONFIG["epochs"]):
        model.train()
        losses = []
        for idx in torch.randperm(len(x)).split(CONFIG["batch"]):
            optimizer.zero_grad()
            loss = pinball(model(x[idx]), y[idx], q)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        model.eval()
        with torch.no_grad():
            pred = model(xv)
        inside = ((yv >= pred[:, 0]) & (yv <= pred[:, 2])).float().mean()
        r2 = 1 - (pred[:, 1] - true).pow(2).mean() / true.var()
        print(f"{epoch + 1:2d} pinball {np.mean(losses):.4f} coverage of the 80 % band {inside:.2f} R2 {r2:.3f}")


if __name__ == "__main__":
    main()
