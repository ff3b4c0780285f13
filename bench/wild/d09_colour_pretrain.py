"""Autoencoder pretraining on unlabelled texture patches, then a classifier on the encoder.

style: two-stage self-supervised pipeline, freeze first and unfreeze later
fault: frozen-parameters
accept: optimizer-misses-parameters
broken: 0.142
mended: 0.996
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(99)
SIZE = 32
yy, xx = np.mgrid[:SIZE, :SIZE].astype(np.float32)


def patch(kind, rng):
    """Six weaves which differ by direction and period."""
    theta = [0.3, 0.3, 1.2, 1.2, 2.2, 2.2][kind] + rng.normal(0, 0.08)
    period = [5.0, 8.0][kind % 2] * rng.uniform(0.92, 1.08)
    a = np.cos(theta) * xx + np.sin(theta) * yy
    g = np.sin(2 * np.pi * a / period + rng.uniform(0, 6.28))
    g *= rng.uniform(0.25, 0.6)
    col = rng.uniform(0.25, 0.75, 3)[:, None, None]
    tint = rng.uniform(0.1, 0.3, 3)[:, None, None]
    out = col + tint * g[None] + rng.normal(0, 0.09, (3, SIZE, SIZE))
    out += rng.uniform(-0.2, 0.2) * (xx / SIZE)[None]
    return np.clip(out, 0, 1)


def collection(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 6, n)
    x = np.stack([patch(k, rng) for k in y]).astype(np.float32)
    return (torch.from_numpy(x) - 0.5) / 0.22, torch.from_numpy(y)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.net(x)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(48, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 4, 2, 1),
        )

    def forward(self, z):
        return self.net(z)


class Classifier(nn.Module):
    def __init__(self, encoder, n_classes):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(48, n_classes)

    def set_encoder_trainable(self, flag):
        self.encoder.requires_grad = flag

    def forward(self, x):
        return self.head(self.encoder(x).mean((2, 3)))


def batches(n, bs):
    return torch.randperm(n)[: n // bs * bs].view(-1, bs)


def pretrain(encoder, x, epochs=4):
    decoder = Decoder()
    opt = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    for ep in range(epochs):
        tot = []
        for idx in batches(len(x), 50):
            rec = decoder(encoder(x[idx]))
            loss = F.mse_loss(rec, x[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            tot.append(loss.item())
        print(f"[autoencoder] epoch {ep} mse {np.mean(tot):.4f}", flush=True)


def finetune(model, train, val, warm=2, epochs=14):
    for p in model.encoder.parameters():
        p.requires_grad = False
    opt = torch.optim.Adam(
        [
            {"params": model.encoder.parameters(), "lr": 1.5e-3},
            {"params": model.head.parameters(), "lr": 5e-3},
        ]
    )
    x, y = train
    for ep in range(epochs):
        if ep == warm:
            model.set_encoder_trainable(True)
        model.train()
        tot = []
        for idx in batches(len(x), 40):
            loss = F.cross_entropy(model(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            tot.append(loss.item())
        model.eval()
        with torch.no_grad():
            z = model(val[0])
            vl = F.cross_entropy(z, val[1]).item()
            va = (z.argmax(1) == val[1]).float().mean().item()
        print(f"[classifier] epoch {ep} train {np.mean(tot):.4f} val {vl:.4f} val_acc {va:.3f}", flush=True)


if __name__ == "__main__":
    unlabelled, _ = collection(2000, 0)
    train, val = collection(1200, 1), collection(500, 2)
    enc = Encoder()
    pretrain(enc, unlabelled)
    finetune(Classifier(enc, 6), train, val)
