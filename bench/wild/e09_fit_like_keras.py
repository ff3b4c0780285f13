"""Digits with a small convnet, ported from a Keras notebook.

style: Keras-like compile()/fit()/evaluate(), history dict, Adam, conv-BN-ReLU blocks
fault: batchnorm-momentum
accept: batchnorm-mode
broken: 0.420
mended: 0.991
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


class Conv2D(nn.Module):
    """Conv + BatchNormalization + relu, arguments named as in the old notebook."""

    def __init__(self, cin, filters, strides=1, bn_momentum=0.001, bn_epsilon=1e-3):
        super().__init__()
        self.conv = nn.Conv2d(cin, filters, 3, stride=strides, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=bn_epsilon, momentum=bn_momentum)
        nn.init.xavier_uniform_(self.conv.weight)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Model:
    def __init__(self, *layers):
        self.net = nn.Sequential(*layers)

    def compile(self, optimizer, loss):
        self.optimizer = optimizer(self.net.parameters())
        self.loss = loss

    def fit(self, x, y, epochs, batch_size, validation_data):
        history = {"loss": [], "accuracy": [], "val_loss": [], "val_accuracy": []}
        for epoch in range(epochs):
            self.net.train()
            order, total, hits = torch.randperm(len(x)), 0.0, 0
            for i in order.split(batch_size):
                out = self.net(x[i])
                loss = self.loss(out, y[i])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.item() * len(i)
                hits += (out.argmax(1) == y[i]).sum().item()
            vl, va = self.evaluate(*validation_data)
            for k, v in zip(history, (total / len(x), hits / len(x), vl, va)):
                history[k].append(v)
            print(f"Epoch {epoch + 1}/{epochs} - " + " - ".join(f"{k}: {v[-1]:.4f}" for k, v in history.items()))
        return history

    @torch.no_grad()
    def evaluate(self, x, y, batch_size=128):
        self.net.eval()
        out = torch.cat([self.net(b) for b in x.split(batch_size)])
        return self.loss(out, y).item(), (out.argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(7)
    X, Y = load_digits(return_X_y=True)
    a, b, ya, yb = train_test_split(X.astype(np.float32), Y, test_size=0.3, random_state=7, stratify=Y)
    mean, std = a.mean(), a.std()
    a, b = [torch.tensor((v - mean) / std).reshape(-1, 1, 8, 8) for v in (a, b)]
    ya, yb = torch.tensor(ya), torch.tensor(yb)
    model = Model(
        Conv2D(1, 24),
        Conv2D(24, 24),
        Conv2D(24, 48, strides=2),
        Conv2D(48, 48),
        Conv2D(48, 64, strides=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    model.compile(optimizer=lambda p: torch.optim.Adam(p, lr=1e-3), loss=nn.CrossEntropyLoss())
    model.fit(a, ya, epochs=28, batch_size=64, validation_data=(b, yb))
    print("test accuracy: %.3f" % model.evaluate(b, yb)[1])
