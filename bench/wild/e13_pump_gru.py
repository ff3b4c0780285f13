"""Does a pump's vibration trace contain a bearing knock? A GRU with one output.

style: sequence model, Lightning-like module with training_step / validation_step, one logit, AdamW, gradient clipping
fault: decision-threshold
broken: 0.500
mended: 0.998
"""

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


def traces(n, seed, length=72):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    t = np.arange(length)
    x = np.empty((n, length), np.float32)
    for i in range(n):
        s = rng.uniform(0.6, 1.2) * np.sin(2 * np.pi * t / rng.uniform(14, 24) + rng.uniform(0, 6.3))
        s += rng.normal(0, 0.25, length)
        p = rng.integers(4, length - 16)
        ring = np.exp(-np.arange(12) / 4.0)
        if y[i]:
            s[p : p + 12] += 1.7 * ring * np.cos(np.arange(12) * 2.1)  # a knock rings fast
        else:
            s[p : p + 12] += 1.7 * ring * np.cos(np.arange(12) * 0.4)  # a valve closing is slow
        x[i] = s
    return torch.tensor(x)[..., None], torch.tensor(y, dtype=torch.float32)


def binary_accuracy(scores, target):
    return ((scores > 0).float() == target).float().mean().item()


class KnockDetector(nn.Module):
    def __init__(self, width=40):
        super().__init__()
        self.stem = nn.Conv1d(1, 16, 5, padding=2)
        self.rnn = nn.GRU(16, width, batch_first=True)
        self.out = nn.Linear(width, 1)
        self.loss = nn.BCEWithLogitsLoss()

    def forward(self, x):
        h, _ = self.rnn(torch.relu(self.stem(x.transpose(1, 2))).transpose(1, 2))
        return self.out(h.max(1).values).squeeze(-1)

    def predict(self, x):
        return torch.sigmoid(self(x))

    def training_step(self, batch):
        x, y = batch
        return self.loss(self(x), y)

    def validation_step(self, batch):
        x, y = batch
        return {"loss": self.loss(self(x), y).item(), "acc": binary_accuracy(self.predict(x), y), "n": len(y)}

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=1e-3)


def run():
    torch.manual_seed(13)
    (xt, yt), (xv, yv) = traces(1600, 1), traces(600, 2)
    mean, std = xt.mean(), xt.std()
    train = DataLoader(TensorDataset((xt - mean) / std, yt), 50, shuffle=True)
    val = DataLoader(TensorDataset((xv - mean) / std, yv), 100)
    module = KnockDetector()
    opt = module.configure_optimizers()
    for epoch in range(18):
        module.train()
        losses = []
        for batch in train:
            opt.zero_grad()
            loss = module.training_step(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            opt.step()
            losses.append(loss.item())
        module.eval()
        with torch.no_grad():
            outs = [module.validation_step(b) for b in val]
        n = sum(o["n"] for o in outs)
        log = {k: sum(o[k] * o["n"] for o in outs) / n for k in ("loss", "acc")}
        print(f"epoch {epoch}: train_loss={np.mean(losses):.4f} val_loss={log['loss']:.4f} val_acc={log['acc']:.4f}")
    print(f"final val_acc={log['acc']:.3f}")


if __name__ == "__main__":
    run()
