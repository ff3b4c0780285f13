"""Two-part model (features and classifier) for groceries, taken over from a transfer learning script.

style: Lightning-like module (training_step, validation_step, configure_optimizers) with a home-made loop
fault: frozen-parameters
accept: detached-graph
broken: 0.42
mended: 0.61
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
NAMES = ["Apple", "Melon", "Pear", "Juice", "Milk", "Pepper", "Potato", "Tomato"]


class LitModule(nn.Module):
    def __init__(self, n_classes, lr=3e-3):
        super().__init__()
        self.lr = lr
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, n_classes))

    def forward(self, x):
        with torch.no_grad():
            representations = self.features(x)
        return self.classifier(representations)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        return {"loss": F.cross_entropy(logits, y, reduction="sum"), "hits": (logits.argmax(-1) == y).sum()}

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.85)


class MiniTrainer:
    def __init__(self, max_epochs):
        self.max_epochs = max_epochs

    def fit(self, module, train_loader, val_loader):
        optimizer, scheduler = module.configure_optimizers()
        for epoch in range(self.max_epochs):
            module.train()
            losses = []
            for i, batch in enumerate(train_loader):
                loss = module.training_step(batch, i)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            scheduler.step()
            module.eval()
            with torch.no_grad():
                outs = [module.validation_step(batch, i) for i, batch in enumerate(val_loader)]
            n = len(val_loader.dataset)
            val_loss = sum(o["loss"].item() for o in outs) / n
            val_acc = sum(o["hits"].item() for o in outs) / n
            print(f"epoch {epoch} train_loss {np.mean(losses):.3f} val_loss {val_loss:.3f} val_acc {val_acc:.3f}")


def load(split, size=40):
    xs, ys = [], []
    for line in (ROOT / f"{split}.txt").read_text().splitlines():
        path = line.split(", ")[0]
        name = path.split("/")[2]
        if name in NAMES:
            img = Image.open(ROOT / path)
            img.draft("RGB", (size * 2, size * 2))
            xs.append(np.asarray(img.convert("RGB").resize((size, size), Image.BILINEAR)))
            ys.append(NAMES.index(name))
    x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float().div_(255)
    return TensorDataset((x - 0.5) / 0.25, torch.tensor(ys))


def main():
    torch.manual_seed(11)
    train_loader = DataLoader(load("train"), batch_size=32, shuffle=True)
    val_loader = DataLoader(load("val"), batch_size=64)
    MiniTrainer(max_epochs=9).fit(LitModule(len(NAMES)), train_loader, val_loader)


if __name__ == "__main__":
    main()
