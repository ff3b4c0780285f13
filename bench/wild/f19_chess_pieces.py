"""Recognise chess pieces from top-lit board squares.  I warm the classifier up for two epochs with the encoder on
hold, then let everything train, as the fast.ai people do.

style: chess club member, two-phase training, small helper functions
fault: frozen-parameters
broken: 0.230
mended: 0.955
"""

import random

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import DataLoader, TensorDataset

random.seed(64)
np.random.seed(64)
torch.manual_seed(64)

PIECES = ["empty", "pawn", "rook", "knight", "bishop", "queen", "king"]


def square(piece):
    light = random.random() < 0.5
    bg = random.randint(150, 200) if light else random.randint(80, 125)
    fg = random.choice((random.randint(215, 245), random.randint(10, 50)))
    im = Image.new("L", (64, 64), bg)
    d = ImageDraw.Draw(im)
    ox, oy = random.randint(-7, 7), random.randint(-7, 7)

    def poly(*pts):
        d.polygon([(x + ox, y + oy) for x, y in pts], fill=fg)

    def disc(x, y, r):
        d.ellipse([x + ox - r, y + oy - r, x + ox + r, y + oy + r], fill=fg)

    if piece != "empty":
        poly((20, 52), (44, 52), (40, 45), (24, 45))
    if piece == "pawn":
        poly((27, 46), (37, 46), (34, 34), (30, 34))
        disc(32, 30, 6)
    elif piece == "rook":
        poly((25, 46), (39, 46), (38, 26), (26, 26))
        for x in (23, 30, 37):
            poly((x, 26), (x + 4, 26), (x + 4, 18), (x, 18))
    elif piece == "knight":
        poly((25, 46), (40, 46), (41, 30), (34, 16), (20, 28), (22, 33), (31, 30))
    elif piece == "bishop":
        poly((27, 46), (37, 46), (34, 36), (30, 36))
        poly((32, 13), (40, 28), (32, 38), (24, 28))
    elif piece == "queen":
        poly((25, 46), (39, 46), (46, 20), (37, 33), (32, 15), (27, 33), (18, 20))
    elif piece == "king":
        poly((25, 46), (39, 46), (42, 28), (22, 28))
        poly((30, 28), (34, 28), (34, 12), (30, 12))
        poly((26, 20), (38, 20), (38, 16), (26, 16))
    im = im.rotate(random.uniform(-25, 25), fillcolor=bg).filter(ImageFilter.GaussianBlur(1))
    a = np.asarray(im.resize((32, 32), Image.BILINEAR), np.float32)
    return a + np.random.normal(0, 10, a.shape) + np.random.uniform(-15, 15) * np.linspace(-1, 1, 32)


def boards(n):
    y = np.random.randint(0, len(PIECES), n)
    x = np.stack([square(PIECES[k]) for k in y])[:, None]
    return TensorDataset(torch.tensor((x - 130) / 60, dtype=torch.float32), torch.tensor(y))


class PieceNet(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [1, 16, 24, 32, 32]
        layers = []
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            layers += [nn.Conv2d(a, b, 3, padding=1, stride=1 if i == 0 else 2), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.fc = nn.Linear(32 * 4, len(PIECES))

    def forward(self, x):
        h = nn.functional.adaptive_avg_pool2d(self.encoder(x), 2)
        return self.fc(h.flatten(1))


def hold(module):
    for p in module.parameters():
        p.requires_grad = False


def release(module):
    for m in module.modules():
        m.requires_grad = True


def run_epochs(net, loaders, opt, n, tag):
    for e in range(n):
        net.train()
        total = 0.0
        for x, y in loaders["train"]:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            total += loss.item()
        print(f"{tag} {e + 1}/{n}: loss {total / len(loaders['train']):.3f}, accuracy {test(net, loaders['test']):.3f}")


def test(net, loader):
    net.eval()
    right = count = 0
    with torch.no_grad():
        for x, y in loader:
            right += int((net(x).argmax(1) == y).sum())
            count += len(y)
    return right / count


loaders = {
    "train": DataLoader(boards(2100), batch_size=42, shuffle=True),
    "test": DataLoader(boards(560), batch_size=140),
}
net = PieceNet()
opt = torch.optim.Adam(net.parameters(), lr=2e-3)

hold(net.encoder)
run_epochs(net, loaders, opt, 2, "warm-up")
release(net.encoder)
run_epochs(net, loaders, opt, 22, "all layers")
print("accuracy on unseen squares", test(net, loaders["test"]))
