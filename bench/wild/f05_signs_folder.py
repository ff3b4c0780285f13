"""my son and i made a little road sign recogniser for his lego city. pictures are sorted in folders
(train / val), one folder per sign. training looks great but i want the val score too

style: hobbyist, ImageFolder on disk, all lower case
fault: class-map
broken: 0.250
mended: 1.000
"""

import os
import random
import tempfile

import torch
from PIL import Image, ImageDraw
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

random.seed(8)
torch.manual_seed(8)

RED, BLUE, WHITE, BLACK, YEL = (190, 30, 35), (30, 70, 170), (235, 235, 235), (20, 20, 20), (230, 190, 40)


def sign(kind):
    im = Image.new("RGB", (80, 80), tuple(random.randint(60, 190) for _ in range(3)))
    d = ImageDraw.Draw(im)
    for _ in range(6):
        a, b = random.randint(0, 70), random.randint(0, 70)
        d.rectangle(
            [a, b, a + random.randint(4, 22), b + random.randint(4, 22)],
            fill=tuple(random.randint(40, 210) for _ in range(3)),
        )
    if kind in ("bus_stop", "parking"):
        d.rectangle([14, 14, 66, 66], fill=BLUE)
        if kind == "parking":
            d.rectangle([30, 22, 37, 60], fill=WHITE)
            d.ellipse([30, 22, 54, 44], outline=WHITE, width=6)
        else:
            d.rectangle([22, 28, 58, 50], fill=WHITE)
            d.ellipse([26, 46, 34, 56], fill=BLACK)
            d.ellipse([46, 46, 54, 56], fill=BLACK)
    elif kind in ("crossing", "give_way"):
        pts = [(40, 10), (10, 66), (70, 66)] if kind == "crossing" else [(40, 70), (10, 14), (70, 14)]
        d.polygon(pts, fill=RED)
        cx, cy = sum(p[0] for p in pts) / 3, sum(p[1] for p in pts) / 3
        d.polygon([(cx + (x - cx) * 0.62, cy + (y - cy) * 0.62) for x, y in pts], fill=WHITE)
        if kind == "crossing":
            d.line([40, 36, 40, 58], fill=BLACK, width=5)
    elif kind in ("no_entry", "limit_30", "one_way"):
        d.ellipse([12, 12, 68, 68], fill=BLUE if kind == "one_way" else RED)
        if kind == "no_entry":
            d.rectangle([22, 35, 58, 45], fill=WHITE)
        elif kind == "limit_30":
            d.ellipse([20, 20, 60, 60], fill=WHITE)
            d.text((28, 28), "30", fill=BLACK, font_size=22)
        else:
            d.polygon([(40, 20), (26, 40), (54, 40)], fill=WHITE)
            d.rectangle([36, 40, 44, 60], fill=WHITE)
    elif kind == "priority":
        d.polygon([(40, 8), (72, 40), (40, 72), (8, 40)], fill=WHITE)
        d.polygon([(40, 17), (63, 40), (40, 63), (17, 40)], fill=YEL)
    elif kind == "stop":
        d.polygon([(28, 10), (52, 10), (70, 28), (70, 52), (52, 70), (28, 70), (10, 52), (10, 28)], fill=RED)
        d.rectangle([20, 34, 60, 46], fill=WHITE)
    return im.rotate(random.uniform(-12, 12)).resize((40, 40))


# how many snapshots we have of each sign  (train, val)
SHOTS = {
    "bus_stop": (120, 40),
    "crossing": (120, 40),
    "give_way": (95, 0),
    "limit_30": (120, 40),
    "no_entry": (120, 40),
    "one_way": (120, 40),
    "parking": (120, 40),
    "priority": (120, 40),
    "stop": (120, 40),
}

with tempfile.TemporaryDirectory() as root:
    for name, counts in SHOTS.items():
        for part, n in zip(("train", "val"), counts):
            for i in range(n):
                folder = os.path.join(root, part, name)
                os.makedirs(folder, exist_ok=True)
                sign(name).save(os.path.join(folder, f"{name}_{i:03d}.jpg"), quality=90)

    tf_train = transforms.Compose(
        [transforms.RandomAffine(6, (0.06, 0.06)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
    )
    tf_val = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
    trainset = datasets.ImageFolder(os.path.join(root, "train"), tf_train)
    valset = datasets.ImageFolder(os.path.join(root, "val"), tf_val)
    trainloader = DataLoader(trainset, batch_size=32, shuffle=True)
    valloader = DataLoader(valset, batch_size=64)

    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48 * 4, len(trainset.classes)),
    )
    optimizer = optim.Adam(net.parameters(), lr=0.002)
    loss_fn = nn.CrossEntropyLoss()

    for epoch in range(8):
        net.train()
        ok = 0
        for pics, signs in trainloader:
            optimizer.zero_grad()
            out = net(pics)
            loss_fn(out, signs).backward()
            optimizer.step()
            ok += (out.argmax(1) == signs).sum().item()
        net.eval()
        vok = 0
        with torch.no_grad():
            for pics, signs in valloader:
                vok += (net(pics).argmax(1) == signs).sum().item()
        print("epoch", epoch, "train", round(ok / len(trainset), 3), "val", round(vok / len(valset), 3))

print("val accuracy:", vok / len(valset))
