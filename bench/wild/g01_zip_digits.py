"""I'm learning Lightning by reading handwritten zip-code digits; my supervisor wants a macro F1 in the report, so that's what I log.

style: Lightning module with automatic optimisation and self.log
fault: metric-averaging
broken: 0.642
mended: 0.945
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
import lightning as L
from sklearn.datasets import load_digits
from torchmetrics.functional.classification import multiclass_f1_score

L.seed_everything(11, verbose=False)


def load():
    bunch = load_digits()
    x = bunch.images.astype(np.float32) / 16.0
    y = bunch.target
    rng = np.random.default_rng(11)
    # the scans at the post office are worse than the sklearn ones
    x = x + rng.normal(0, 0.22, x.shape).astype(np.float32)
    x = (x - x.mean()) / x.std()
    tr, va = [], []
    for digit in range(10):
        rows = np.flatnonzero(y == digit)
        rng.shuffle(rows)
        va.append(rows[:60])
        tr.append(rows[60:])
    tr, va = np.concatenate(tr), np.concatenate(va)
    pack = lambda i: TensorDataset(torch.from_numpy(x[i])[:, None], torch.from_numpy(y[i]).long())
    return pack(tr), pack(va)


class ZipNet(L.LightningModule):
    def __init__(self, width=24, lr=2e-3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, 10),
        )

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        f1 = multiclass_f1_score(logits, y, num_classes=10, average="macro")
        self.log("val_f1", f1, on_step=False, on_epoch=True)

    def configure_optimizers(self):
        opt = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=1e-2)
        sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, self.trainer.max_epochs)
        return [opt], [sched]


if __name__ == "__main__":
    train, val = load()
    model = ZipNet()
    trainer = L.Trainer(
        max_epochs=14,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(train, 64, shuffle=True), DataLoader(val, 32))
    m = trainer.callback_metrics
    print(f"val loss {m['val_loss']:.3f}")
    print(f"macro F1 on validation: {m['val_f1']:.3f}")
