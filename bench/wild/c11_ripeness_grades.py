"""Ordinal regression: six grades of brown spots on drawn bananas with shared weights and ordered thresholds (CORAL).

style: paper reimplementation, level encoding, sigmoid outputs
fault: none
broken: n/a
mended: 1.00
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
GRADES = 6


def banana(grade, rng, size=24):
    img = Image.new("RGB", (size, size), (230, 230, 225))
    d = ImageDraw.Draw(img)
    shade = int(rng.integers(-20, 20))
    d.ellipse((1, 4, size - 2, size - 5), fill=(220 + shade, 190 + shade, 60))
    places = [(x, y) for x in (5, 9, 13, 17) for y in (7, 11, 15)]
    for k in rng.permutation(len(places))[: 2 * grade]:
        x, y = (p + int(rng.integers(-1, 1)) for p in places[k])
        d.rectangle((x, y, x + 1, y + 1), fill=(90, 60, 20))
    return np.asarray(img)


class Bananas(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.grades = rng.integers(0, GRADES, n)
        self.images = [banana(g, rng) for g in self.grades]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = torch.from_numpy(self.images[i].copy()).permute(2, 0, 1).float() / 127.5 - 1
        grade = int(self.grades[i])
        levels = (torch.arange(GRADES - 1) < grade).float()
        return x, levels, grade


class Coral(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.score = nn.Linear(32, 1, bias=False)
        self.thresholds = nn.Parameter(torch.arange(GRADES - 1, 0, -1).float() / (GRADES - 1))

    def forward(self, x):
        return self.score(self.features(x).flatten(1)) + self.thresholds


def coral_loss(logits, levels):
    return -(F.logsigmoid(logits) * levels + (F.logsigmoid(logits) - logits) * (1 - levels)).sum(1).mean()


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(Bananas(1000, 3), batch_size=24, shuffle=True)
    val_loader = DataLoader(Bananas(300, 4), batch_size=100)
    model = Coral()
    optimizer = torch.optim.Adam(
        [
            {"params": [*model.features.parameters(), *model.score.parameters()], "lr": 4e-3},
            {"params": [model.thresholds], "lr": 4e-2},
        ]
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 9], gamma=0.3)
    for epoch in range(11):
        model.train()
        for x, levels, _ in train_loader:
            loss = coral_loss(model(x), levels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            off = torch.cat([(torch.sigmoid(model(x)) > 0.5).sum(1) - g for x, _, g in val_loader]).abs().float()
        print(f"epoch {epoch} loss {loss.item():.3f} MAE {off.mean():.3f} exact {(off == 0).float().mean():.3f}")
    print("thresholds", [round(t, 2) for t in model.thresholds.tolist()])


if __name__ == "__main__":
    main()
