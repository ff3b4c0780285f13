"""Counts coins (one to five) on a table; the loss is written by hand with log_softmax and gather.

style: functional, loss by hand
fault: loss-sign
broken: 0.19
mended: 0.77
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw


def table(count, rng, size=48):
    img = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(60, 120, 3)))
    d = ImageDraw.Draw(img)
    placed = []
    while len(placed) < count:
        r = rng.uniform(4, 6.5)
        x, y = rng.uniform(r, size - r, 2)
        if all((x - a) ** 2 + (y - b) ** 2 > (r + c + 1) ** 2 for a, b, c in placed):
            placed.append((x, y, r))
            d.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(v) for v in rng.integers(150, 255, 3)))
    return np.asarray(img, np.float32) / 255


def make(n, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, n)
    x = np.stack([table(c, rng) for c in counts]).transpose(0, 3, 1, 2)
    return torch.tensor((x - 0.45) / 0.2), torch.tensor(counts - 1)


def init_params():
    def he(*shape):
        fan_in = int(np.prod(shape[1:]))
        return (torch.randn(*shape) * (2 / fan_in) ** 0.5).requires_grad_()

    def zeros(n):
        return torch.zeros(n, requires_grad=True)

    return [
        he(16, 3, 5, 5),
        zeros(16),
        he(32, 16, 3, 3),
        zeros(32),
        he(
            64,
            32 * 36,
        ),
        zeros(64),
        he(5, 64),
        zeros(5),
    ]


def forward(params, x):
    w1, b1, w2, b2, w3, b3, w4, b4 = params
    x = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=2)), 4)
    x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, padding=1)), 2)
    x = F.relu(F.linear(x.flatten(1), w3, b3))
    return F.linear(x, w4, b4)


def nll(logits, target):
    log_p = F.log_softmax(logits, dim=1)
    return log_p.gather(1, target[:, None]).squeeze(1).mean()


if __name__ == "__main__":
    torch.manual_seed(0)
    x, y = make(1600, 0)
    x_test, y_test = make(500, 1)
    params = init_params()
    opt = torch.optim.Adam(params, lr=1e-3)
    for epoch in range(8):
        for idx in torch.randperm(len(x)).split(40):
            loss = nll(forward(params, x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        with torch.no_grad():
            acc = (forward(params, x_test).argmax(1) == y_test).float().mean()
        print(f"epoch {epoch} loss {loss.item():.4f} accuracy {acc.item():.4f}")
