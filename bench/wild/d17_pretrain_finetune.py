"""Rotation-pretext pretraining, then gentle fine-tuning with a small rate for the encoder.

style: self-supervised pretraining, parameter groups, EMA of weights
fault: none
broken: n/a
mended: 0.986
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter
from torch import nn

SIDE = 32


def glyph(kind, rng):
    """An arrow, a house, a cup, a key or a flag: things with an upright position."""
    im = Image.new("L", (64, 64), int(rng.uniform(0, 70)))
    d = ImageDraw.Draw(im)
    ink = int(rng.uniform(140, 255))
    s = rng.uniform(0.8, 1.2)
    ox, oy = rng.uniform(-6, 6, 2)

    def P(*pts):
        return [(32 + ox + s * (a - 32), 32 + oy + s * (b - 32)) for a, b in pts]

    if kind == 0:
        d.polygon(P((32, 12), (46, 30), (18, 30)), fill=ink)
        d.line(P((32, 30), (32, 50)), fill=ink, width=5)
    elif kind == 1:
        d.polygon(P((32, 14), (50, 30), (14, 30)), fill=ink)
        d.rectangle(P((20, 30), (44, 50)), fill=ink)
        d.rectangle(P((29, 40), (36, 50)), fill=20)
    elif kind == 2:
        d.polygon(P((18, 20), (44, 20), (40, 48), (22, 48)), fill=ink)
        d.arc([*P((38, 24))[0], *P((54, 40))[0]], -90, 90, fill=ink, width=4)
    elif kind == 3:
        d.ellipse([*P((22, 12))[0], *P((42, 32))[0]], outline=ink, width=5)
        d.line(P((32, 32), (32, 52)), fill=ink, width=4)
        d.line(P((32, 50), (42, 50)), fill=ink, width=4)
    else:
        d.line(P((20, 12), (20, 52)), fill=ink, width=4)
        d.polygon(P((20, 14), (46, 22), (20, 32)), fill=ink)
    im = im.rotate(rng.uniform(-12, 12), fillcolor=im.getpixel((1, 1)))
    im = im.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2))).resize((SIDE, SIDE))
    return np.asarray(im, np.float32) + rng.normal(0, 45, (SIDE, SIDE))


def drawings(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, n)
    x = np.stack([glyph(k, rng) for k in y])[:, None]
    return torch.tensor((x - 70) / 75, dtype=torch.float32), torch.tensor(y)


def encoder():
    layers, c = [], 1
    for o in (16, 32, 64):
        layers += [nn.Conv2d(c, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        c = o
    return nn.Sequential(
        *layers,
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    )


def rotate_each(x):
    k = torch.randint(0, 4, (len(x),))
    out = torch.stack([torch.rot90(im, int(r), (1, 2)) for im, r in zip(x, k)])
    return out, k


def score(net, x, y):
    net.eval()
    with torch.no_grad():
        z = torch.cat([net(c) for c in x.split(100)])
    return F.cross_entropy(z, y).item(), (z.argmax(1) == y).float().mean().item()


def main():
    torch.set_num_threads(1)
    torch.manual_seed(4)
    pool, _ = drawings(1600, 100)
    xl, yl = drawings(300, 101)
    xv, yv = drawings(500, 102)

    enc = encoder()
    pretext = nn.Sequential(enc, nn.Linear(256, 4))
    opt = torch.optim.SGD(pretext.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for ep in range(4):
        pretext.train()
        run = 0.0
        for idx in torch.randperm(len(pool)).view(-1, 40):
            xb, kb = rotate_each(pool[idx])
            loss = F.cross_entropy(pretext(xb), kb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            run += loss.item() / 40
        xr, kr = rotate_each(xv)
        pl, pa = score(pretext, xr, kr)
        print(f"pretext epoch {ep} loss {run:.3f} val_loss {pl:.3f} val_acc {pa:.3f}", flush=True)

    net = nn.Sequential(enc, nn.Dropout(0.5), nn.Linear(256, 5))
    ema = copy.deepcopy(net)
    opt = torch.optim.AdamW(
        [{"params": net[0].parameters(), "lr": 1e-4}, {"params": net[2].parameters(), "lr": 3e-3}], weight_decay=0.05
    )
    for ep in range(16):
        net.train()
        run = 0.0
        for idx in torch.randperm(len(xl)).view(-1, 30):
            xb = xl[idx]
            xb = torch.roll(xb, (int(torch.randint(-3, 4, ())), int(torch.randint(-3, 4, ()))), (2, 3))
            loss = F.cross_entropy(net(xb), yl[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            run += loss.item() / 10
            with torch.no_grad():
                for a, b in zip(ema.parameters(), net.parameters()):
                    a.lerp_(b, 0.1)
                for a, b in zip(ema.buffers(), net.buffers()):
                    a.copy_(b)
        vl, va = score(ema, xv, yv)
        print(f"finetune epoch {ep} loss {run:.3f} val_loss {vl:.3f} val_acc {va:.3f}", flush=True)


if __name__ == "__main__":
    main()
