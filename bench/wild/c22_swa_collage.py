"""Counts the digits in a small collage; the weights of the last epochs are averaged and BatchNorm is recalibrated.

style: torch.optim.swa_utils, script with a main and small helpers
fault: none
broken: n/a
mended: 1.00
"""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset


def collages(images, n, seed):
    rng = np.random.default_rng(seed)
    x, y = np.zeros((n, 1, 20, 20), np.float32), rng.integers(0, 5, n)
    slots = [(1, 1), (1, 11), (11, 1), (11, 11)]
    for canvas, count in zip(x, y):
        for slot in rng.permutation(4)[:count]:
            r, c = slots[slot]
            canvas[0, r : r + 8, c : c + 8] = images[rng.integers(len(images))]
        canvas += rng.normal(0, 3.0, canvas.shape)
        # clutter
        for _ in range(3):
            canvas[0, rng.integers(20), rng.integers(0, 15) :][:5] += 10
    return TensorDataset(torch.tensor(x / 8 - 0.4), torch.tensor(y))


def make_net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 25, 48),
        nn.BatchNorm1d(48),
        nn.ReLU(),
        nn.Linear(48, 5),
    )


def score(net, loader):
    net.eval()
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images = load_digits().images
    train_set, test_set = collages(images[:1300], 1500, 0), collages(images[1300:], 400, 1)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
    train_eval_loader = DataLoader(train_set, batch_size=100)
    test_loader = DataLoader(test_set, batch_size=100)
    net = make_net()
    averaged = AveragedModel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    swa_scheduler = SWALR(optimizer, swa_lr=0.02, anneal_epochs=2)
    swa_start, epochs = 5, 10
    for epoch in range(epochs):
        net.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        if epoch >= swa_start:
            averaged.update_parameters(net)
            swa_scheduler.step()
        print(f"epoch {epoch} last loss {loss.item():.3f} accuracy {score(net, test_loader):.3f}")
    update_bn(train_loader, averaged)
    print(f"averaged model: train {score(averaged, train_eval_loader):.3f} test {score(averaged, test_loader):.3f}")


if __name__ == "__main__":
    main()
