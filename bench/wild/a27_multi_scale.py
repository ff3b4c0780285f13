"""Which of the two symbols is the larger one? Features of three scales are pooled and joined.

style: nested model classes, research code
fault: detached-graph
broken: 0.78
mended: 1.00
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, TensorDataset


def symbol(d, kind, x, y, r, ink):
    if kind == 0:
        d.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    elif kind == 1:
        d.rectangle((x - r, y - r, x + r, y + r), fill=ink)
    elif kind == 2:
        d.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
    else:
        d.line((x - r, y - r, x + r, y + r), fill=ink, width=3)
        d.line((x - r, y + r, x + r, y - r), fill=ink, width=3)


def pictures(n, seed):
    """Class: which of the four symbols is the larger one of the two."""
    rng = np.random.default_rng(seed)
    xs, ys = [], []
    for _ in range(n):
        a, b = rng.choice(4, 2, replace=False)
        img = Image.new("L", (48, 48), int(rng.integers(0, 80)))
        d = ImageDraw.Draw(img)
        big, small = rng.uniform(8, 10), rng.uniform(4, 6)
        left = rng.random() < 0.5
        places = [(13, rng.uniform(14, 34)), (36, rng.uniform(14, 34))]
        first, second = (0, 1) if left else (1, 0)
        symbol(d, a, *places[first], big, int(rng.integers(140, 255)))
        symbol(d, b, *places[second], small, int(rng.integers(140, 255)))
        xs.append((np.asarray(img, np.float32) / 255 - 0.25) / 0.25)
        ys.append(int(a))
    return TensorDataset(torch.tensor(np.stack(xs)).unsqueeze(1), torch.tensor(ys))


class ConvBlock(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.conv = nn.Conv2d(in_ch, out_ch, 3, padding=1, stride=2)
        self.norm = nn.GroupNorm(4, out_ch)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class Encoder(nn.Module):
    def __init__(self, widths=(16, 32, 48)):
        super().__init__()
        self.blocks = nn.ModuleList([ConvBlock(a, b) for a, b in zip((1, *widths), widths)])
        self.out_features = sum(widths)

    def forward(self, x):
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


class PyramidClassifier(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.encoder = Encoder()
        self.proj = nn.Linear(self.encoder.out_features, 64)
        self.head = nn.Linear(64, n_classes)

    def forward(self, x):
        pooled = [m.detach().amax(dim=(2, 3)) for m in self.encoder(x)]
        h = torch.relu(self.proj(torch.cat(pooled, dim=1)))
        return self.head(h)


def main():
    torch.manual_seed(9)
    train = DataLoader(pictures(1600, 0), batch_size=40, shuffle=True)
    val = DataLoader(pictures(600, 1), batch_size=100)
    model = PyramidClassifier(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(9):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            acc = sum((model(x).argmax(1) == y).sum().item() for x, y in val) / len(val.dataset)
        print(f"epoch {epoch:>2} loss {loss.item():.3f} acc {acc:.3f}")


if __name__ == "__main__":
    main()
