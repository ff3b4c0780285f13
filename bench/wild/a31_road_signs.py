"""Road signs: turn left, turn right, keep straight on, bend to the left or to the right.

style: tutorial with v2 transforms and label names
fault: label-changing-augmentation
broken: 0.96
mended: 1.00
"""

import random

import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2 as T

SIGNS = ["left", "right", "straight", "bend left", "bend right"]


def sign(name, rng):
    img = Image.new("RGB", (44, 44), tuple(rng.randint(60, 170) for _ in range(3)))
    d = ImageDraw.Draw(img)
    blue = (rng.randint(0, 60), rng.randint(40, 90), rng.randint(130, 220))
    d.ellipse((4, 4, 40, 40), fill=blue)
    w = (235, 235, 235)
    if name == "straight":
        d.line((22, 34, 22, 14), fill=w, width=4)
        d.polygon([(15, 17), (29, 17), (22, 8)], fill=w)
    elif name in ("left", "right"):
        d.line((10, 22, 28, 22), fill=w, width=4)
        d.polygon([(26, 15), (26, 29), (35, 22)], fill=w)
    else:
        d.line((17, 34, 17, 20), fill=w, width=4)
        d.line((15, 20, 28, 20), fill=w, width=4)
        d.polygon([(26, 13), (26, 27), (34, 20)], fill=w)
    if "left" in name:
        img = ImageOps.mirror(img)
    img = img.rotate(rng.uniform(-12, 12), Image.BILINEAR, translate=(rng.randint(-4, 4), rng.randint(-4, 4)))
    return img.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))


class RoadSigns(Dataset):
    def __init__(self, n, seed, transform):
        rng = random.Random(seed)
        self.transform = transform
        self.targets = [rng.randrange(len(SIGNS)) for _ in range(n)]
        self.images = [sign(SIGNS[t], rng) for t in self.targets]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        return self.transform(self.images[i]), self.targets[i]


to_input = [T.ToImage(), T.ToDtype(torch.float32, scale=True), T.Normalize([0.4, 0.42, 0.5], [0.25, 0.22, 0.2])]
train_tf = T.Compose([T.RandomHorizontalFlip(), T.RandomCrop(44, padding=3), T.ColorJitter(0.2, 0.2), *to_input])
test_tf = T.Compose(to_input)


def make_model():
    def conv(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))

    return nn.Sequential(
        conv(3, 16), conv(16, 32), conv(32, 48), nn.Flatten(), nn.Linear(48 * 25, 64), nn.ReLU(), nn.Linear(64, 5)
    )


def train_epoch(model, loader, criterion, optimizer):
    model.train()
    epoch_loss = 0.0
    for images, targets in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), targets)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * images.shape[0]
    return epoch_loss / len(loader.dataset)


@torch.no_grad()
def per_class_accuracy(model, loader):
    model.eval()
    hits, totals = torch.zeros(len(SIGNS)), torch.zeros(len(SIGNS))
    for images, targets in loader:
        right = model(images).argmax(1) == targets
        for k in range(len(SIGNS)):
            hits[k] += right[targets == k].sum()
            totals[k] += (targets == k).sum()
    return hits / totals, (hits.sum() / totals.sum()).item()


if __name__ == "__main__":
    torch.manual_seed(0)
    train_loader = DataLoader(RoadSigns(1000, 0, train_tf), batch_size=32, shuffle=True)
    test_loader = DataLoader(RoadSigns(600, 1, test_tf), batch_size=100)
    model = make_model()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(7):
        loss = train_epoch(model, train_loader, criterion, optimizer)
        each, overall = per_class_accuracy(model, test_loader)
        detail = "  ".join(f"{name} {a:.2f}" for name, a in zip(SIGNS, each.tolist(), strict=True))
        print(f"epoch {epoch}: loss {loss:.3f}, accuracy {overall:.3f}  ({detail})")
