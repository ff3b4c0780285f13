"""Digits through a fixed bank of edge filters, the rest of the network learns.

style: research repository, nn.Module subclass whose first layers never change
fault: eval-in-train-mode
accept: batchnorm-mode
broken: 0.854
mended: 0.968
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset


def edge_bank():
    base = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    diag = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0], [-2.0, -1.0, 0.0]]) / 4
    dot = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    return torch.stack([base, base.t(), diag, diag.flip(0), dot])[:, None]


class EdgeStem(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bank", edge_bank())
        self.norm = nn.BatchNorm2d(5, affine=False)

    def forward(self, x):
        return self.norm(F.conv2d(x, self.bank, padding=1))

    @torch.no_grad()
    def calibrate(self, loader):
        self.norm.momentum = None
        self.norm.train()
        for x, _ in loader:
            self(x)


class EdgeNet(nn.Module):
    def __init__(self, classes=10, p=0.4):
        super().__init__()
        self.stem = EdgeStem()
        self.layers = nn.Sequential(
            nn.Conv2d(5, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(p), nn.Linear(64 * 4, classes))

    def train(self, mode=True):
        """The stem keeps its calibrated statistics whatever happens."""
        super().train()
        self.stem.eval()
        return self

    def forward(self, x):
        return self.classifier(self.layers(self.stem(x)))


def datasets(seed=0, noise=0.2):
    d = load_digits()
    g = np.random.RandomState(seed)
    x = (d.images / 16).astype(np.float32)
    x = x + g.normal(0, noise, x.shape).astype(np.float32)
    parts = {"train": [], "val": []}
    for c in range(10):
        idx = g.permutation(np.flatnonzero(d.target == c))
        for name, sel in (("train", idx[50:]), ("val", idx[:50])):
            parts[name].append(TensorDataset(torch.from_numpy(x[sel])[:, None], torch.full((len(sel),), c)))
    return ConcatDataset(parts["train"]), ConcatDataset(parts["val"])


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    loss = correct = count = 0
    for x, y in loader:
        out = model(x)
        loss += F.cross_entropy(out, y, reduction="sum").item()
        correct += (out.argmax(1) == y).sum().item()
        count += len(y)
    return loss / count, correct / count


def main():
    torch.set_num_threads(1)
    torch.manual_seed(77)
    train_set, val_set = datasets()
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=25)
    model = EdgeNet()
    model.stem.calibrate(train_loader)
    epochs = 9
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, epochs * len(train_loader))
    for epoch in range(epochs):
        model.train()
        run = right = seen = 0
        for x, y in train_loader:
            out = model(x)
            loss = F.cross_entropy(out, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            run += loss.item() * len(y)
            right += (out.argmax(1) == y).sum().item()
            seen += len(y)
        vl, va = evaluate(model, val_loader)
        print(
            f"epoch {epoch} loss {run / seen:.3f} acc {right / seen:.3f} val_loss {vl:.3f} val_acc {va:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
