"""Digits with a wide ReLU perceptron, dropout one half, no validation before the end.

style: beginner's script, in-memory batches
fault: none
broken: n/a
mended: 0.97
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(2)
digits = load_digits()
X = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)
perm = torch.randperm(len(X))
X, y = X[perm], y[perm]
X_train, y_train, X_test, y_test = X[:1440], y[:1440], X[1440:], y[1440:]


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 512)
        self.fc2 = nn.Linear(512, 256)
        self.fc3 = nn.Linear(256, 10)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(F.relu(self.fc1(x)))
        x = self.drop(F.relu(self.fc2(x)))
        return F.log_softmax(self.fc3(x), dim=1)


net = MLP()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
n = 0
for epoch in range(15):
    order = torch.randperm(len(X_train))
    for i in range(0, len(order), 48):
        idx = order[i : i + 48]
        opt.zero_grad()
        loss = F.nll_loss(net(X_train[idx]), y_train[idx])
        loss.backward()
        opt.step()
        n += 1
        if n % 50 == 0:
            print("step", n, "loss", round(loss.item(), 3))

net.eval()
with torch.no_grad():
    print("test accuracy", (net(X_test).argmax(1) == y_test).float().mean().item())
