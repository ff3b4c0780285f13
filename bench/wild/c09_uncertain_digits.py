"""Digits with Monte-Carlo dropout: a normal test first, then thirty stochastic passes for the uncertainty.

style: Bayesian deep learning blog post
fault: none
broken: n/a
mended: 0.96
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(42)
torch.set_num_threads(1)

digits = load_digits()
X = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
X = (X - 0.305) / 0.376
Y = torch.tensor(digits.target)
train_loader = DataLoader(TensorDataset(X[:1300], Y[:1300]), batch_size=32, shuffle=True)
test_x, test_y = X[1300:], Y[1300:]


class BayesianCNN(nn.Module):
    def __init__(self, p=0.3):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 3, padding=1)
        self.conv2 = nn.Conv2d(24, 48, 3, padding=1)
        self.fc1 = nn.Linear(48 * 4 * 4, 96)
        self.fc2 = nn.Linear(96, 10)
        self.drop = nn.Dropout(p)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(self.drop(F.relu(self.conv2(x))), 2)
        x = self.drop(F.relu(self.fc1(x.flatten(1))))
        return self.fc2(x)


def gaussian_noise(x, sigma=0.15):
    return x + sigma * torch.randn_like(x)


def plain_accuracy(net):
    net.eval()
    with torch.no_grad():
        return (net(test_x).argmax(1) == test_y).float().mean().item()


net = BayesianCNN()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-5)
for epoch in range(9):
    net.train()
    running = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(gaussian_noise(x)), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
    print(f"epoch {epoch + 1}: loss {running / len(train_loader):.3f}, accuracy {plain_accuracy(net):.3f}")

# the distribution over weights: dropout stays on here
net.train()
with torch.no_grad():
    probs = torch.stack([F.softmax(net(test_x), dim=1) for _ in range(30)])
mean = probs.mean(0)
entropy = -(mean * mean.clamp_min(1e-12).log()).sum(1)
correct = mean.argmax(1) == test_y
print(f"MC accuracy {correct.float().mean():.3f}")
print(f"entropy when right {entropy[correct].mean():.3f}, when wrong {entropy[~correct].mean():.3f}")
certain = entropy <= entropy.quantile(0.8)
print(f"accuracy on the surest 80 %: {np.mean(correct[certain].numpy()):.3f}")
print(f"final accuracy {plain_accuracy(net):.3f}")
