"""Eye-test rings (Landolt C): where is the gap, or is the ring closed? An excuse to try torch.compile with bfloat16 and sine activations on the CPU.

style: torch.compile, torch.autocast bf16, sine network with its own init, Lion-like sign updates written by hand
fault: none
mended: 0.952
"""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw

torch.manual_seed(20)
GAPS = ["right", "bottom", "left", "top", "closed"]


def ring(k, rng):
    im = Image.new("L", (64, 64), int(rng.integers(150, 220)))
    d = ImageDraw.Draw(im)
    r = rng.uniform(12, 20)
    cx, cy = rng.uniform(r + 3, 61 - r, 2)
    w = r / 2.5
    box = [cx - r, cy - r, cx + r, cy + r]
    ink = int(rng.integers(10, 90))
    if k == 4:
        d.ellipse(box, outline=ink, width=round(w))
    else:
        half = math.degrees(w * 0.75 / r)
        mid = 90 * k + rng.normal(0, 5)
        d.arc(box, mid + half, mid + 360 - half, fill=ink, width=round(w))
    small = np.asarray(im.resize((32, 32), Image.BILINEAR), np.float32)
    haze = rng.uniform(0.4, 1)
    return haze * small + (1 - haze) * 200 + rng.normal(0, 9, small.shape)


def batch_of(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, n)
    x = np.stack([ring(k, rng) for k in y])[:, None]
    x = x - x.mean((2, 3), keepdims=True)
    return torch.tensor(x / x.std((2, 3), keepdims=True), dtype=torch.float32), torch.tensor(y)


class Sine(nn.Module):
    def __init__(self, w0):
        super().__init__()
        self.w0 = w0

    def forward(self, x):
        return torch.sin(self.w0 * x)


class SineNet(nn.Module):
    def __init__(self, w0=1.5):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2),
            Sine(w0),
            nn.Conv2d(16, 32, 3, 2, 1),
            Sine(w0),
            nn.Conv2d(32, 48, 3, 2, 1),
            Sine(w0),
        )
        self.head = nn.Linear(48 * 16, 5)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                fan = m.weight[0].numel()
                nn.init.uniform_(m.weight, -math.sqrt(6 / fan) / w0, math.sqrt(6 / fan) / w0)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        return self.head(self.convs(x).flatten(1))


class SignMomentum(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), decay=0.1):
        super().__init__(params, dict(lr=lr, betas=betas, decay=decay))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            b1, b2 = g["betas"]
            for p in g["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.mul_(1 - g["lr"] * g["decay"])
                p.add_(torch.sign(b1 * m + (1 - b1) * p.grad), alpha=-g["lr"])
                m.lerp_(p.grad, 1 - b2)


def main():
    x, y = batch_of(3000, 1)
    xt, yt = batch_of(800, 2)
    net = SineNet()
    fast = torch.compile(net, dynamic=False)
    opt = SignMomentum(net.parameters(), lr=1e-3)
    steps, size = 900, 50
    for t in range(steps):
        for g in opt.param_groups:
            g["lr"] = 1e-3 * min(1, t / 50) * (1 - t / steps) + 1e-6
        pick = torch.randperm(len(y))[:size]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = fast(x[pick])
        loss = F.cross_entropy(logits.float(), y[pick])
        net.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        if t % 150 == 0:
            print(f"step {t} loss {loss.item():.3f}")
    net.eval()
    with torch.inference_mode():
        guess = net(xt).argmax(1)
    print(f"gap found: {(guess == yt).float().mean().item():.3f}")


if __name__ == "__main__":
    main()
