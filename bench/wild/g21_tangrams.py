"""Silhouette cards for my daughter's tangram game, eight shapes. Trying the full timm recipe (mixup, cutmix, BCE targets, weight EMA) on something tiny; the training loss looks awful but the averaged weights do fine.

style: timm Mixup, BinaryCrossEntropy, ModelEmaV3, LAMB, cosine schedule per update
fault: none
mended: 1.000
"""

import math
import random

import numpy as np
import timm
import torch
from PIL import Image, ImageDraw
from timm.data import Mixup
from timm.loss import BinaryCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3, random_seed

SHAPES = ["triangle", "square", "pentagon", "hexagon", "star", "cross", "house", "arrow"]


def outline(name):
    if name in SHAPES[:4]:
        n = 3 + SHAPES.index(name)
        return [(math.cos(2 * math.pi * i / n), math.sin(2 * math.pi * i / n)) for i in range(n)]
    if name == "star":
        return [
            ((1, 0.42)[i % 2] * math.cos(math.pi * i / 5), (1, 0.42)[i % 2] * math.sin(math.pi * i / 5))
            for i in range(10)
        ]
    if name == "cross":
        a = 0.33
        return [
            (a, 1),
            (a, a),
            (1, a),
            (1, -a),
            (a, -a),
            (a, -1),
            (-a, -1),
            (-a, -a),
            (-1, -a),
            (-1, a),
            (-a, a),
            (-a, 1),
        ]
    if name == "house":
        return [(-0.7, 0.8), (0.7, 0.8), (0.7, -0.1), (0, -0.9), (-0.7, -0.1)]
    return [(-1, 0.3), (0.1, 0.3), (0.1, 0.7), (1, 0), (0.1, -0.7), (0.1, -0.3), (-1, -0.3)]


def card(name, rng):
    s = 96
    im = Image.new("RGB", (s, s), tuple(rng.randrange(150, 256) for _ in range(3)))
    d = ImageDraw.Draw(im)
    t, r = rng.uniform(0, 6.28), rng.uniform(24, 38)
    cx, cy = rng.uniform(r, s - r), rng.uniform(r, s - r)
    pts = [
        (cx + r * (x * math.cos(t) - y * math.sin(t)), cy + r * (x * math.sin(t) + y * math.cos(t)))
        for x, y in outline(name)
    ]
    d.polygon(pts, fill=tuple(rng.randrange(0, 120) for _ in range(3)))
    return np.asarray(im.resize((48, 48), Image.BILINEAR))


def deck(n, seed):
    rng = random.Random(seed)
    y = [rng.randrange(8) for _ in range(n)]
    x = np.stack([card(SHAPES[k], rng) for k in y])
    x = torch.from_numpy(x).permute(0, 3, 1, 2).float()
    x = x + 10 * torch.randn_like(x)
    return (x - 170) / 65, torch.tensor(y)


@torch.inference_mode()
def score(model, x, y):
    model.eval()
    return torch.cat([model(b).argmax(1) for b in x.split(128)]).eq(y).float().mean().item()


def main():
    random_seed(14)
    np.random.seed(14)
    x, y = deck(2400, 1)
    xv, yv = deck(600, 2)
    model = timm.create_model("test_resnet", num_classes=8, drop_rate=0.0, drop_path_rate=0.05)
    ema = ModelEmaV3(model, decay=0.97, use_warmup=True)
    mix = Mixup(mixup_alpha=0.2, cutmix_alpha=1.0, prob=0.7, switch_prob=0.3, label_smoothing=0.02, num_classes=8)
    criterion = BinaryCrossEntropy(target_threshold=0.2, sum_classes=True)
    optimizer = create_optimizer_v2(model, opt="lamb", lr=1e-2, weight_decay=0.02)
    batch, epochs = 48, 14
    per_epoch = len(y) // batch
    scheduler = CosineLRScheduler(
        optimizer, t_initial=epochs * per_epoch, lr_min=1e-5, warmup_t=40, warmup_lr_init=1e-5, t_in_epochs=False
    )
    update = 0
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for idx in torch.randperm(len(y))[: per_epoch * batch].split(batch):
            xb, tb = mix(x[idx].clone(), y[idx])
            loss = criterion(model(xb), tb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update += 1
            ema.update(model, step=update)
            scheduler.step_update(update)
            total += loss.item()
        if epoch % 3 == 0:
            print(
                f"epoch {epoch}: loss {total / per_epoch:.3f}, plain {score(model, xv, yv):.3f}, "
                f"ema {score(ema.module, xv, yv):.3f}"
            )
    print(f"cards recognised (ema): {score(ema.module, xv, yv):.3f}")


if __name__ == "__main__":
    main()
