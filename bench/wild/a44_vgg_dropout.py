"""A classic: VGG-style network with two dropouts of 0.5 in the head; capital letters A to T.

style: 2015-style CNN with Dropout(0.5) and StepLR
fault: none
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import DataLoader, TensorDataset

LETTERS = "ABCDEFGHIJKLMNOPQRST"


def render(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(LETTERS), n)
    images = []
    for k in labels:
        img = Image.new("L", (32, 32), 255)
        font = ImageFont.load_default(size=float(rng.uniform(19, 27)))
        xy = tuple(16 + rng.uniform(-2.5, 2.5, 2))
        ImageDraw.Draw(img).text(xy, LETTERS[k], fill=int(rng.integers(0, 130)), font=font, anchor="mm")
        img = img.rotate(float(rng.uniform(-12, 12)), Image.BILINEAR, fillcolor=255)
        images.append(np.asarray(img, np.float32) + rng.normal(0, 18, (32, 32)))
    x = 1 - np.stack(images)[:, None] / 255
    return TensorDataset(torch.tensor((x - 0.15) / 0.27, dtype=torch.float32), torch.tensor(labels))


class VGG(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(48, 64, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(64 * 4 * 4, 256),
            nn.ReLU(True),
            nn.Dropout(0.5),
            nn.Linear(256, 128),
            nn.ReLU(True),
            nn.Dropout(0.5),
            nn.Linear(128, len(LETTERS)),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def main():
    torch.manual_seed(0)
    trainloader = DataLoader(render(2000, 0), batch_size=64, shuffle=True)
    testloader = DataLoader(render(600, 1), batch_size=64)
    net = VGG()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1.5e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.2)
    for epoch in range(10):
        net.train()
        train_loss = 0
        for inputs, targets in trainloader:
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
            train_loss += loss.item()
        scheduler.step()
        net.eval()
        correct = 0
        with torch.no_grad():
            for inputs, targets in testloader:
                _, predicted = net(inputs).max(1)
                correct += predicted.eq(targets).sum().item()
        print(f"Epoch {epoch}: loss {train_loss / len(trainloader):.3f} | Acc {100 * correct / 600:.2f}%")


if __name__ == "__main__":
    main()
