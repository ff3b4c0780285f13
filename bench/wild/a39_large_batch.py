"""Digits with very large batches: linear scaling of the rate, warm-up, LR printed at each epoch.

style: functional script with LambdaLR
fault: none
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, relu
from torch.optim.lr_scheduler import LambdaLR

torch.manual_seed(0)
BATCH, EPOCHS, WARMUP = 400, 40, 12

digits = load_digits()
order = torch.randperm(1797)
x = torch.tensor(digits.images, dtype=torch.float32)[order].unsqueeze(1) / 16
y = torch.tensor(digits.target)[order]
mean, std = x[:1200].mean(), x[:1200].std()
x = (x - mean) / std
x_train, y_train, x_test, y_test = x[:1200], y[:1200], x[1200:], y[1200:]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, stride=2)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        x = relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1 * BATCH / 64, momentum=0.9, nesterov=True, weight_decay=1e-4)
steps = EPOCHS * (len(x_train) // BATCH)
schedule = LambdaLR(optimizer, lambda t: (t + 1) / WARMUP if t < WARMUP else (steps - t) / (steps - WARMUP))

for epoch in range(EPOCHS):
    net.train()
    for idx in torch.randperm(len(x_train)).split(BATCH):
        optimizer.zero_grad()
        loss = cross_entropy(net(x_train[idx]), y_train[idx])
        loss.backward()
        optimizer.step()
        schedule.step()
    if epoch % 5 == 4:
        net.eval()
        with torch.no_grad():
            accuracy = (net(x_test).argmax(1) == y_test).float().mean()
        print(f"{epoch + 1} lr {schedule.get_last_lr()[0]:.3f} loss {loss:.4f} accuracy {accuracy:.4f}")
