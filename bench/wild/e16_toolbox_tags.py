"""Which tools are in the drawer: several tags per picture.

style: multi-label, own Dataset drawn on the fly from seeds, micro-F1, AdamW + cosine
fault: wrong-head
accept: softmax-before-loss
broken: 0.388
mended: 0.999
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

TAGS = ["nail", "nut", "washer", "key", "plate"]


class Drawer(Dataset):
    """One picture for each seed; between one and four of the five tools lie in it."""

    def __init__(self, seeds, mean=0.69, std=0.19):
        self.items = [self.draw(np.random.default_rng(s)) for s in seeds]
        self.mean, self.std = mean, std

    @staticmethod
    def draw(rng):
        size = 48
        im = Image.new("L", (size, size), int(rng.integers(150, 220)))
        d = ImageDraw.Draw(im)
        present = rng.choice(5, rng.integers(1, 5), replace=False)
        cells = rng.permutation(9)
        for tag, cell in zip(present, cells):
            x = 9 + (cell % 3) * 15 + int(rng.integers(-2, 3))
            y = 9 + (cell // 3) * 15 + int(rng.integers(-2, 3))
            ink = int(rng.integers(20, 90))
            if tag == 0:
                d.line([x - 6, y + 5, x + 6, y - 5], fill=ink, width=2)
            elif tag == 1:
                d.polygon(
                    [(x - 6, y), (x - 3, y - 5), (x + 3, y - 5), (x + 6, y), (x + 3, y + 5), (x - 3, y + 5)], fill=ink
                )
                d.ellipse([x - 2, y - 2, x + 2, y + 2], fill=190)
            elif tag == 2:
                d.ellipse([x - 6, y - 6, x + 6, y + 6], outline=ink, width=2)
            elif tag == 3:
                d.ellipse([x - 6, y - 3, x, y + 3], fill=ink)
                d.line([x, y, x + 7, y], fill=ink, width=2)
                d.line([x + 5, y, x + 5, y + 4], fill=ink, width=2)
            else:
                d.rectangle([x - 6, y - 4, x + 6, y + 4], fill=ink)
        a = np.asarray(im, np.float32) + rng.normal(0, 26, (size, size))
        y = np.zeros(5, np.float32)
        y[present] = 1
        return (a / 255).astype(np.float32), y

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        a, y = self.items[i]
        return torch.from_numpy((a - self.mean) / self.std)[None], torch.from_numpy(y)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        c = [1, 16, 32, 48]
        self.body = nn.Sequential(
            *[
                m
                for i, o in zip(c, c[1:])
                for m in (nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))
            ],
            nn.Conv2d(48, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.tags = nn.Sequential(nn.Linear(64, len(TAGS)), nn.Softmax(dim=1))

    def forward(self, x):
        return self.tags(self.body(x))


def micro_f1(prob, target):
    pred = prob > 0.5
    true = target > 0.5
    tp = (pred & true).sum().item()
    return 2 * tp / max(pred.sum().item() + true.sum().item(), 1)


def main():
    torch.manual_seed(16)
    train = DataLoader(Drawer(range(1600)), batch_size=40, shuffle=True)
    val = DataLoader(Drawer(range(10_000, 10_500)), batch_size=100)
    model = Tagger()
    criterion = nn.BCELoss()
    epochs = 9
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for x, y in train:
            opt.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            opt.step()
            total += loss.item() * len(y)
        sched.step()
        model.eval()
        with torch.no_grad():
            out = [(model(x), y) for x, y in val]
        f1 = micro_f1(torch.cat([p for p, _ in out]), torch.cat([y for _, y in out]))
        print(f"epoch {epoch + 1}  loss {total / len(train.dataset):.4f}  micro-F1 {f1:.4f}")
    print(f"final micro-F1 {f1:.3f}")


if __name__ == "__main__":
    main()
