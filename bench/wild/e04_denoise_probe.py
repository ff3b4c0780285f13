"""Denoising auto-encoder on unlabelled digits, then a linear probe with few labels.

style: self-supervised pre-training, then frozen encoder + probe; dataclass config; AdamW with cosine schedule
fault: none
broken: n/a
mended: 0.965
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    seed: int = 5
    noise: float = 0.7
    drop_pixels: float = 0.25
    pretrain_epochs: int = 120
    probe_epochs: int = 60
    labelled: int = 300
    code: int = 48
    lr: float = 2e-3


cfg = Config()
torch.manual_seed(cfg.seed)


class Encoder(nn.Module):
    def __init__(self, code):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 256),
            nn.LayerNorm(256),
            nn.GELU(),
            nn.Linear(256, 128),
            nn.LayerNorm(128),
            nn.GELU(),
            nn.Linear(128, code),
        )

    def forward(self, x):
        return self.net(x)


def corrupt(x):
    keep = (torch.rand_like(x) > cfg.drop_pixels).float()
    return x * keep + cfg.noise * torch.randn_like(x)


def pretrain(encoder, decoder, x):
    params = list(encoder.parameters()) + list(decoder.parameters())
    opt = torch.optim.AdamW(params, lr=cfg.lr, weight_decay=1e-3)
    loader = DataLoader(TensorDataset(x), batch_size=64, shuffle=True)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, cfg.pretrain_epochs)
    for epoch in range(cfg.pretrain_epochs):
        total = 0.0
        for (clean,) in loader:
            opt.zero_grad()
            loss = nn.functional.mse_loss(decoder(encoder(corrupt(clean))), clean)
            loss.backward()
            opt.step()
            total += loss.item() * len(clean)
        sched.step()
        if epoch % 20 == 19:
            print(f"pretrain {epoch + 1:3d}  reconstruction {total / len(x):.4f}")


def probe(encoder, xl, yl, xt, yt):
    encoder.eval()
    for p in encoder.parameters():
        p.requires_grad_(False)
    head = nn.Sequential(nn.LayerNorm(cfg.code, elementwise_affine=False), nn.Linear(cfg.code, 10))
    opt = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=1e-2)
    with torch.no_grad():
        fl, ft = encoder(xl), encoder(xt)
    loader = DataLoader(TensorDataset(fl, yl), batch_size=50, shuffle=True)
    for epoch in range(cfg.probe_epochs):
        for f, y in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(head(f), y)
            loss.backward()
            opt.step()
        if epoch % 15 == 14:
            with torch.no_grad():
                acc = (head(ft).argmax(1) == yt).float().mean().item()
            print(f"probe {epoch + 1:3d}  loss {loss.item():.4f}  test acc {acc:.4f}")
    return acc


def main():
    X, y = load_digits(return_X_y=True)
    xa, xt, ya, yt = train_test_split(X, y, test_size=540, stratify=y, random_state=0)
    mean, std = xa.mean(), xa.std()
    xa = torch.tensor((xa - mean) / std, dtype=torch.float32)
    xt = torch.tensor((xt - mean) / std, dtype=torch.float32)
    ya, yt = torch.tensor(ya), torch.tensor(yt)
    encoder = Encoder(cfg.code)
    decoder = nn.Sequential(nn.Linear(cfg.code, 128), nn.GELU(), nn.Linear(128, 64))
    pretrain(encoder, decoder, xa)
    acc = probe(encoder, xa[: cfg.labelled], ya[: cfg.labelled], xt, yt)
    print(f"linear probe with {cfg.labelled} labels: {acc:.4f}")


if __name__ == "__main__":
    main()
