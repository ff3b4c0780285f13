"""Images of digits from a folder, labels from a CSV file next to it, as a Kaggle competition hands them out.

style: kaggle notebook, folder of files and labels.csv
fault: labels-shuffled
broken: 0.12
mended: 0.98
"""

import csv
import tempfile
from glob import glob
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, Subset

torch.manual_seed(2021)
np.random.seed(2021)


def unpack_competition(folder):
    """What the download would leave on the disk: train/0.png ... and labels.csv."""
    digits = load_digits()
    (folder / "train").mkdir()
    order = np.random.permutation(len(digits.images))
    with open(folder / "labels.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["id", "label"])
        for i, j in enumerate(order):
            img = Image.fromarray((digits.images[j] * 15.9).astype(np.uint8)).resize((16, 16), Image.BILINEAR)
            img.save(folder / "train" / f"{i}.png")
            writer.writerow([i, int(digits.target[j])])


class DigitFiles(Dataset):
    def __init__(self, folder):
        self.files = sorted(glob(str(folder / "train" / "*.png")))
        with open(folder / "labels.csv") as f:
            self.labels = [int(row["label"]) for row in csv.DictReader(f)]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        img = np.array(Image.open(self.files[i]), dtype=np.float32) / 255.0
        return torch.from_numpy(img)[None] * 2 - 1, self.labels[i]


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)))


with tempfile.TemporaryDirectory() as tmp:
    unpack_competition(Path(tmp))
    dataset = DigitFiles(Path(tmp))
    split = int(0.8 * len(dataset))
    perm = np.random.permutation(len(dataset)).tolist()
    train_loader = DataLoader(Subset(dataset, perm[:split]), batch_size=64, shuffle=True)
    valid_loader = DataLoader(Subset(dataset, perm[split:]), batch_size=64)

    model = CNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    for epoch in range(8):
        model.train()
        train_loss = 0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() / len(train_loader)
        model.eval()
        correct, valid_loss = 0, 0
        with torch.no_grad():
            for images, labels in valid_loader:
                out = model(images)
                valid_loss += criterion(out, labels).item() / len(valid_loader)
                correct += (out.argmax(1) == labels).sum().item()
        acc = correct / (len(dataset) - split)
        print(f"Epoch {epoch + 1}/8 train loss {train_loss:.4f} valid loss {valid_loss:.4f} valid acc {acc:.4f}")
