"""Digits with a Trainer class, SGD and a learning rate that drops on a fixed schedule.

style: Trainer class with callbacks, argparse-like settings dict
source: https://github.com/ivadomed/ivadomed/pull/55
fault: schedule-unit
accept: learning-rate-low
broken: 0.15
mended: 0.98
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

SETTINGS = {
    "batch_size": 32,
    "epochs": 9,
    "lr": 0.02,
    "lr_step": 3,
    "lr_gamma": 0.5,
    "momentum": 0.9,
    "seed": 3,
}


class Callback:
    def on_epoch_end(self, trainer, logs):
        pass


class PrintLogs(Callback):
    def on_epoch_end(self, trainer, logs):
        print(" ".join(f"{k}={v:.4g}" for k, v in logs.items()))


class History(Callback):
    def __init__(self):
        self.logs = []

    def on_epoch_end(self, trainer, logs):
        self.logs.append(dict(logs))


class Trainer:
    def __init__(self, model, loaders, settings, callbacks):
        self.model, self.loaders, self.settings, self.callbacks = model, loaders, settings, callbacks
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(model.parameters(), lr=settings["lr"], momentum=settings["momentum"])
        self.scheduler = optim.lr_scheduler.StepLR(
            self.optimizer, step_size=settings["lr_step"], gamma=settings["lr_gamma"]
        )

    def run_batch(self, x, y):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()

    def evaluate(self):
        self.model.eval()
        right = total = 0
        with torch.no_grad():
            for x, y in self.loaders["val"]:
                right += int((self.model(x).argmax(dim=1) == y).sum())
                total += len(y)
        return right / total

    def fit(self):
        for epoch in range(self.settings["epochs"]):
            self.model.train()
            losses = [self.run_batch(x, y) for x, y in self.loaders["train"]]
            logs = {"epoch": epoch, "loss": float(np.mean(losses)), "val_acc": self.evaluate()}
            for cb in self.callbacks:
                cb.on_epoch_end(self, logs)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.fc1 = nn.Linear(24 * 2 * 2, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def get_loaders(settings):
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    x = (x - x.mean()) / x.std()
    y = torch.tensor(data.target)
    tr, va = train_test_split(np.arange(len(y)), test_size=0.25, stratify=data.target, random_state=settings["seed"])
    return {
        "train": DataLoader(TensorDataset(x[tr], y[tr]), batch_size=settings["batch_size"], shuffle=True),
        "val": DataLoader(TensorDataset(x[va], y[va]), batch_size=128),
    }


if __name__ == "__main__":
    torch.manual_seed(SETTINGS["seed"])
    history = History()
    trainer = Trainer(LeNet(), get_loaders(SETTINGS), SETTINGS, [PrintLogs(), history])
    trainer.fit()
    print("final accuracy", round(history.logs[-1]["val_acc"], 4))
