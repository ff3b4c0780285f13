"""Plain MLP on the sklearn digits with everything thrown at it: mixed pairs, input noise and a lot of dropout.
My validation numbers are better than my training numbers in every epoch.

style: kaggler, flat script, dict of history, mixup helper
fault: none
mended: 0.982
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit


def seed_everything(s=42):
    np.random.seed(s)
    torch.manual_seed(s)


seed_everything()
data, target = load_digits(return_X_y=True)
((tr, va),) = StratifiedShuffleSplit(1, test_size=0.3, random_state=42).split(data, target)
mean, std = data[tr].mean(0), data[tr].std(0) + 0.5
X = torch.tensor((data - mean) / std, dtype=torch.float32)
Y = torch.tensor(target)
X_train, Y_train, X_val, Y_val = X[tr], Y[tr], X[va], Y[va]


class Net(nn.Module):
    def __init__(self, width=384):
        super().__init__()
        self.net = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(64, width),
            nn.PReLU(),
            nn.Dropout(0.7),
            nn.Linear(width, width),
            nn.PReLU(),
            nn.Dropout(0.7),
            nn.Linear(width, 10),
        )

    def forward(self, x):
        return self.net(x)


def mixup(x, y, alpha=0.4):
    lam = float(np.random.beta(alpha, alpha))
    j = torch.randperm(len(x))
    onehot = F.one_hot(y, 10).float()
    return lam * x + (1 - lam) * x[j], lam * onehot + (1 - lam) * onehot[j]


model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=130)
hist = {"train_loss": [], "train_acc": [], "val_loss": [], "val_acc": []}

for epoch in range(130):
    model.train()
    loss_sum, hit, n = 0.0, 0, 0
    for idx in torch.randperm(len(X_train)).split(64):
        xb, yb = X_train[idx], Y_train[idx]
        xm, ym = mixup(xb + 0.2 * torch.randn_like(xb), yb)
        out = model(xm)
        loss = -(ym * F.log_softmax(out, dim=1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(idx)
        hit += (out.argmax(1) == ym.argmax(1)).sum().item()
        n += len(idx)
    scheduler.step()

    model.eval()
    with torch.no_grad():
        val_out = model(X_val)
        hist["val_loss"].append(F.cross_entropy(val_out, Y_val).item())
        hist["val_acc"].append((val_out.argmax(1) == Y_val).float().mean().item())
    hist["train_loss"].append(loss_sum / n)
    hist["train_acc"].append(hit / n)
    if (epoch + 1) % 10 == 0:
        print("ep %3d | " % (epoch + 1) + " | ".join(f"{k} {v[-1]:.4f}" for k, v in hist.items()))

print(f"val accuracy = {hist['val_acc'][-1]:.4f}")
