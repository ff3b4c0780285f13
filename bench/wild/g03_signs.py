"""Junction signs for my son's model-railway town: the camera car should know where each sign sends it.

style: fastai DataBlock from folders, aug_transforms, custom small net
fault: label-changing-augmentation
broken: 0.644
mended: 1.000
"""

import math
import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from fastai.vision.all import *

set_seed(5, reproducible=True)
KINDS = ["keep_left", "keep_right", "left_turn", "right_turn", "straight", "stop"]


def paint(kind, rng):
    s = 96
    im = Image.new("RGB", (s, s), tuple(rng.randrange(40, 190) for _ in range(3)))
    d = ImageDraw.Draw(im)
    for _ in range(6):
        x, y = rng.randrange(s), rng.randrange(s)
        d.rectangle(
            [x, y, x + rng.randrange(5, 40), y + rng.randrange(5, 40)],
            fill=tuple(rng.randrange(20, 200) for _ in range(3)),
        )
    c, r = s // 2 + rng.randrange(-8, 9), rng.randrange(28, 38)
    cy = s // 2 + rng.randrange(-8, 9)
    blue = (20 + rng.randrange(40), 50 + rng.randrange(40), 150 + rng.randrange(80))
    d.ellipse([c - r, cy - r, c + r, cy + r], fill=blue if kind != "stop" else (190, 30, 30))
    w = rng.randrange(6, 10)
    ink = (235, 235, 235)
    k = r * 0.6

    def head(x, y, ang):
        p = [(x + math.cos(ang + t) * l, y + math.sin(ang + t) * l) for t, l in ((0, 11), (2.3, 11), (-2.3, 11))]
        d.polygon(p, fill=ink)

    side = -1 if kind.startswith(("keep_left", "left")) else 1
    if kind in ("left_turn", "right_turn"):
        d.line(
            [(c - side * k * 0.5, cy + k), (c - side * k * 0.5, cy - k * 0.2), (c + side * k * 0.5, cy - k * 0.2)],
            fill=ink,
            width=w,
        )
        head(c + side * k * 0.6, cy - k * 0.2, 0 if side > 0 else math.pi)
    elif kind.startswith("keep"):
        d.line([(c - side * k * 0.6, cy - k * 0.6), (c + side * k * 0.4, cy + k * 0.5)], fill=ink, width=w)
        head(c + side * k * 0.5, cy + k * 0.6, math.pi / 4 if side > 0 else 3 * math.pi / 4)
    elif kind == "straight":
        d.line([(c, cy + k), (c, cy - k * 0.4)], fill=ink, width=w)
        head(c, cy - k * 0.6, -math.pi / 2)
    else:
        d.rectangle([c - k, cy - w // 2, c + k, cy + w // 2], fill=ink)
    a = np.asarray(im.resize((48, 48)), np.float32) + np.random.default_rng(rng.randrange(10**6)).normal(
        0, 14, (48, 48, 3)
    )
    return Image.fromarray(a.clip(0, 255).astype("uint8"))


def make_folders(root):
    rng = random.Random(5)
    for part, n in (("train", 170), ("valid", 60)):
        for kind in KINDS:
            (root / part / kind).mkdir(parents=True)
            for i in range(n):
                paint(kind, rng).save(root / part / kind / f"{i:04d}.png")


def net(n_out):
    return nn.Sequential(
        ConvLayer(3, 16, ks=5, stride=2),
        ConvLayer(16, 32),
        ConvLayer(32, 48, stride=2),
        ConvLayer(48, 64, stride=2),
        nn.AdaptiveAvgPool2d(3),
        Flatten(),
        nn.Linear(64 * 9, n_out),
    )


with tempfile.TemporaryDirectory() as tmp:
    root = Path(tmp)
    make_folders(root)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=parent_label,
        splitter=GrandparentSplitter("train", "valid"),
        batch_tfms=[
            *aug_transforms(max_rotate=8.0, max_zoom=1.08, max_warp=0.08),
            Normalize.from_stats(*imagenet_stats),
        ],
    )
    dls = block.dataloaders(root, bs=48, num_workers=0)
    learn = Learner(dls, net(dls.c), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(11, 6e-3)
        val = learn.validate()
    print("accuracy on the held-out signs:", round(float(val[1]), 3))
