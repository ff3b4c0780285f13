"""A tiny vision transformer with label smoothing, warm-up and cosine decay, in bf16; four arrangements of blobs.

style: ViT from scratch, minGPT-like
fault: none
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F


@dataclass
class ViTConfig:
    image: int = 32
    patch: int = 8
    dim: int = 48
    depth: int = 2
    heads: int = 4
    classes: int = 4


class SelfAttention(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.heads = cfg.heads
        self.qkv = nn.Linear(cfg.dim, 3 * cfg.dim)
        self.proj = nn.Linear(cfg.dim, cfg.dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(cfg.dim), nn.LayerNorm(cfg.dim)
        self.attn = SelfAttention(cfg)
        self.mlp = nn.Sequential(nn.Linear(cfg.dim, 2 * cfg.dim), nn.GELU(), nn.Linear(2 * cfg.dim, cfg.dim))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class ViT(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        tokens = (cfg.image // cfg.patch) ** 2
        self.patch = nn.Conv2d(1, cfg.dim, cfg.patch, cfg.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, cfg.dim))
        self.pos = nn.Parameter(torch.randn(1, tokens + 1, cfg.dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(cfg) for _ in range(cfg.depth)])
        self.norm = nn.LayerNorm(cfg.dim)
        self.head = nn.Linear(cfg.dim, cfg.classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


def blobs(n, seed):
    """Two blobs: side by side, above each other, on the falling or on the rising diagonal."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:32, 0:32]
    labels = rng.integers(0, 4, n)
    images = rng.normal(0, 0.25, (n, 1, 32, 32))
    for i, k in enumerate(labels):
        angle = [0, 90, 45, 135][k] + rng.uniform(-14, 14)
        half = rng.uniform(6, 9)
        cx, cy = rng.uniform(12, 20, 2)
        for s in (-1, 1):
            x = cx + s * half * math.cos(math.radians(angle))
            y = cy + s * half * math.sin(math.radians(angle))
            images[i, 0] += rng.uniform(1.2, 2) * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 2.2**2))
    return torch.tensor(images / 0.45 - 0.3, dtype=torch.float32), torch.tensor(labels)


def main():
    torch.manual_seed(1337)
    x, y = blobs(2000, 0)
    x_val, y_val = blobs(600, 1)
    model = ViT(ViTConfig())
    decay = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=2e-3, betas=(0.9, 0.98)
    )
    batch, epochs, warmup = 64, 11, 25
    total = epochs * math.ceil(len(x) / batch)
    step = 0
    for epoch in range(epochs):
        model.train()
        for idx in torch.randperm(len(x)).split(batch):
            ratio = (
                step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
            )
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * max(ratio, 0.01)
            with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x[idx]), y[idx], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
        model.eval()
        with torch.no_grad():
            accuracy = (model(x_val).argmax(-1) == y_val).float().mean().item()
        print(f"iter {step}: loss {loss.item():.4f}, val accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
