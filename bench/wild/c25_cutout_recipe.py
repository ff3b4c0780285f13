"""Digits at 16 x 16 with the crop and Cutout recipe known from CIFAR, wide convolutions and a cosine schedule.

style: argparse script after a paper's repository, Cutout class in util
source: https://github.com/uoguelph-mlrg/Cutout
fault: augmentation-too-strong
broken: 0.70
mended: 0.97
"""

import argparse

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

parser = argparse.ArgumentParser(description="digits")
parser.add_argument("--batch_size", type=int, default=32)
parser.add_argument("--epochs", type=int, default=9)
parser.add_argument("--learning_rate", type=float, default=0.05)
parser.add_argument("--n_holes", type=int, default=2)
parser.add_argument("--length", type=int, default=16)
parser.add_argument("--seed", type=int, default=0)


class Cutout:
    def __init__(self, n_holes, length):
        self.n_holes, self.length = n_holes, length

    def __call__(self, img):
        h, w = img.shape[1:]
        mask = torch.ones(h, w)
        for _ in range(self.n_holes):
            y, x = np.random.randint(h), np.random.randint(w)
            top, bottom = np.clip((y - self.length // 2, y + self.length // 2), 0, h)
            left, right = np.clip((x - self.length // 2, x + self.length // 2), 0, w)
            mask[top:bottom, left:right] = 0
        return img * mask


class Digits16(Dataset):
    def __init__(self, images, targets, transform=None):
        x = torch.tensor(images, dtype=torch.float32).unsqueeze(1) / 16
        x = nn.functional.interpolate(x, size=16, mode="bilinear", align_corners=False)
        self.data, self.targets, self.transform = (x - 0.3) / 0.34, targets, transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        x = self.data[i]
        return (x if self.transform is None else self.transform(x)), int(self.targets[i])


def test(cnn, loader):
    cnn.eval()
    correct = total = 0.0
    for images, labels in loader:
        with torch.no_grad():
            pred = cnn(images).max(1)[1]
        correct += (pred == labels).sum().item()
        total += len(labels)
    return correct / total


def main():
    args = parser.parse_args()
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train_transform = transforms.Compose([transforms.RandomCrop(16, padding=2)])
    train_transform.transforms.append(Cutout(n_holes=args.n_holes, length=args.length))
    digits = load_digits()
    train_set = Digits16(digits.images[:1300], digits.target[:1300], train_transform)
    test_set = Digits16(digits.images[1300:], digits.target[1300:])
    train_loader = DataLoader(train_set, args.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, 256)
    cnn = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, padding=1, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 10),
    )
    optimizer = torch.optim.SGD(cnn.parameters(), args.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    for epoch in range(args.epochs):
        cnn.train()
        xentropy = correct = total = 0.0
        for images, labels in train_loader:
            cnn.zero_grad()
            pred = cnn(images)
            loss = nn.functional.cross_entropy(pred, labels)
            loss.backward()
            optimizer.step()
            xentropy += loss.item()
            correct += (pred.argmax(1) == labels).sum().item()
            total += len(labels)
        scheduler.step()
        print(
            f"epoch {epoch} xentropy {xentropy / len(train_loader):.3f} acc {correct / total:.3f} "
            f"test_acc {test(cnn, test_loader):.3f}"
        )


if __name__ == "__main__":
    main()
