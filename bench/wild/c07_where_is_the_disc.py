"""Spatial relations: does the disc lie above, below, left or right of the square? All layers at full resolution.

style: argparse research code, network built from a list
fault: receptive-field
broken: 0.23
mended: 0.87
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

RELATIONS = ("above", "below", "left", "right")


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default="12,16,24")
    parser.add_argument("--pool-after", default="")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def scene(rng, size=32):
    yy, xx = np.mgrid[:size, :size]
    gap, side = rng.integers(12, 15), rng.integers(-3, 4)
    relation = rng.integers(4)
    vertical = relation < 2
    first = rng.integers(7, size - 7 - gap)
    other = rng.integers(10, size - 10)
    a, b = (first, other), (first + gap, other + side)
    if not vertical:
        a, b = a[::-1], b[::-1]
    disc, square = (a, b) if relation in (0, 2) else (b, a)
    image = rng.normal(0, 0.15, (size, size))
    image[(yy - disc[0]) ** 2 + (xx - disc[1]) ** 2 <= 9] += 1
    image[(abs(yy - square[0]) <= 3) & (abs(xx - square[1]) <= 3)] += 1
    return image.astype(np.float32), relation


def build_loader(n, seed, batch_size, shuffle):
    rng = np.random.default_rng(seed)
    images, labels = zip(*(scene(rng) for _ in range(n)))
    x = torch.from_numpy(np.stack(images)).unsqueeze(1)
    x = (x - x.mean()) / x.std()
    return DataLoader(TensorDataset(x, torch.tensor(labels)), batch_size=batch_size, shuffle=shuffle)


def build_net(spec, pool_after):
    pools = {int(p) for p in pool_after.split(",") if p}
    layers, cin = [], 1
    for i, width in enumerate(int(w) for w in spec.split(",")):
        layers += [nn.Conv2d(cin, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        if i in pools:
            layers.append(nn.MaxPool2d(2))
        cin = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, len(RELATIONS)))


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        return torch.cat([net(x).argmax(1) == y for x, y in loader]).float().mean().item()


def main():
    args = get_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train_loader = build_loader(850, 10, args.batch_size, True)
    test_loader = build_loader(400, 11, 100, False)
    net = build_net(args.layers, args.pool_after)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        net.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        scheduler.step()
        print(f"epoch {epoch} loss {total / len(train_loader):.3f} test {accuracy(net, test_loader):.3f}")


if __name__ == "__main__":
    main()
