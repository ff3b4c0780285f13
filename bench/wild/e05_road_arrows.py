"""Direction shown by a painted road arrow.

style: torchvision-reference style (presets, train_one_epoch, evaluate), transforms v1, drawn RGB images, SGD + MultiStepLR
fault: label-changing-augmentation
broken: 0.776
mended: 0.999
"""

import math
import time

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, Dataset

CLASSES = ("left", "right", "ahead", "back")
MEAN, STD = (0.40, 0.40, 0.40), (0.18, 0.18, 0.18)


def paint(direction, rng):
    base = rng.integers(60, 130)
    im = Image.new("RGB", (40, 40), tuple(int(base + d) for d in rng.integers(-12, 13, 3)))
    d = ImageDraw.Draw(im)
    for _ in range(4):
        x, y, r = rng.integers(0, 40, 3)
        s = int(base + rng.integers(-25, 25))
        d.ellipse([x - r // 4, y - r // 4, x + r // 4, y + r // 4], fill=(s, s, s))
    angle = {"right": 0, "back": 90, "left": 180, "ahead": 270}[direction] + rng.normal(0, 9)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx, cy = rng.integers(16, 24, 2)
    ln, w = rng.uniform(9, 13), rng.uniform(1.5, 2.6)
    shape = [(-ln, -w), (2, -w), (2, -3 * w), (ln, 0), (2, 3 * w), (2, w), (-ln, w)]
    pts = [(cx + c * x - s * y, cy + s * x + c * y) for x, y in shape]
    d.polygon(pts, fill=tuple(int(v) for v in rng.integers(170, 250, 3)))
    a = np.asarray(im, np.float32) + rng.normal(0, 26, (40, 40, 3))
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))


class ClassificationPresetTrain:
    def __init__(self, hflip_prob=0.5):
        trans = [T.RandomAffine(8, translate=(0.08, 0.08), scale=(0.9, 1.1), fill=(95, 95, 95))]
        if hflip_prob > 0:
            trans.append(T.RandomHorizontalFlip(hflip_prob))
        trans += [T.ColorJitter(0.2, 0.2), T.ToTensor(), T.Normalize(MEAN, STD)]
        self.transforms = T.Compose(trans)

    def __call__(self, img):
        return self.transforms(img)


class ClassificationPresetEval:
    def __init__(self):
        self.transforms = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])

    def __call__(self, img):
        return self.transforms(img)


class Arrows(Dataset):
    def __init__(self, n, seed, transform):
        rng = np.random.default_rng(seed)
        self.targets = rng.integers(0, 4, n)
        self.images = [paint(CLASSES[t], rng) for t in self.targets]
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(self.images[i]), int(self.targets[i])


class ArrowNet(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        layers, cin = [], 3
        for cout in (16, 32, 64):
            layers += [
                nn.Conv2d(cin, cout, 3, padding=1, bias=False),
                nn.BatchNorm2d(cout),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
            cin = cout
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(64 * 25, num_classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def train_one_epoch(model, criterion, optimizer, data_loader, epoch):
    model.train()
    start, seen, total = time.time(), 0, 0.0
    for image, target in data_loader:
        output = model(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += len(target)
        total += loss.item() * len(target)
    print(f"Epoch: [{epoch}]  loss: {total / seen:.4f}  img/s: {seen / (time.time() - start):.0f}")


def evaluate(model, criterion, data_loader):
    model.eval()
    correct = n = 0
    loss = 0.0
    with torch.inference_mode():
        for image, target in data_loader:
            output = model(image)
            loss += criterion(output, target).item() * len(target)
            correct += (output.argmax(1) == target).sum().item()
            n += len(target)
    print(f"Test:  Acc@1 {100 * correct / n:.2f}  loss {loss / n:.4f}")
    return correct / n


def main():
    torch.manual_seed(1)
    dataset = Arrows(2000, 1, ClassificationPresetTrain())
    dataset_test = Arrows(800, 2, ClassificationPresetEval())
    data_loader = DataLoader(dataset, batch_size=64, shuffle=True)
    data_loader_test = DataLoader(dataset_test, batch_size=100)
    model = ArrowNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.008, momentum=0.9, weight_decay=1e-4)
    lr_scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 7], gamma=0.1)
    for epoch in range(8):
        train_one_epoch(model, criterion, optimizer, data_loader, epoch)
        lr_scheduler.step()
        acc = evaluate(model, criterion, data_loader_test)
    print(f"Final Acc@1: {acc:.3f}")


if __name__ == "__main__":
    main()
