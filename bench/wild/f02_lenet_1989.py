"""Re-living 1989: a LeCun-style zip-code net (scaled tanh, squared error on +-1 targets, one sample at a time)
on scikit-learn's digits.  I want to see how far the old recipe gets.

style: retro enthusiast, online SGD, hand-written update, MSE targets
fault: none
mended: 0.965
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

g = np.random.RandomState(1989)
torch.manual_seed(1989)

d = load_digits()
images = d.images / 8.0 - 1.0
perm = g.permutation(len(images))
images, target = images[perm], d.target[perm]
X = torch.tensor(images, dtype=torch.float32)[:, None]
X = F.interpolate(X, size=(16, 16), mode="bilinear", align_corners=False)
X = F.pad(X, (0, 1, 0, 1), value=-1.0)
Y = torch.full((len(X), 10), -1.0)
Y[torch.arange(len(X)), torch.tensor(target)] = 1.0
ntr = 1400


def squash(a):
    return 1.7159 * torch.tanh(2.0 * a / 3.0)


class ZipNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.h1 = nn.Conv2d(1, 8, 5, stride=2)
        self.h2 = nn.Conv2d(8, 12, 5, stride=2)
        self.h3 = nn.Linear(12 * 2 * 2, 30)
        self.out = nn.Linear(30, 10)
        for layer in (self.h1, self.h2, self.h3, self.out):
            fan_in = layer.weight[0].numel()
            nn.init.uniform_(layer.weight, -2.4 / fan_in, 2.4 / fan_in)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = squash(self.h1(x))
        x = squash(self.h2(x))
        x = squash(self.h3(x.flatten(1)))
        return squash(self.out(x))


net = ZipNet()
weights = list(net.parameters())


def test_error():
    with torch.no_grad():
        return (net(X[ntr:]).argmax(1).numpy() != target[ntr:]).mean()


eta = 0.01
for sweep in range(14):
    sse = 0.0
    for i in g.permutation(ntr):
        for w in weights:
            w.grad = None
        e = 0.5 * ((net(X[i : i + 1]) - Y[i : i + 1]) ** 2).sum()
        e.backward()
        with torch.no_grad():
            for w in weights:
                w -= eta * w.grad
        sse += e.item()
    if sweep in (6, 10):
        eta *= 0.4
    print("pass %2d  training MSE %.4f   test errors %.2f%%" % (sweep + 1, sse / ntr, 100 * test_error()))

print("accuracy: %.4f" % (1 - test_error()))
