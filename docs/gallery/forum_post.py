"""My CNN trains, but the loss never goes below 1.5. I tried every learning rate. Code below, please help"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.fc1 = nn.Linear(16 * 16, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        return F.softmax(self.fc2(x), dim=1)


torch.manual_seed(0)
X, y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1
y = torch.tensor(y)
net = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(5):
    perm = torch.randperm(1500)
    for i in range(0, 1500, 50):
        idx = perm[i : i + 50]
        optimizer.zero_grad()
        output = net(X[idx])
        loss = criterion(output, y[idx])
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item())
