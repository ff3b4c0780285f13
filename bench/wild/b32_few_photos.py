"""Fifteen photos per class and a wide network trained for a long time.

style: hobby project, one class for everything, prints like a logbook
fault: overfitting
broken: 0.48
mended: 0.66
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"


class Project:
    names = ("Apple", "Juice", "Melon", "Milk", "Pepper", "Tomato", "Yoghurt", "Potato")
    size = 32
    per_class = 15
    batch = 24
    epochs = 60

    def __init__(self):
        torch.manual_seed(28)
        self.x, self.y = self.read(0, self.per_class, 1)
        self.xv, self.yv = self.read(self.per_class + 5, None, 2)
        self.model = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 64, 512),
            nn.ReLU(),
            nn.Linear(512, len(self.names)),
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loss = nn.CrossEntropyLoss()

    def read(self, first, last, step):
        x, y = [], []
        paths = [line.split(", ")[0] for line in (GROCERY / "train.txt").read_text().splitlines()]
        paths = np.random.default_rng(1).permutation(paths).tolist()
        for label, name in enumerate(self.names):
            for path in [p for p in paths if p.split("/")[2] == name][first:last:step]:
                img = Image.open(GROCERY / path)
                img.draft("RGB", (64, 64))
                x.append(np.asarray(img.convert("RGB").resize((self.size, self.size), Image.BILINEAR)))
                y.append(label)
        x = torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2).float() / 255
        return (x - 0.5) / 0.25, torch.tensor(y)

    def train(self):
        self.model.train()
        for idx in torch.randperm(len(self.x)).split(self.batch):
            self.optimizer.zero_grad()
            loss = self.loss(self.model(self.x[idx]), self.y[idx])
            loss.backward()
            self.optimizer.step()

    def report(self, epoch):
        self.model.eval()
        with torch.no_grad():
            train_out, val_out = self.model(self.x), self.model(self.xv)
        print(
            f"day {epoch}: train loss {self.loss(train_out, self.y):.3f}"
            f" val loss {self.loss(val_out, self.yv):.3f}"
            f" val accuracy {(val_out.argmax(1) == self.yv).float().mean():.3f}"
        )

    def run(self):
        for epoch in range(1, self.epochs + 1):
            self.train()
            if epoch % 5 == 0:
                self.report(epoch)


if __name__ == "__main__":
    Project().run()
