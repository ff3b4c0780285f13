"""Digit embeddings with batch-hard triplets; recall@1 on unseen pictures.

style: metric learning, hand-made distance matrix
fault: nan
broken: 0.092
mended: 0.992
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.set_num_threads(1)
torch.manual_seed(13)
np.random.seed(13)


class Embedder(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.LeakyReLU(0.1),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Linear(64 * 4, dim)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


def distances(e):
    diff = e[:, None, :] - e[None, :, :]
    return torch.sqrt((diff**2).sum(-1))


def batch_hard(e, y, margin=1.0):
    d = distances(e)
    same = y[:, None] == y[None, :]
    hardest_pos = (d * same).max(1).values
    hardest_neg = (d + 1e4 * same).min(1).values
    return F.relu(hardest_pos - hardest_neg + margin).mean()


def pk_batches(y, p, k, steps):
    by = [np.flatnonzero(y == c) for c in range(10)]
    for _ in range(steps):
        cls = np.random.choice(10, p, replace=False)
        yield np.concatenate([np.random.choice(by[c], k, replace=False) for c in cls])


def recall_at_1(net, xg, yg, xq, yq):
    net.eval()
    with torch.no_grad():
        g, q = net(xg), net(xq)
        nn_idx = torch.cdist(q, g).argmin(1)
        loss = np.mean([batch_hard(q[i : i + 40], yq[i : i + 40]).item() for i in range(0, len(q) - 39, 40)])
    return loss, (yg[nn_idx] == yq).float().mean().item()


def main():
    d = load_digits()
    x = torch.tensor((d.images - d.images.mean()) / d.images.std(), dtype=torch.float32)[:, None]
    y = torch.tensor(d.target)
    order = np.random.permutation(len(y))
    tr, te = order[:1200], order[1200:]
    net = Embedder()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(8):
        net.train()
        losses = []
        for b in pk_batches(d.target[tr], 8, 5, 30):
            idx = tr[b]
            loss = batch_hard(net(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
        vl, r1 = recall_at_1(net, x[tr], y[tr], x[te], y[te])
        print(f"epoch {epoch} triplet loss {np.mean(losses):.4f} val loss {vl:.4f} recall@1 {r1:.4f}", flush=True)


if __name__ == "__main__":
    main()
