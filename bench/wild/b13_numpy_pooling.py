"""Pictures of textures, with a pooling layer of one's own between the convolutions and the classifier.

style: StackOverflow question with a custom layer, tqdm-free loop
source: https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814
fault: detached-graph
accept: frozen-parameters
broken: 0.69
mended: 1.00
"""

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(8)
rng = np.random.default_rng(8)


def texture(kind, n, size=32):
    """Gratings of six orientations with a random phase and period, under noise."""
    yy, xx = np.mgrid[:size, :size]
    out = np.empty((n, size, size), dtype=np.float32)
    for i in range(n):
        angle = np.pi * kind / 6 + rng.normal(0, 0.06)
        period = rng.uniform(3.5, 6.5)
        wave = np.sin(2 * np.pi * (xx * np.cos(angle) + yy * np.sin(angle)) / period + rng.uniform(0, 6.28))
        out[i] = wave * rng.uniform(0.4, 1.0) + rng.normal(0, 0.9, (size, size))
    return out


def dataset(per_class):
    x = np.concatenate([texture(k, per_class) for k in range(6)])[:, None]
    y = np.repeat(np.arange(6), per_class)
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


class TopKPool(nn.Module):
    """Mean of the k largest responses of each channel."""

    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, x):
        flat = x.detach().cpu().numpy().reshape(x.shape[0], x.shape[1], -1)
        top = np.sort(flat, axis=2)[:, :, -self.k :]
        return torch.tensor(top.mean(axis=2), dtype=torch.float32, requires_grad=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5, padding=2)
        self.conv2 = nn.Conv2d(12, 24, 5, padding=2, stride=2)
        self.pool = TopKPool(40)
        self.fc = nn.Linear(24, 6)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return self.fc(self.pool(x))


train_loader = DataLoader(dataset(200), batch_size=40, shuffle=True)
test_loader = DataLoader(dataset(60), batch_size=120)

net = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

for epoch in range(8):
    losses = []
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        correct = sum((net(a).argmax(1) == b).sum().item() for a, b in test_loader)
    print(f"epoch {epoch + 1}, loss {np.mean(losses):.3f}, test accuracy {100 * correct / 360:.1f} %")
