"""Digits seen through heavy fog: few can be read for certain, so accuracy stays low.

style: functions and a dict of settings, gradient accumulation, own collate with fresh noise
fault: none
broken: n/a
mended: 0.630
"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

settings = {
    "seed": 321,
    "fog": 1.8,
    "micro_batch": 25,
    "accumulate": 2,
    "epochs": 14,
    "lr": 0.04,
    "weight_decay": 2e-3,
}


def get_data(cfg):
    d = load_digits()
    g = torch.Generator().manual_seed(cfg["seed"])
    x = torch.tensor(d.images, dtype=torch.float32)[:, None]
    y = torch.tensor(d.target)
    order = torch.randperm(len(y), generator=g)
    tr, va = order[:1200], order[1200:]
    mean, std = x[tr].mean(), x[tr].std()
    x = (x - mean) / std
    xv = x[va] + cfg["fog"] * torch.randn(x[va].shape, generator=g)

    def foggy(batch):
        xb = torch.stack([b[0] for b in batch])
        yb = torch.stack([b[1] for b in batch])
        return (xb + cfg["fog"] * torch.randn_like(xb)) / scale, yb

    scale = (1 + cfg["fog"] ** 2) ** 0.5
    train = DataLoader(TensorDataset(x[tr], y[tr]), cfg["micro_batch"], shuffle=True, collate_fn=foggy, drop_last=True)
    valid = DataLoader(TensorDataset(xv / scale, y[va]), 100)
    return train, valid


def get_model():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, padding=1, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64 * 16, 10),
    )


def train_epoch(model, loader, opt, crit, k):
    model.train()
    total = 0.0
    opt.zero_grad()
    for i, (x, y) in enumerate(loader):
        loss = crit(model(x), y) / k
        loss.backward()
        total += loss.item() * k
        if (i + 1) % k == 0:
            opt.step()
            opt.zero_grad()
    return total / len(loader)


@torch.no_grad()
def evaluate(model, loader, crit):
    model.eval()
    n = loss = hit = 0
    for x, y in loader:
        z = model(x)
        loss += crit(z, y).item() * len(y)
        hit += (z.argmax(1) == y).sum().item()
        n += len(y)
    return loss / n, hit / n


def run(cfg):
    torch.set_num_threads(1)
    torch.manual_seed(cfg["seed"])
    train, valid = get_data(cfg)
    model = get_model()
    crit = nn.CrossEntropyLoss()
    opt = torch.optim.SGD(
        model.parameters(), lr=cfg["lr"], momentum=0.9, nesterov=True, weight_decay=cfg["weight_decay"]
    )
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.02, total_iters=cfg["epochs"])
    for e in range(cfg["epochs"]):
        tl = train_epoch(model, train, opt, crit, cfg["accumulate"])
        sched.step()
        vl, va = evaluate(model, valid, crit)
        print("epoch {:2d}: train {:.3f}  valid {:.3f}  accuracy {:.3f}".format(e, tl, vl, va), flush=True)


if __name__ == "__main__":
    run(settings)
