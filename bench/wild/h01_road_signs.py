"""I'm building a little driver-assist demo for our maker fair and want to recognise 43 kinds of road
sign drawn at 32 px. I augmented the way every image tutorial does it.

style: hobbyist, one long file, PIL drawing, torchvision transforms
fault: label-changing-augmentation
broken: 0.798
mended: 1.000
"""

import random

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

SEED = 43
random.seed(SEED)
np.random.seed(SEED)
torch.manual_seed(SEED)

RED, BLUE, WHITE, BLACK, YELLOW = (190, 25, 30), (20, 70, 170), (240, 240, 240), (15, 15, 15), (235, 190, 20)


def arrow(d, c):
    d.line([(20, 32), (44, 32)], fill=c, width=6)
    d.polygon([(40, 22), (52, 32), (40, 42)], fill=c)


def bent(d, c):
    d.line([(24, 48), (24, 28), (40, 28)], fill=c, width=6)
    d.polygon([(38, 19), (50, 28), (38, 37)], fill=c)


def diagonal(d, c):
    d.line([(22, 20), (40, 42)], fill=c, width=6)
    d.polygon([(46, 34), (46, 49), (31, 46)], fill=c)


def curve(d, c):
    d.arc([24, 26, 52, 62], 180, 270, fill=c, width=5)
    d.polygon([(36, 20), (46, 27), (36, 34)], fill=c)


def side_road(d, c):
    d.line([(32, 24), (32, 52)], fill=c, width=6)
    d.line([(32, 38), (44, 38)], fill=c, width=5)


def text(s):
    def draw(d, c):
        f = ImageFont.load_default(size=26 if len(s) < 3 else 18)
        d.text((32, 33), s, fill=c, font=f, anchor="mm")

    return draw


# (plate, glyph, mirrored)
CLASSES = []
for g in (arrow, bent, diagonal):
    CLASSES += [("disc", g, False), ("disc", g, True)]
for g in (curve, side_road):
    CLASSES += [("triangle", g, False), ("triangle", g, True)]
for g in (arrow, bent):
    CLASSES += [("diamond", g, False), ("diamond", g, True)]
CLASSES += [("ring", bent, False), ("ring", bent, True)]
CLASSES += [("ring", text(s), False) for s in ("20", "30", "50", "60", "70", "80", "100", "120")]
CLASSES += [("triangle", text(s), False) for s in ("!", "A", "X", "=", "V", "O")]
CLASSES += [("diamond", text(s), False) for s in ("1", "2", "4", "7", "W")]
CLASSES += [("square", text(s), False) for s in ("P", "H", "i", "M")]
CLASSES += [("ring", text(s), False) for s in ("T", "-", "#", "Z")]
assert len(CLASSES) == 43, len(CLASSES)


def draw_sign(k):
    plate, glyph, mirrored = CLASSES[k]
    im = Image.new("RGB", (64, 64), tuple(np.random.randint(60, 170, 3).tolist()))
    face = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    d = ImageDraw.Draw(face)
    ink = BLACK
    if plate == "disc":
        d.ellipse([4, 4, 60, 60], fill=BLUE)
        ink = WHITE
    elif plate == "square":
        d.rectangle([5, 5, 59, 59], fill=BLUE)
        ink = WHITE
    elif plate == "ring":
        d.ellipse([4, 4, 60, 60], fill=RED)
        d.ellipse([11, 11, 53, 53], fill=WHITE)
    elif plate == "diamond":
        d.polygon([(32, 0), (64, 32), (32, 64), (0, 32)], fill=YELLOW)
    else:
        d.polygon([(32, 2), (63, 60), (1, 60)], fill=RED)
        d.polygon([(32, 14), (54, 55), (10, 55)], fill=WHITE)
    glyph(d, ink)
    if mirrored:
        face = ImageOps.mirror(face)
    face = face.rotate(
        random.uniform(-8, 8), resample=Image.BILINEAR, translate=(random.randint(-3, 3), random.randint(-3, 3))
    )
    im.paste(face, (0, 0), face)
    a = np.asarray(im.resize((32, 32), Image.BILINEAR)).astype(np.float32)
    a = a * random.uniform(0.55, 1.1) + np.random.randn(32, 32, 3) * 7
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))


class Signs(Dataset):
    def __init__(self, per_class, tf):
        self.items = [(draw_sign(k), k) for k in range(43) for _ in range(per_class)]
        self.tf = tf

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        im, k = self.items[i]
        return self.tf(im), k


normalize = T.Normalize([0.45, 0.42, 0.42], [0.25, 0.25, 0.25])
train_tf = T.Compose(
    [
        T.RandomCrop(32, padding=3, padding_mode="edge"),
        T.RandomHorizontalFlip(),
        T.ColorJitter(0.2, 0.2),
        T.ToTensor(),
        normalize,
    ]
)
test_tf = T.Compose([T.ToTensor(), normalize])
train_loader = DataLoader(Signs(44, train_tf), batch_size=64, shuffle=True)
test_loader = DataLoader(Signs(16, test_tf), batch_size=256)


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


net = nn.Sequential(
    conv(3, 16),
    nn.MaxPool2d(2),
    conv(16, 32),
    conv(32, 32),
    nn.MaxPool2d(2),
    conv(32, 64),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(64 * 16, 43),
)
opt = torch.optim.Adam(net.parameters(), lr=2e-3)
EPOCHS = 13
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, EPOCHS)
loss_fn = nn.CrossEntropyLoss()

for ep in range(EPOCHS):
    net.train()
    tot = 0.0
    for x, y in train_loader:
        opt.zero_grad()
        loss = loss_fn(net(x), y)
        loss.backward()
        opt.step()
        tot += loss.item() * len(y)
    sched.step()
    net.eval()
    good = 0
    with torch.no_grad():
        for x, y in test_loader:
            good += (net(x).argmax(1) == y).sum().item()
    print(
        f"epoch {ep + 1:2d}  loss {tot / len(train_loader.dataset):.3f}  test acc {good / len(test_loader.dataset):.3f}"
    )
print("final accuracy", round(good / len(test_loader.dataset), 4))
