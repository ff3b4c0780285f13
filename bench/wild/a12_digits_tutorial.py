"""Digits glued into pairs: does the left or the right one win, or is it a draw? A tutorial-style training.

style: PyTorch quickstart tutorial (train and test functions)
fault: schedule-unit
accept: learning-rate-low
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class DigitPairs(Dataset):
    """Two digits side by side, 8 x 16; class 0 left is larger, 1 right is larger, 2 they are equal."""

    def __init__(self, indices, n, seed):
        digits = load_digits()
        rng = np.random.default_rng(seed)
        groups = {d: [i for i in indices if digits.target[i] == d] for d in range(10)}
        self.x, self.y = [], []
        for _ in range(n):
            kind = int(rng.integers(3))
            a, b = sorted(rng.choice(10, 2, replace=False))
            left, right = [(b, a), (a, b), (a, a)][kind]
            pair = [digits.images[rng.choice(groups[d])] for d in (left, right)]
            image = torch.tensor(np.concatenate(pair, axis=1), dtype=torch.float32)
            self.x.append((image[None] - 4.9) / 6.0)
            self.y.append(kind)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, idx):
        return self.x[idx], self.y[idx]


class NeuralNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.linear_relu_stack = nn.Sequential(nn.Flatten(), nn.Linear(32 * 4 * 8, 128), nn.ReLU(), nn.Linear(128, 3))

    def forward(self, x):
        return self.linear_relu_stack(self.features(x))


def train(dataloader, model, loss_fn, optimizer, scheduler):
    size = len(dataloader.dataset)
    model.train()
    for batch, (X, y) in enumerate(dataloader):
        pred = model(X)
        loss = loss_fn(pred, y)

        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()

        if batch % 20 == 0:
            loss, current = loss.item(), (batch + 1) * len(X)
            print(f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]")


def test(dataloader, model, loss_fn):
    size = len(dataloader.dataset)
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for X, y in dataloader:
            pred = model(X)
            test_loss += loss_fn(pred, y).item() * len(y)
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    test_loss /= size
    correct /= size
    print(f"Test Error: \n Accuracy: {(100 * correct):>0.1f}%, Avg loss: {test_loss:>8f} \n")


torch.manual_seed(0)
order = np.random.default_rng(0).permutation(1797)
training_data = DigitPairs(order[:1200], 2400, 1)
test_data = DigitPairs(order[1200:], 800, 2)
train_dataloader = DataLoader(training_data, batch_size=64, shuffle=True)
test_dataloader = DataLoader(test_data, batch_size=64)

model = NeuralNetwork()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=5e-2, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.1)

epochs = 10
for t in range(epochs):
    print(f"Epoch {t + 1}\n-------------------------------")
    train(train_dataloader, model, loss_fn, optimizer, scheduler)
    test(test_dataloader, model, loss_fn)
print("Done!")
