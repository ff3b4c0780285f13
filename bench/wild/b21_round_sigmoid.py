"""Fruit or package: a binary network with one output, after a text classification tutorial.

style: tutorial with binary_accuracy helper, model that ends in a sigmoid, BCELoss
source: https://github.com/bentrevett/pytorch-sentiment-analysis/issues/75
fault: decision-threshold
broken: n/a
mended: 0.85
"""

import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

SEED = 1234
torch.manual_seed(SEED)
torch.backends.cudnn.deterministic = True

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"


def read_split(split, limit=None):
    images, labels = [], []
    lines = [r.split(",")[0] for r in (GROCERY / f"{split}.txt").read_text().splitlines()]
    lines = [r for r in lines if r.split("/")[1] != "Vegetables"]
    if limit:
        lines = lines[:: len(lines) // limit + 1]
    for path in lines:
        img = Image.open(GROCERY / path)
        img.draft("RGB", (64, 64))
        images.append(np.asarray(img.convert("RGB").resize((32, 32), Image.BILINEAR)))
        labels.append(float(path.split("/")[1] == "Packages"))
    x = torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 255.0
    return TensorDataset((x - 0.5) / 0.5, torch.tensor(labels))


class BinaryCNN(nn.Module):
    def __init__(self, n_filters, dropout):
        super().__init__()
        self.conv_0 = nn.Conv2d(3, n_filters, 3)
        self.conv_1 = nn.Conv2d(n_filters, n_filters * 2, 3)
        self.conv_2 = nn.Conv2d(n_filters * 2, n_filters * 2, 3)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_filters * 2 * 2 * 2, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, image):
        x = self.pool(torch.relu(self.conv_0(image)))
        x = self.pool(torch.relu(self.conv_1(x)))
        x = self.pool(torch.relu(self.conv_2(x)))
        return self.sigmoid(self.fc(self.dropout(x.flatten(1))))


def binary_accuracy(preds, y):
    """Returns accuracy per batch, i.e. if you get 8/10 right, this returns 0.8."""
    rounded_preds = torch.round(torch.sigmoid(preds))
    correct = (rounded_preds == y).float()
    return correct.sum() / len(correct)


def train(model, iterator, optimizer, criterion):
    epoch_loss = epoch_acc = 0
    model.train()
    for image, label in iterator:
        optimizer.zero_grad()
        predictions = model(image).squeeze(1)
        loss = criterion(predictions, label)
        acc = binary_accuracy(predictions, label)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * len(label)
        epoch_acc += acc.item() * len(label)
    return epoch_loss / len(iterator.dataset), epoch_acc / len(iterator.dataset)


def evaluate(model, iterator, criterion):
    epoch_loss = epoch_acc = 0
    model.eval()
    with torch.no_grad():
        for image, label in iterator:
            predictions = model(image).squeeze(1)
            epoch_loss += criterion(predictions, label).item() * len(label)
            epoch_acc += binary_accuracy(predictions, label).item() * len(label)
    return epoch_loss / len(iterator.dataset), epoch_acc / len(iterator.dataset)


train_iterator = DataLoader(read_split("train"), batch_size=64, shuffle=True)
valid_iterator = DataLoader(read_split("val"), batch_size=64)
model = BinaryCNN(n_filters=16, dropout=0.3)
optimizer = optim.Adam(model.parameters(), lr=2e-3)
criterion = nn.BCELoss()

for epoch in range(6):
    start_time = time.time()
    train_loss, train_acc = train(model, train_iterator, optimizer, criterion)
    valid_loss, valid_acc = evaluate(model, valid_iterator, criterion)
    print(f"Epoch: {epoch + 1:02} | Epoch Time: {time.time() - start_time:.0f}s")
    print(f"\tTrain Loss: {train_loss:.3f} | Train Acc: {train_acc * 100:.2f}%")
    print(f"\t Val. Loss: {valid_loss:.3f} |  Val. Acc: {valid_acc * 100:.2f}%")
