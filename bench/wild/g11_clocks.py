"""Reading the hour from photos of railway clocks (synthetic for now) with one of timm's small networks.

style: timm create_model, create_optimizer_v2 and create_scheduler_v2, plain loop
fault: weight-decay-high
broken: 0.086
mended: 1.000
"""

import math
import random

import numpy as np
import timm
import torch
from PIL import Image, ImageDraw
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, accuracy, random_seed
from torch.utils.data import DataLoader, TensorDataset


def clock(hour, minute, rng):
    s = 112
    im = Image.new("L", (s, s), rng.randrange(90, 170))
    d = ImageDraw.Draw(im)
    c = s / 2 + rng.uniform(-6, 6)
    r = rng.uniform(40, 48)
    d.ellipse([c - r, c - r, c + r, c + r], fill=rng.randrange(215, 250), outline=20, width=3)
    tilt = rng.gauss(0, 0.04)
    for k in range(12):
        a = k * math.pi / 6 + tilt
        w = 4 if k % 3 == 0 else 2
        d.line(
            [
                c + 0.82 * r * math.sin(a),
                c - 0.82 * r * math.cos(a),
                c + 0.95 * r * math.sin(a),
                c - 0.95 * r * math.cos(a),
            ],
            fill=30,
            width=w,
        )
    m = minute / 60 * 2 * math.pi + tilt
    h = (hour + minute / 60) / 12 * 2 * math.pi + tilt
    d.line([c, c, c + 0.78 * r * math.sin(m), c - 0.78 * r * math.cos(m)], fill=30, width=3)
    d.line([c, c, c + 0.48 * r * math.sin(h), c - 0.48 * r * math.cos(h)], fill=10, width=7)
    return np.asarray(im.resize((56, 56), Image.BILINEAR))


def make(n, seed):
    rng = random.Random(seed)
    xs, ys = [], []
    for _ in range(n):
        hour, minute = rng.randrange(12), rng.choice([0, 5, 10, 15, 20])
        xs.append(clock(hour, minute, rng))
        ys.append(hour)
    x = torch.from_numpy(np.stack(xs)).float()[:, None]
    x = x + 12 * torch.randn(x.shape)
    return TensorDataset((x - 150) / 60, torch.tensor(ys))


def validate(model, loader):
    model.eval()
    top1 = AverageMeter()
    with torch.no_grad():
        for x, y in loader:
            top1.update(accuracy(model(x), y)[0].item(), len(y))
    return top1.avg / 100


def main(epochs=14):
    random_seed(9)
    train = DataLoader(make(1800, 1), batch_size=48, shuffle=True, drop_last=True)
    val = DataLoader(make(500, 2), batch_size=100)
    model = timm.create_model("test_resnet", pretrained=False, in_chans=1, num_classes=12)
    optimizer = create_optimizer_v2(model, "sgd", 0.05, 0.9)
    scheduler, epochs = create_scheduler_v2(optimizer, "cosine", num_epochs=epochs, min_lr=1e-4)
    criterion = LabelSmoothingCrossEntropy(0.05)
    for epoch in range(epochs):
        model.train()
        losses = AverageMeter()
        for x, y in train:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(y))
        scheduler.step(epoch + 1)
        if epoch % 2:
            print(f"epoch {epoch}: loss {losses.avg:.3f} val {validate(model, val):.3f}")
    print(f"hour read right: {validate(model, val):.3f}")


if __name__ == "__main__":
    main()
