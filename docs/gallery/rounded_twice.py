"""Binary classifier: validation loss goes down nicely, validation accuracy is the same number every epoch???"""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
y = torch.tensor(digits.target % 2, dtype=torch.float32)
order = torch.randperm(len(x))
train, val = order[:1300], order[1300:]

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(512, 1),
    nn.Sigmoid(),
)
criterion = nn.BCELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def binary_accuracy(preds, y):
    rounded = torch.round(torch.sigmoid(preds))
    return (rounded == y).float().mean().item()


for epoch in range(6):
    model.train()
    for idx in train[torch.randperm(len(train))].split(50):
        optimizer.zero_grad()
        loss = criterion(model(x[idx]).squeeze(1), y[idx])
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        preds = model(x[val]).squeeze(1)
        print(f"epoch {epoch}: val loss {criterion(preds, y[val]):.3f} val acc {binary_accuracy(preds, y[val]):.3f}")
