"""Five-fold cross-validation on few digits, with a fresh network and a fresh optimiser for every fold.

style: Kaggle notebook, StratifiedKFold, out-of-fold predictions
fault: none
broken: n/a
mended: 0.98
"""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
SEED, N_FOLDS, EPOCHS, N = 2024, 5, 9, 600


def new_model():
    return nn.Sequential(
        nn.Conv2d(1, 20, 3, padding=1),
        nn.BatchNorm2d(20),
        nn.PReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 40, 3, padding=1),
        nn.BatchNorm2d(40),
        nn.PReLU(),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(640, 10),
    )


def mixup(x, y, alpha=0.2):
    lam = np.random.beta(alpha, alpha)
    idx = torch.randperm(len(x))
    return lam * x + (1 - lam) * x[idx], y, y[idx], lam


def train_fold(train_set, valid_set):
    model = new_model()
    loader = DataLoader(train_set, batch_size=16, shuffle=True, drop_last=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=EPOCHS * len(loader))
    for _ in range(EPOCHS):
        model.train()
        for x, y in loader:
            x, ya, yb, lam = mixup(x, y)
            out = model(x)
            loss = lam * criterion(out, ya) + (1 - lam) * criterion(out, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    model.eval()
    with torch.no_grad():
        return model(valid_set.tensors[0]).softmax(1).numpy(), loss.item()


if __name__ == "__main__":
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    images, labels = load_digits(return_X_y=True)
    keep = np.random.permutation(len(labels))[:N]
    x = torch.tensor(images[keep] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    y = torch.tensor(labels[keep])
    oof = np.zeros((N, 10))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    for fold, (tr, va) in enumerate(folds.split(x, y)):
        mu, sd = x[tr].mean(), x[tr].std()
        train_set = TensorDataset((x[tr] - mu) / sd, y[tr])
        valid_set = TensorDataset((x[va] - mu) / sd, y[va])
        oof[va], last = train_fold(train_set, valid_set)
        print(f"fold {fold}: last loss {last:.3f}, accuracy {accuracy_score(y[va], oof[va].argmax(1)):.3f}")
    print(f"CV {accuracy_score(y, oof.argmax(1)):.4f}")
