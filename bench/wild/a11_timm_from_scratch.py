"""A timm-like script: EMA of the weights, cosine schedule with warm-up, bf16 autocast; six pattern classes.

style: timm-like with EMA and scheduler
fault: learning-rate-low
accept: underfitting
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, ModelEmaV3, accuracy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.basicConfig(level=logging.INFO, format="%(message)s")
log = logging.getLogger("train")


@dataclass
class Config:
    epochs: int = 6
    warmup_epochs: int = 1
    batch_size: int = 32
    lr: float = 2e-5
    weight_decay: float = 0.02
    ema_decay: float = 0.9
    clip_grad: float = 1.0
    seed: int = 42


def patterns(n, seed, size=32):
    """Sums of waves; the class is which pair of directions is present."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"))
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    labels = rng.integers(0, 6, n)
    images = np.zeros((n, 3, size, size), np.float32)
    for i, label in enumerate(labels):
        for direction in pairs[label]:
            angle = direction * math.pi / 4 + rng.normal(0, 0.08)
            wave = rng.uniform(0.7, 1.1) * (math.cos(angle) * grid[0] + math.sin(angle) * grid[1])
            colour = rng.uniform(0.3, 1, 3)
            images[i] += colour[:, None, None] * np.sin(wave + rng.uniform(0, 6.28)) * 0.6
    images += rng.normal(0, 0.5, images.shape)
    return TensorDataset(torch.tensor(images, dtype=torch.float32), torch.tensor(labels))


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        widths = [3, 24, 48, 64]
        self.stages = nn.Sequential(
            *[
                nn.Sequential(
                    timm.layers.ConvNormAct(a, b, 3, stride=2),
                    timm.layers.ConvNormAct(b, b, 3),
                )
                for a, b in zip(widths, widths[1:], strict=False)
            ]
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))

    def forward(self, x):
        return self.head(self.stages(x))


def train_one_epoch(epoch, model, loader, optimizer, scheduler, loss_fn, model_ema, cfg):
    model.train()
    losses = AverageMeter()
    for i, (x, y) in enumerate(loader):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), cfg.clip_grad)
        optimizer.step()
        model_ema.update(model)
        scheduler.step_update(epoch * len(loader) + i + 1)
        losses.update(loss.item(), len(y))
    return losses.avg


def validate(model, loader):
    model.eval()
    top1 = AverageMeter()
    with torch.inference_mode():
        for x, y in loader:
            top1.update(accuracy(model(x), y)[0].item(), len(y))
    return top1.avg


def main():
    cfg = Config()
    torch.manual_seed(cfg.seed)
    train_loader = DataLoader(patterns(1200, 1), cfg.batch_size, shuffle=True, drop_last=True)
    val_loader = DataLoader(patterns(600, 2), 100)
    model = Net(6)
    model_ema = ModelEmaV3(model, decay=cfg.ema_decay)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=cfg.lr, weight_decay=cfg.weight_decay)
    per_epoch = len(train_loader)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=cfg.epochs * per_epoch,
        lr_min=cfg.lr * 0.01,
        warmup_t=cfg.warmup_epochs * per_epoch,
        warmup_lr_init=cfg.lr * 0.1,
        t_in_epochs=False,
    )
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(cfg.epochs):
        loss = train_one_epoch(epoch, model, train_loader, optimizer, scheduler, loss_fn, model_ema, cfg)
        log.info(
            "epoch %d loss %.3f top1 %.1f ema %.1f",
            epoch,
            loss,
            validate(model, val_loader),
            validate(model_ema.module, val_loader),
        )


if __name__ == "__main__":
    main()
