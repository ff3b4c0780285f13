"""How far does depth help a fully connected network on the digits?

style: dataclass config, registry of towers, tanh MLP, SGD with momentum, best-epoch bookkeeping
fault: vanishing-gradient
accept: init-scale
broken: 0.102
mended: 0.974
"""

from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Tower:
    depth: int = 22
    width: int = 80
    inputs: int = 64
    classes: int = 10


@dataclass
class Run:
    tower: Tower = field(default_factory=Tower)
    epochs: int = 110
    batch: int = 32
    lr: float = 0.01
    momentum: float = 0.9
    seed: int = 15


def init_weights(module):
    pass  # the defaults of nn.Linear


def build(t: Tower) -> nn.Module:
    dims = [t.inputs] + [t.width] * t.depth
    layers = []
    for a, b in zip(dims, dims[1:]):
        layers += [nn.Linear(a, b), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Linear(t.width, t.classes))
    net.apply(init_weights)
    return net


def load(run: Run):
    X, y = load_digits(return_X_y=True)
    a, b, ya, yb = train_test_split(X, y, test_size=0.3, random_state=run.seed, stratify=y)
    mean, std = a.mean(), a.std()

    def pack(x, t):
        return TensorDataset(torch.tensor((x - mean) / std, dtype=torch.float32), torch.tensor(t))

    return DataLoader(pack(a, ya), run.batch, shuffle=True), DataLoader(pack(b, yb), 256)


def main(run: Run):
    torch.manual_seed(run.seed)
    train, test = load(run)
    net = build(run.tower)
    opt = torch.optim.SGD(net.parameters(), lr=run.lr, momentum=run.momentum)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, run.epochs)
    for epoch in range(1, run.epochs + 1):
        net.train()
        total = 0.0
        for x, y in train:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            total += loss.item() * len(y)
        sched.step()
        net.eval()
        with torch.no_grad():
            hits = sum((net(x).argmax(1) == y).sum().item() for x, y in test)
        acc = hits / len(test.dataset)
        if epoch % 10 == 0:
            print(f"epoch {epoch:2d}  loss {total / len(train.dataset):.4f}  test {acc:.4f}")
    print(f"depth {run.tower.depth}: final accuracy {acc:.3f}")


if __name__ == "__main__":
    main(Run())
