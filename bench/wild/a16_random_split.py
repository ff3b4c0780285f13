"""Drawn faces: happy, sad or neutral. One dataset, torchvision transforms, a random split.

style: blog tutorial
fault: augmented-validation
"""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms

transform = transforms.Compose(
    [
        transforms.RandomRotation(40),
        transforms.RandomResizedCrop(36, scale=(0.35, 1.0)),
        transforms.ColorJitter(0.4, 0.4, 0.4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.55, 0.55, 0.55], [0.25, 0.25, 0.25]),
    ]
)


class Faces(Dataset):
    classes = ["happy", "neutral", "sad"]

    def __init__(self, n, transform=None, seed=0):
        rng = random.Random(seed)
        self.transform = transform
        self.samples = []
        for _ in range(n):
            mood = rng.randrange(3)
            self.samples.append((self._draw(mood, rng), mood))

    @staticmethod
    def _draw(mood, rng):
        img = Image.new("RGB", (48, 48), tuple(rng.randint(120, 220) for _ in range(3)))
        d = ImageDraw.Draw(img)
        x, y, r = 24 + rng.uniform(-4, 4), 24 + rng.uniform(-4, 4), rng.uniform(13, 18)
        d.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.randint(140, 255) for _ in range(3)))
        ink = tuple(rng.randint(0, 90) for _ in range(3))
        for s in (-1, 1):
            ex, ey, q = x + s * r * 0.4, y - r * 0.3, rng.uniform(1, 2.5)
            d.ellipse((ex - q, ey - q, ex + q, ey + q), fill=ink)
        w, h = r * 0.5, r * rng.uniform(0.15, 0.35)
        my = y + r * 0.4
        if mood == 0:
            d.arc((x - w, my - h, x + w, my + h), 0, 180, fill=ink, width=2)
        elif mood == 1:
            d.line((x - w, my, x + w, my + rng.uniform(-2, 2)), fill=ink, width=2)
        else:
            d.arc((x - w, my - h, x + w, my + h), 180, 360, fill=ink, width=2)
        return img

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        img, label = self.samples[index]
        if self.transform is not None:
            img = self.transform(img)
        return img, label


class FaceNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 48, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(48)
        self.conv3 = nn.Conv2d(48, 64, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64 * 4 * 4, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        return self.fc(x.flatten(1))


def main():
    torch.manual_seed(1)
    full = Faces(1400, transform)
    train_ds, val_ds = random_split(full, [1000, 400], generator=torch.Generator().manual_seed(0))
    train_dl = DataLoader(train_ds, batch_size=50, shuffle=True)
    val_dl = DataLoader(val_ds, batch_size=100)

    model = FaceNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(9):
        model.train()
        for xb, yb in train_dl:
            loss = F.cross_entropy(model(xb), yb)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            correct = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val_dl)
        print(f"Epoch {epoch}: train loss {loss.item():.4f}, validation accuracy {correct / len(val_ds):.4f}")


if __name__ == "__main__":
    main()
