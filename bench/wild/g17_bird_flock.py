"""Which of eight directions does the flock drift? Short radar clips with clutter, a little 3-D network.

style: Lightning module plus DataModule on a saved npz, 3-D convolutions over clips
fault: schedule-unit
broken: 0.125
mended: 0.988
"""

import math
import os
import tempfile

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset
from torchmetrics import Accuracy

FRAMES, SIZE = 6, 20


def render(path, n, seed):
    rng = np.random.default_rng(seed)
    clips = np.zeros((n, FRAMES, SIZE, SIZE), np.float32)
    heading = rng.integers(0, 8, n)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    for i, h in enumerate(heading):
        a = h * math.pi / 4 + rng.normal(0, 0.08)
        v = rng.uniform(1.1, 1.7)
        birds = rng.uniform(-4, SIZE + 4, (9, 2))
        clutter = rng.uniform(0, SIZE, (7, 2))
        for t in range(FRAMES):
            pos = birds + t * v * np.array([math.cos(a), math.sin(a)]) + rng.normal(0, 0.15, birds.shape)
            for group, amp in ((pos, 1.0), (clutter, 1.1)):
                for x, y in group:
                    clips[i, t] += amp * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 1.2)
        clips[i] += rng.normal(0, 0.25, clips[i].shape)
    np.savez(path, clips=clips.astype(np.float16), heading=heading)


class Clips(Dataset):
    def __init__(self, path):
        with np.load(path) as f:
            self.clips, self.heading = f["clips"], f["heading"]

    def __len__(self):
        return len(self.heading)

    def __getitem__(self, i):
        c = torch.from_numpy(self.clips[i].astype(np.float32))
        return (c - 0.25).div(0.4)[None], int(self.heading[i])


class Radar(L.LightningDataModule):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def prepare_data(self):
        render(os.path.join(self.folder, "train.npz"), 1000, 1)
        render(os.path.join(self.folder, "val.npz"), 400, 2)

    def setup(self, stage):
        self.train_set = Clips(os.path.join(self.folder, "train.npz"))
        self.val_set = Clips(os.path.join(self.folder, "val.npz"))

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=32, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=64)


class DriftNet(L.LightningModule):
    def __init__(self, lr=0.04, milestones=6):
        super().__init__()
        self.save_hyperparameters()

        def c(i, o, stride):
            return [nn.Conv3d(i, o, 3, stride, 1, bias=False), nn.BatchNorm3d(o), nn.ReLU()]

        self.net = nn.Sequential(
            *c(1, 12, 1), *c(12, 24, (1, 2, 2)), *c(24, 48, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(48, 8)
        )
        self.loss = nn.CrossEntropyLoss()
        self.acc = Accuracy("multiclass", num_classes=8)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.acc(self(x), y)
        self.log("val_acc", self.acc, on_epoch=True)

    def configure_optimizers(self):
        opt = SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9, weight_decay=5e-4)
        sched = StepLR(opt, step_size=self.hparams.milestones, gamma=0.2)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": sched, "interval": "step", "frequency": 1}}


if __name__ == "__main__":
    L.seed_everything(70, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        model = DriftNet()
        trainer = L.Trainer(
            max_epochs=10,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, datamodule=Radar(folder))
        print(f"val accuracy {trainer.callback_metrics['val_acc'].item():.3f}")
