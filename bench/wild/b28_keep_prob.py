"""A TensorFlow tutorial carried over to PyTorch for groceries: two convolutions, keep_prob, Adam.

style: port from TensorFlow 1, constants in capitals, batches by a generator
fault: dropout-misuse
broken: 0.60
mended: 0.85
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

ROOT = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
NAMES = ["Apple", "Juice", "Melon", "Milk", "Pepper", "Tomato", "Yoghurt"]
IMAGE_SIZE = 32
BATCH_SIZE = 48
KEEP_PROB = 0.8
N_STEPS = 250

np.random.seed(0)
torch.manual_seed(0)


def load(split):
    images, labels = [], []
    paths = [line.split(", ")[0] for line in (ROOT / "train.txt").read_text().splitlines()]
    for label, name in enumerate(NAMES):
        of_name = [p for p in paths if p.split("/")[2] == name]
        test = of_name[::4]
        for path in test if split == "test" else [p for p in of_name if p not in test]:
            img = Image.open(ROOT / path)
            img.draft("RGB", (64, 64))
            images.append(np.asarray(img.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.BILINEAR)))
            labels.append(label)
    x = (np.stack(images).astype(np.float32) - 128) / 64
    return x.transpose(0, 3, 1, 2), np.array(labels)


def next_batch(x, y):
    while True:
        order = np.random.permutation(len(x))
        for i in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            j = order[i : i + BATCH_SIZE]
            yield torch.from_numpy(x[j]), torch.from_numpy(y[j])


class ConvNet(nn.Module):
    def __init__(self, keep_prob):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 5, padding=2)
        self.conv2 = nn.Conv2d(24, 48, 5, padding=2)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(8 * 8 * 48, 128)
        self.drop = nn.Dropout(keep_prob)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, len(NAMES))

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = self.drop(torch.relu(self.fc1(x.flatten(1))))
        x = self.drop(torch.relu(self.fc2(x)))
        return self.fc3(x)


x_train, y_train = load("train")
x_test, y_test = load("test")
x_test, y_test = torch.from_numpy(x_test), torch.from_numpy(y_test)
net = ConvNet(KEEP_PROB)
cross_entropy = nn.CrossEntropyLoss()
train_step = torch.optim.Adam(net.parameters(), lr=1e-3)
batches = next_batch(x_train, y_train)

for step in range(N_STEPS):
    net.train()
    x_batch, y_batch = next(batches)
    train_step.zero_grad()
    loss = cross_entropy(net(x_batch), y_batch)
    loss.backward()
    train_step.step()
    if (step + 1) % 50 == 0:
        net.eval()
        with torch.no_grad():
            test_accuracy = (net(x_test).argmax(1) == y_test).float().mean().item()
        print(f"step {step + 1}, batch loss {loss.item():.3f}, test accuracy {test_accuracy:.3f}")
