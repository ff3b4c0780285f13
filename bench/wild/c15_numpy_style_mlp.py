"""Digits with weights kept in a plain dictionary, forward pass as a function, no nn.Module for the layers.

style: from-scratch tutorial, functional PyTorch
fault: init-scale
broken: 0.87
mended: 0.98
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(0)
torch.set_num_threads(1)

X, y = load_digits(return_X_y=True)
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
mu, sigma = X_train.mean(), X_train.std()
X_train = torch.tensor((X_train - mu) / sigma, dtype=torch.float32)
X_val = torch.tensor((X_val - mu) / sigma, dtype=torch.float32)
y_train, y_val = torch.tensor(y_train), torch.tensor(y_val)

SIZES = [64, 128, 128, 128, 10]


def init_params(sizes):
    params = {}
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:])):
        params[f"W{i}"] = torch.nn.Parameter(torch.randn(n_in, n_out))
        params[f"b{i}"] = torch.nn.Parameter(torch.zeros(n_out))
    return params


def forward(params, x):
    depth = len(params) // 2
    for i in range(depth):
        x = x @ params[f"W{i}"] + params[f"b{i}"]
        if i < depth - 1:
            x = F.relu(x)
    return x


params = init_params(SIZES)
optimizer = torch.optim.Adam(params.values(), lr=1e-3)

for epoch in range(15):
    order = torch.randperm(len(X_train))
    total = 0.0
    for start in range(0, len(order), 32):
        idx = order[start : start + 32]
        loss = F.cross_entropy(forward(params, X_train[idx]), y_train[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(idx)
    with torch.no_grad():
        train_acc = (forward(params, X_train).argmax(1) == y_train).float().mean()
        val_acc = (forward(params, X_val).argmax(1) == y_val).float().mean()
    print(f"epoch {epoch:2d}  loss {total / len(order):9.3f}  train {train_acc:.3f}  val {val_acc:.3f}")
