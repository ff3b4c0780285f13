"""Reading the images myself with numpy. It works on MNIST from torchvision but not here, same model, same lr"""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


def batches(images, labels, size, rng):
    order = rng.permutation(len(labels))
    for i in range(0, len(order) - size + 1, size):
        part = order[i : i + size]
        yield torch.from_numpy(images[part]).float(), torch.from_numpy(labels[part])


def main():
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    digits = load_digits()
    images = (digits.images * 255 / 16).astype(np.uint8)[:, None]  # as a PNG would hold them
    labels = digits.target
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(4):
        total = 0.0
        for x, t in batches(images[:1500], labels[:1500], 50, rng):
            loss = nn.functional.cross_entropy(net(x), t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item()
        print(f"{epoch=} loss={total / 30:.3f}")


main()
