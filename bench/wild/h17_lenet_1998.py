"""Reading group on "Gradient-Based Learning Applied to Document Recognition": a period-correct rebuild with
scaled tanh, trainable subsampling, squared error on +-1 codes and plain heavy-momentum descent.

style: history-of-AI reading group, hand-written layers, sklearn digits
fault: none
mended: 0.986
"""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(1998)
np.random.seed(1998)


class ScaledTanh(nn.Module):
    def forward(self, x):
        return 1.7159 * torch.tanh(2.0 / 3.0 * x)


class Subsample(nn.Module):
    """2x2 average, one gain and one bias per map, then the squashing function."""

    def __init__(self, maps):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, maps, 1, 1))
        self.squash = ScaledTanh()

    def forward(self, x):
        return self.squash(nn.functional.avg_pool2d(x, 2) * self.gain + self.bias)


def lecun_uniform(m):
    if isinstance(m, (nn.Conv2d, nn.Linear)):
        fan_in = m.weight[0].numel()
        bound = 2.4 / fan_in
        nn.init.uniform_(m.weight, -max(bound, fan_in**-0.5), max(bound, fan_in**-0.5))
        nn.init.zeros_(m.bias)


net = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    ScaledTanh(),
    Subsample(8),  # C1 S2
    nn.Conv2d(8, 24, 3),
    ScaledTanh(),  # C3
    nn.Conv2d(24, 60, 2),
    ScaledTanh(),
    nn.Flatten(),  # C5
    nn.Linear(60, 42),
    ScaledTanh(),  # F6
    nn.Linear(42, 10),
)
net.apply(lecun_uniform)

bunch = load_digits()
x = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16 * 1.275 - 0.1  # paper: background -0.1, ink 1.175
y = torch.tensor(bunch.target)
perm = torch.randperm(len(x))
x, y = x[perm], y[perm]
x_train, y_train, x_test, y_test = x[:1300], y[:1300], x[1300:], y[1300:]

codes = -torch.ones(10, 10) + 2 * torch.eye(10)

lr = 4e-4
opt = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.99)
passes = 60
for sweep in range(passes):
    for g in opt.param_groups:
        g["lr"] = lr if sweep < 40 else lr / 5
    order = torch.randperm(len(x_train))
    err = 0.0
    for i in range(0, len(order), 10):
        j = order[i : i + 10]
        out = net(x_train[j])
        mse = (out - codes[y_train[j]]).pow(2).sum(1).mean()
        opt.zero_grad()
        mse.backward()
        opt.step()
        err += mse.item()
    if sweep % 5 == 4:
        with torch.no_grad():
            acc = (net(x_test).argmax(1) == y_test).float().mean().item()
        print(f"sweep {sweep + 1:2d}  mean squared error {err / (len(order) / 10):.4f}  test accuracy {acc:.4f}")
print(f"test accuracy {acc:.4f}")
