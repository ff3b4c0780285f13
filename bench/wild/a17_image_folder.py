"""Draws six kinds of small hardware parts into a folder per class and trains on it with ImageFolder.

style: ImageFolder tutorial
fault: not-shuffled
"""

import random
import tempfile
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

CLASSES = ["bolt", "clip", "gear", "nail", "nut", "washer"]


def draw(name, rng):
    grey = rng.randint(30, 90)
    img = Image.new("L", (64, 64), grey)
    d = ImageDraw.Draw(img)
    ink = rng.randint(130, 250)
    c, r = 32, rng.randint(12, 18)
    if name == "bolt":
        d.rectangle((c - r // 3, c - r, c + r // 3, c + r), fill=ink)
        d.rectangle((c - r // 1.5, c - r, c + r // 1.5, c - r // 2), fill=ink)
    elif name == "clip":
        d.arc((c - r, c - r // 2, c + r, c + r // 2), 30, 330, fill=ink, width=4)
    elif name == "gear":
        for k in range(8):
            d.pieslice((c - r, c - r, c + r, c + r), k * 45, k * 45 + 24, fill=ink)
        d.ellipse((c - r * 0.7, c - r * 0.7, c + r * 0.7, c + r * 0.7), fill=ink)
    elif name == "nail":
        d.line((c, c - r, c, c + r), fill=ink, width=3)
        d.line((c - 5, c - r, c + 5, c - r), fill=ink, width=3)
    elif name == "nut":
        d.regular_polygon((c, c, r), 6, fill=ink)
        d.ellipse((c - r * 0.4, c - r * 0.4, c + r * 0.4, c + r * 0.4), fill=grey)
    else:
        d.ellipse((c - r, c - r, c + r, c + r), fill=ink)
        d.ellipse((c - r * 0.4, c - r * 0.4, c + r * 0.4, c + r * 0.4), fill=grey)
    img = img.rotate(rng.uniform(0, 360), translate=(rng.randint(-6, 6), rng.randint(-6, 6)), fillcolor=grey)
    return img.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0))).resize((32, 32))


def build(root, split, per_class, rng):
    for name in CLASSES:
        folder = Path(root) / split / name
        folder.mkdir(parents=True)
        for i in range(per_class):
            draw(name, rng).save(folder / f"{i:04d}.png")


def main():
    torch.manual_seed(0)
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as root:
        build(root, "train", 200, rng)
        build(root, "test", 80, rng)
        tf = transforms.Compose([transforms.Grayscale(), transforms.ToTensor(), transforms.Normalize((0.35,), (0.2,))])
        train_data = datasets.ImageFolder(f"{root}/train", transform=tf)
        test_data = datasets.ImageFolder(f"{root}/test", transform=tf)
        trainloader = DataLoader(train_data, batch_size=32, num_workers=0)
        testloader = DataLoader(test_data, batch_size=32, num_workers=0)

        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 16, 64),
            nn.ReLU(),
            nn.Linear(64, len(CLASSES)),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for epoch in range(8):
            net.train()
            for i, data in enumerate(trainloader, 0):
                inputs, labels = data
                optimizer.zero_grad()
                outputs = net(inputs)
                loss = criterion(outputs, labels)
                loss.backward()
                optimizer.step()
                if i % 10 == 9:
                    print(f"[{epoch + 1}, {i + 1:3d}] loss: {loss.item():.3f}")
            net.eval()
            correct = 0
            with torch.no_grad():
                for inputs, labels in testloader:
                    correct += (net(inputs).argmax(1) == labels).sum().item()
            print(f"test accuracy {correct / len(test_data):.3f}")


if __name__ == "__main__":
    main()
