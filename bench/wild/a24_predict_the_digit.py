"""Predicts which digit was written with an MLP.

style: beginner's script
fault: wrong-head
broken: 0.44
mended: 0.97
"""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

torch.manual_seed(1)
np.random.seed(1)

data = load_digits()
X = data.data
y = data.target
perm = np.random.permutation(len(X))
train_idx, test_idx = perm[:1250], perm[1250:]
scaler = StandardScaler().fit(X[train_idx])
X = scaler.transform(X)

X_train = torch.tensor(X[train_idx], dtype=torch.float32)
y_train = torch.tensor(y[train_idx], dtype=torch.float32)
X_test = torch.tensor(X[test_idx], dtype=torch.float32)
y_test = torch.tensor(y[test_idx], dtype=torch.float32)

model = nn.Sequential(
    nn.Linear(64, 128),
    nn.ReLU(),
    nn.Linear(128, 64),
    nn.ReLU(),
    nn.Linear(64, 1),
)
loss_function = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

batch_size = 50
for epoch in range(14):
    model.train()
    shuffle = torch.randperm(len(X_train))
    for start in range(0, len(X_train), batch_size):
        batch = shuffle[start : start + batch_size]
        prediction = model(X_train[batch]).squeeze()
        loss = loss_function(prediction, y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        prediction = model(X_test).squeeze().round()
    accuracy = (prediction == y_test).float().mean().item()
    print("epoch", epoch + 1, "loss", round(loss.item(), 4), "accuracy", round(accuracy, 4))
