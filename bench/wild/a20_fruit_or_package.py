"""Is it fruit or a package? One output unit, binary cross-entropy, on photos of groceries.

style: two-class script with BCELoss
fault: decision-threshold
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def load_photos(split, limit, every=1):
    root = SHARED / "data" / "grocery"
    images, targets = [], []
    lines = (root / f"{split}.txt").read_text().splitlines()[::every]
    for target, group in ((1.0, "/Fruit/"), (0.0, "/Packages/")):
        for line in [line for line in lines if group in line][:limit]:
            photo = Image.open(root / line.split(",")[0])
            photo.draft("RGB", (96, 96))
            images.append(np.asarray(photo.convert("RGB").resize((36, 36))))
            targets.append(target)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return TensorDataset(x, torch.tensor(targets))


class BinaryNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())

    def forward(self, x):
        return self.fc(self.conv(x)).squeeze(1)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(load_photos("train", 400, every=2), batch_size=32, shuffle=True)
    valid_loader = DataLoader(load_photos("val", 150), batch_size=64)
    model = BinaryNet()
    criterion = nn.BCELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    for epoch in range(10):
        model.train()
        train_loss = 0.0
        for images, targets in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(images)

        model.eval()
        valid_loss, correct, n = 0.0, 0, 0
        with torch.no_grad():
            for images, targets in valid_loader:
                outputs = model(images)
                valid_loss += criterion(outputs, targets).item() * len(images)
                predicted = (torch.sigmoid(outputs) > 0.5).float()
                correct += (predicted == targets).sum().item()
                n += len(images)
        print(
            f"Epoch {epoch + 1:02d} | train loss {train_loss / len(train_loader.dataset):.4f} "
            f"| valid loss {valid_loss / n:.4f} | valid acc {correct / n:.4f}"
        )


if __name__ == "__main__":
    main()
