"""Galaxy morphology toy (spiral, barred, elliptical, ring, edge-on, irregular) before I ask for time on the real
survey. Command-line flags copied over from my GAN code.

style: astronomer, argparse with many flags, logging module
fault: momentum-high
broken: 0.437
mended: 0.983
"""

import argparse
import logging

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

KINDS = ("spiral", "barred", "elliptical", "ring", "edge-on", "irregular")
log = logging.getLogger("morph")


def galaxy(kind, rng, n=36):
    yy, xx = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    xx = xx - rng.uniform(-0.12, 0.12)
    yy = yy - rng.uniform(-0.12, 0.12)
    pa, q = rng.uniform(0, np.pi), rng.uniform(0.7, 1.0)
    u = xx * np.cos(pa) + yy * np.sin(pa)
    v = (-xx * np.sin(pa) + yy * np.cos(pa)) / (q if kind != "edge-on" else rng.uniform(0.15, 0.25))
    r, phi = np.hypot(u, v) + 1e-6, np.arctan2(v, u)
    h = rng.uniform(0.25, 0.36)
    disc = np.exp(-r / h)
    if kind == "spiral":
        img = disc * (1 + 0.9 * np.cos(2 * phi - rng.choice([-1, 1]) * rng.uniform(6, 8) * np.log(r + 0.12)))
    elif kind == "barred":
        bar = np.exp(-((u / 0.42) ** 4) - (v / 0.11) ** 2)
        img = 0.5 * disc + 0.9 * bar
    elif kind == "ring":
        img = 0.35 * np.exp(-r / 0.1) + 0.8 * np.exp(-(((r - rng.uniform(0.45, 0.6)) / 0.1) ** 2))
    elif kind == "irregular":
        img = sum(
            rng.uniform(0.3, 0.8) * np.exp(-((xx - a) ** 2 + (yy - b) ** 2) / rng.uniform(0.01, 0.05))
            for a, b in rng.uniform(-0.5, 0.5, (6, 2))
        )
    else:
        img = 1.4 * np.exp(-((r / h) ** (0.6 if kind == "elliptical" else 1.0)))
    img = img / img.max() + rng.normal(0, 0.09, img.shape)
    return np.arcsinh(4 * img).astype(np.float32)


def catalogue(n, rng):
    y = rng.integers(0, len(KINDS), n)
    x = np.stack([galaxy(KINDS[k], rng) for k in y])
    return TensorDataset(torch.from_numpy((x - 0.8) / 0.8)[:, None], torch.from_numpy(y))


def build(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 64),
        nn.ReLU(),
        nn.Linear(64, len(KINDS)),
    )


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--n_epochs", type=int, default=12)
    ap.add_argument("--batch_size", type=int, default=50)
    ap.add_argument("--lr", type=float, default=1e-3, help="adam: learning rate")
    ap.add_argument("--b1", type=float, default=0.999, help="adam: decay of the moment estimate")
    ap.add_argument("--b2", type=float, default=0.9, help="adam: decay of the moment estimate")
    ap.add_argument("--width", type=int, default=16)
    ap.add_argument("--seed", type=int, default=3)
    opt = ap.parse_args([])
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    torch.manual_seed(opt.seed)
    rng = np.random.default_rng(opt.seed)
    train, test = catalogue(2000, rng), catalogue(600, rng)
    loader = DataLoader(train, opt.batch_size, shuffle=True)
    net = build(opt.width)
    optimizer = torch.optim.Adam(net.parameters(), lr=opt.lr, betas=(opt.b1, opt.b2))
    loss_fn = nn.CrossEntropyLoss()
    xt, yt = test.tensors
    for epoch in range(opt.n_epochs):
        net.train()
        acc_loss = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
            acc_loss += loss.item()
        net.eval()
        with torch.no_grad():
            acc = (net(xt).argmax(1) == yt).float().mean().item()
        log.info("epoch %02d  loss %.4f  acc %.4f", epoch, acc_loss / len(loader), acc)
    log.info("final accuracy %.4f", acc)


if __name__ == "__main__":
    main()
