"""Where is the gap in the ring (Landolt C, eight directions)? Plain CNN, SGD with momentum.

style: class-based, config at the top
fault: loss-summed
accept: learning-rate-high
broken: 0.12
mended: 1.00
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, Dataset

CONFIG = {"lr": 0.02, "momentum": 0.9, "batch_size": 64, "epochs": 10, "seed": 0}


class LandoltC(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.items = []
        for _ in range(n):
            direction = int(rng.integers(8))
            img = Image.new("L", (40, 40), 230)
            d = ImageDraw.Draw(img)
            x, y = 20 + rng.uniform(-4, 4, 2)
            r = rng.uniform(9, 14)
            gap, mid = rng.uniform(22, 34), direction * 45 + rng.uniform(-8, 8)
            d.arc((x - r, y - r, x + r, y + r), mid + gap, mid + 360 - gap, fill=int(rng.integers(0, 120)), width=4)
            a = np.asarray(img, np.float32) / 255 + rng.normal(0, 0.1, (40, 40))
            self.items.append((torch.tensor((a - 0.8) / 0.25, dtype=torch.float32)[None], direction))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 25, 64), nn.ReLU(), nn.Linear(64, 8))
        self.loss = nn.CrossEntropyLoss(reduction="sum")

    def forward(self, x):
        return self.head(self.features(x))

    def training_step(self, batch):
        x, y = batch
        return self.loss(self(x), y)

    def validation_step(self, batch):
        x, y = batch
        return (self(x).argmax(dim=1) == y).sum().item()


class Experiment:
    def __init__(self, config):
        self.config = config
        torch.manual_seed(config["seed"])
        self.model = Classifier()
        self.train = DataLoader(LandoltC(2000, 1), config["batch_size"], shuffle=True)
        self.valid = DataLoader(LandoltC(600, 2), config["batch_size"])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=config["lr"], momentum=config["momentum"])

    def run(self):
        for epoch in range(self.config["epochs"]):
            self.model.train()
            for batch in self.train:
                loss = self.model.training_step(batch)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            self.model.eval()
            with torch.no_grad():
                correct = sum(self.model.validation_step(batch) for batch in self.valid)
            print({"epoch": epoch, "loss": round(loss.item(), 4), "acc": correct / len(self.valid.dataset)})


Experiment(CONFIG).run()
