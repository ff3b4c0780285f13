"""How large is the disc? A regression from small synthetic pictures.

style: beginner's script, in-memory tensors, manual index batches
source: https://github.com/harveyslash/Facial-Similarity-with-Siamese-Networks-in-Pytorch/issues/27
fault: wrong-head
broken: 0.03
mended: 0.98
"""

import warnings

import numpy as np
import torch
import torch.nn as nn

warnings.filterwarnings("ignore")

np.random.seed(10)
torch.manual_seed(10)

SIZE = 28


def make(n):
    yy, xx = np.mgrid[:SIZE, :SIZE]
    X = np.zeros((n, 1, SIZE, SIZE), dtype="float32")
    Y = np.zeros(n, dtype="float32")
    for i in range(n):
        r = np.random.uniform(3, 10)
        cx, cy = np.random.uniform(10, 18, 2)
        level = np.random.uniform(0.4, 1.0)
        X[i, 0] = level * ((xx - cx) ** 2 + (yy - cy) ** 2 < r**2) + 0.1 * np.random.randn(SIZE, SIZE)
        Y[i] = r
    return torch.from_numpy(X), torch.from_numpy(Y)


X_train, Y_train = make(1500)
X_test, Y_test = make(400)
mean, std = X_train.mean(), X_train.std()
X_train, X_test = (X_train - mean) / std, (X_test - mean) / std
y_mean, y_std = Y_train.mean(), Y_train.std()
target = (Y_train - y_mean) / y_std


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
        )
        self.out = nn.Sequential(nn.Flatten(), nn.Linear(16 * 5 * 5, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.out(self.features(x))


model = Regressor()
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
batch_size = 50

for epoch in range(10):
    perm = torch.randperm(len(X_train))
    total = 0.0
    model.train()
    for i in range(0, len(X_train), batch_size):
        idx = perm[i : i + batch_size]
        optimizer.zero_grad()
        prediction = model(X_train[idx])
        loss = criterion(prediction, target[idx])
        loss.backward()
        optimizer.step()
        total += loss.item()
    model.eval()
    with torch.no_grad():
        radius = model(X_test).flatten() * y_std + y_mean
        mae = (radius - Y_test).abs().mean()
        r2 = 1 - ((radius - Y_test) ** 2).sum() / ((Y_test - Y_test.mean()) ** 2).sum()
    print(f"epoch {epoch} train mse {total / (len(X_train) / batch_size):.4f} test mae {mae:.3f} px r2 {r2:.3f}")
