"""After the first validation my training loss behaves differently. Exported from my notebook."""

# %% imports
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)

# %% data
digits = load_digits()
x = torch.tensor(digits.images).float().unsqueeze(1) / 8 - 1
y = torch.tensor(digits.target)
train_dl = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=32, shuffle=True)
valid_dl = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=128)

# %% model
model = nn.Sequential(
    nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Dropout(0.4), nn.Linear(24 * 16, 10),
)  # fmt: skip
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
loss_func = nn.CrossEntropyLoss()


# %% helpers
def valid_loss():
    model.eval()
    with torch.no_grad():
        return sum(loss_func(model(xb), yb) * len(xb) for xb, yb in valid_dl) / len(valid_dl.dataset)


# %% training
for epoch in range(5):
    for xb, yb in train_dl:
        loss = loss_func(model(xb), yb)
        loss.backward()
        opt.step()
        opt.zero_grad()
    print(epoch, round(loss.item(), 3), round(valid_loss().item(), 3))
