"""Transfer between digit sets: learn 0-4 first, then move the network to 5-9.

style: student homework, two training stages that share one training function
fault: optimizer-misses-parameters
broken: 0.863
mended: 0.955
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(42)
np.random.seed(42)
torch.set_num_threads(1)


def get_split(wanted, batch_size, test_share):
    digits = load_digits()
    x = digits.images.astype(np.float32)
    x = (x - x.mean()) / x.std()
    keep = np.flatnonzero(np.isin(digits.target, wanted))
    keep = keep[np.random.permutation(len(keep))]
    y = np.searchsorted(wanted, digits.target[keep])
    data = TensorDataset(torch.from_numpy(x[keep])[:, None], torch.from_numpy(y))
    n_test = int(len(keep) * test_share)
    test = TensorDataset(*data[:n_test])
    train = TensorDataset(*data[n_test:])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, 100)


class ConvNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 3, padding=1)
        self.conv2 = nn.Conv2d(24, 48, 3, padding=1)
        self.conv3 = nn.Conv2d(48, 64, 3, padding=1)
        self.fc = nn.Linear(64 * 4, num_classes)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        return self.fc(x.flatten(1))


def test(model, loader):
    model.eval()
    loss, correct, n = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            loss += F.cross_entropy(out, y, reduction="sum").item()
            correct += out.argmax(1).eq(y).sum().item()
            n += len(y)
    return loss / n, correct / n


def train(model, optimizer, loaders, num_epochs, title):
    train_loader, test_loader = loaders
    for epoch in range(1, num_epochs + 1):
        model.train()
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(y)
        vl, va = test(model, test_loader)
        print(
            f"{title} epoch {epoch}: train loss {running / len(train_loader.dataset):.4f}, test loss {vl:.4f}, test acc {va:.4f}",
            flush=True,
        )


first = get_split([0, 1, 2, 3, 4], 32, 0.3)
second = get_split([5, 6, 7, 8, 9], 32, 0.4)

model = ConvNet(5)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
train(model, optimizer, first, 8, "digits 0-4")

for group in optimizer.param_groups:
    group["lr"] = 0.001
model.fc = nn.Linear(model.fc.in_features, 5)
train(model, optimizer, second, 12, "digits 5-9")
