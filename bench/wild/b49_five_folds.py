"""Five folds, a fresh network for each, squared error on one-hot targets, early stopping with the best weights kept.

style: kaggle kernel, StratifiedKFold, out-of-fold predictions
fault: none
broken: n/a
mended: 0.98
"""

import copy

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

N_FOLDS = 5
PATIENCE = 3
MAX_EPOCHS = 9


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.head = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.head(x.flatten(1))


def predict(model, x):
    model.eval()
    with torch.no_grad():
        return model(x)


def fit_fold(fold, x_tr, t_tr, x_va, t_va):
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    loader = DataLoader(TensorDataset(x_tr, t_tr), batch_size=64, shuffle=True)
    best, best_state, waited = float("inf"), None, 0
    for epoch in range(MAX_EPOCHS):
        model.train()
        for xb, tb in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(xb), tb)
            loss.backward()
            optimizer.step()
        val = F.mse_loss(predict(model, x_va), t_va).item()
        if val < best:
            best, best_state, waited = val, copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
            if waited == PATIENCE:
                break
    print(f"fold {fold}: best validation mse {best:.4f}, stopped after epoch {epoch}")
    model.load_state_dict(best_state)
    return predict(model, x_va)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    target = F.one_hot(torch.tensor(digits.target), 10).float()
    oof = torch.zeros(len(x), 10)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    for fold, (tr, va) in enumerate(folds.split(digits.images, digits.target)):
        oof[va] = fit_fold(fold, x[tr], target[tr], x[va], target[va])
    print("out-of-fold accuracy", np.mean(oof.argmax(1).numpy() == digits.target).round(4))


if __name__ == "__main__":
    main()
