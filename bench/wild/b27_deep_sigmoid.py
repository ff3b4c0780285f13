"""A deep perceptron for digits, as in the first chapters of the textbooks.

style: textbook exercise, nn.Sequential built in a loop, one learning rate
fault: vanishing-gradient
accept: saturated-units
broken: 0.10
mended: 0.86
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

torch.manual_seed(31)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=31, stratify=y)
scaler = StandardScaler().fit(X_train)
X_train = torch.tensor(scaler.transform(X_train), dtype=torch.float32)
X_test = torch.tensor(scaler.transform(X_test), dtype=torch.float32)
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)

sizes = [64, 64, 64, 48, 48, 32, 32, 32]
layers = []
for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
    layers += [nn.Linear(n_in, n_out), nn.Sigmoid()]
layers.append(nn.Linear(sizes[-1], 10))
mlp = nn.Sequential(*layers)

loss_function = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(mlp.parameters(), lr=0.03, momentum=0.9)

for epoch in range(22):
    permutation = torch.randperm(len(X_train))
    total = 0.0
    for i in range(0, len(X_train), 64):
        batch = permutation[i : i + 64]
        prediction = mlp(X_train[batch])
        loss = loss_function(prediction, y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    with torch.no_grad():
        accuracy = (mlp(X_test).argmax(1) == y_test).float().mean()
    if epoch % 3 == 0:
        print(f"epoch {epoch:2d}  loss {total / len(X_train):.4f}  test accuracy {accuracy:.3f}")
