"""Ridge patches from fingerprints: which of eight directions, fine or coarse ridges. I want a bank of fixed filters like in the old papers, with only the readout learned.

style: Lightning module, classical filter bank as a frozen first layer, strong learning rate
fault: none
mended: 1.000
"""

import math

import lightning as L
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

L.seed_everything(3, verbose=False)


def ridge_patch(k, rng, n=32):
    direction, coarse = k % 8, k // 8
    ang = math.pi * direction / 8 + rng.normal(0, 0.05)
    period = (4.2, 6.6)[coarse] * rng.uniform(0.93, 1.07)
    yy, xx = np.mgrid[:n, :n].astype(float)
    bend = rng.uniform(-0.006, 0.006)
    u = (xx - 16) * math.cos(ang) + (yy - 16) * math.sin(ang)
    v = -(xx - 16) * math.sin(ang) + (yy - 16) * math.cos(ang)
    p = np.sin(2 * math.pi * (u + bend * v * v) / period + rng.uniform(0, 6.28))
    dry = rng.random((n, n)) < 0.25
    p[dry] = 1
    return (p * rng.uniform(0.4, 1) + rng.normal(0, 0.5, (n, n))).astype(np.float32)


def gabors(size=11):
    r = torch.arange(size) - size // 2
    y, x = torch.meshgrid(r, r, indexing="ij")
    bank = []
    for period in (4.0, 5.0, 6.5):
        for a in range(8):
            t = math.pi * a / 8
            u = x * math.cos(t) + y * math.sin(t)
            env = torch.exp(-(x**2 + y**2) / (2 * 3.0**2))
            for phase in (0, math.pi / 2):
                f = env * torch.cos(2 * math.pi * u / period + phase)
                f = f - f.mean()
                bank.append(f / f.norm())
    return torch.stack(bank)[:, None]


class RidgeReader(L.LightningModule):
    def __init__(self):
        super().__init__()
        bank = gabors()
        self.stem = nn.Conv2d(1, len(bank), 11, stride=2, bias=False)
        self.stem.weight.data.copy_(bank)
        self.stem.requires_grad_(False)
        self.readout = nn.Linear(len(bank) // 2, 16)

    def forward(self, x):
        r = self.stem(x)
        even, odd = r[:, 0::2], r[:, 1::2]
        energy = (even**2 + odd**2).mean((2, 3))
        energy = (energy + 1e-4).log()
        return self.readout(energy - energy.mean(1, keepdim=True))

    def training_step(self, batch, _):
        x, y = batch
        loss = F.multi_margin_loss(self(x), y, p=2, margin=1.0)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        self.log("acc", (self(x).argmax(1) == y).float().mean(), batch_size=len(y))

    def configure_optimizers(self):
        trainable = [p for p in self.parameters() if p.requires_grad]
        opt = torch.optim.SGD(trainable, lr=0.8, momentum=0.9, nesterov=True)
        sch = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.02, self.trainer.estimated_stepping_batches)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": sch, "interval": "step"}}


def main():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 16, 2600)
    x = torch.from_numpy(np.stack([ridge_patch(k, rng) for k in y]))[:, None]
    full = TensorDataset(x, torch.from_numpy(y))
    train, val = random_split(full, [2000, 600], generator=torch.Generator().manual_seed(3))
    model = RidgeReader()
    trainer = L.Trainer(
        max_epochs=12,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(train, 50, shuffle=True), DataLoader(val, 200))
    print(f"validation accuracy {trainer.callback_metrics['acc']:.3f}")


if __name__ == "__main__":
    main()
