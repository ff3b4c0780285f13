"""Which of six marks is printed on a long label strip? torchvision transforms as in every ImageNet script.

style: Dataset with a transform argument, torchvision pipeline, top-1 function
source: https://github.com/PatrykChrabaszcz/Imagenet32_Scripts/issues/3
fault: bad-resize
broken: 0.63
mended: 1.00
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

torch.set_num_threads(1)
MARKS = ["cross", "ring", "square", "triangle", "chevron", "dots"]


def draw_strip(kind, rng, w=120, h=40):
    img = Image.new("RGB", (w, h), tuple(int(v) for v in rng.integers(170, 240, 3)))
    d = ImageDraw.Draw(img)
    for y in range(4, h, 8):
        d.line((0, y, w, y), fill=tuple(int(v) for v in rng.integers(140, 200, 3)))
    x, y, s = int(rng.integers(2, w - 26)), int(rng.integers(4, h - 28)), int(rng.integers(18, 24))
    ink = tuple(int(v) for v in rng.integers(0, 90, 3))
    if kind == "cross":
        d.line((x, y, x + s, y + s), fill=ink, width=4)
        d.line((x + s, y, x, y + s), fill=ink, width=4)
    elif kind == "ring":
        d.ellipse((x, y, x + s, y + s), outline=ink, width=4)
    elif kind == "square":
        d.rectangle((x, y, x + s, y + s), outline=ink, width=4)
    elif kind == "triangle":
        d.polygon([(x, y + s), (x + s, y + s), (x + s // 2, y)], fill=ink)
    elif kind == "chevron":
        d.line((x, y, x + s // 2, y + s, x + s, y), fill=ink, width=5)
    else:
        for k in range(3):
            d.ellipse((x + k * 8, y + 8, x + k * 8 + 6, y + 14), fill=ink)
    return img


class Strips(Dataset):
    def __init__(self, n, seed, transform):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, len(MARKS), n)
        self.images = [draw_strip(MARKS[k], rng) for k in self.labels]
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(self.images[i]), int(self.labels[i])


def top1(output, target):
    return 100.0 * (output.argmax(1) == target).float().mean().item()


normalize = transforms.Normalize([0.75, 0.75, 0.75], [0.2, 0.2, 0.2])
preprocess = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(40), transforms.ToTensor(), normalize])

if __name__ == "__main__":
    torch.manual_seed(5)
    train_loader = DataLoader(Strips(750, 0, preprocess), batch_size=30, shuffle=True)
    val_loader = DataLoader(Strips(300, 1, preprocess), batch_size=300)
    layers, channels = [], 3
    for width in (16, 32, 48):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(MARKS)))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)
    for epoch in range(9):
        model.train()
        accs = []
        for images, target in train_loader:
            output = model(images)
            loss = criterion(output, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            accs.append(top1(output, target))
        scheduler.step()
        model.eval()
        with torch.no_grad():
            images, target = next(iter(val_loader))
            print(f"Epoch {epoch}  Acc@1 {np.mean(accs):.1f}  Test Acc@1 {top1(model(images), target):.1f}")
