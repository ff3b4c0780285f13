"""Urine test strips from the ward: eight reagent pads in a row, six findings to tell apart. I photograph them lying flat, so the pictures are wide.

style: fastai vision DataBlock, item and batch transforms as in the tutorial, ResBlocks
fault: bad-resize
broken: 0.193
mended: 0.998
"""

import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from fastai.vision.all import *

PADS = ["leu", "nit", "uro", "pro", "ph", "blo", "ket", "glu"]
REST = [
    (225, 215, 185),
    (240, 235, 215),
    (240, 205, 180),
    (215, 220, 120),
    (230, 150, 60),
    (220, 190, 70),
    (215, 190, 170),
    (110, 190, 190),
]
FULL = [
    (120, 90, 150),
    (230, 120, 150),
    (210, 100, 110),
    (90, 150, 120),
    (60, 110, 90),
    (50, 100, 60),
    (120, 30, 80),
    (110, 70, 40),
]
FINDINGS = {
    "normal": [],
    "infection": ["leu", "nit"],
    "protein": ["pro"],
    "haematuria": ["blo"],
    "ketosis": ["ket"],
    "diabetes": ["glu"],
}


def strip(finding, rng):
    w, h = 400, 72
    im = Image.new("RGB", (w, h), tuple(rng.randrange(150, 200) for _ in range(3)))
    d = ImageDraw.Draw(im)
    x0, y0 = 12 + rng.randrange(-6, 7), 20 + rng.randrange(-6, 7)
    d.rectangle([x0 - 6, y0, w - 8, y0 + 32], fill=(246, 246, 242))
    for i, pad in enumerate(PADS):
        amount = rng.uniform(0.45, 0.9) if pad in FINDINGS[finding] else rng.uniform(0, 0.12)
        c = tuple(int(a + (b - a) * amount + rng.gauss(0, 7)) for a, b in zip(REST[i], FULL[i]))
        x = x0 + 6 + i * 46
        d.rectangle([x, y0 + 3, x + 26, y0 + 29], fill=c)
    a = np.asarray(im, np.float32) * rng.uniform(0.85, 1.1)
    a += np.random.default_rng(rng.randrange(2**31)).normal(0, 9, a.shape)
    return Image.fromarray(a.clip(0, 255).astype("uint8"))


def ward(root, per=200):
    rng = random.Random(55)
    for f in FINDINGS:
        (root / f).mkdir()
        for i in range(per):
            strip(f, rng).save(root / f / f"{i:03d}.jpg", quality=90)


def main():
    set_seed(55, reproducible=True)
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)
        ward(root)
        strips = DataBlock(
            blocks=(ImageBlock, CategoryBlock),
            get_items=get_image_files,
            get_y=parent_label,
            splitter=RandomSplitter(0.35, seed=3),
            item_tfms=Resize(64),
            batch_tfms=[Brightness(0.15, p=0.5), Normalize.from_stats(*imagenet_stats)],
        )
        dls = strips.dataloaders(root, bs=40, num_workers=0)
        net = nn.Sequential(
            ConvLayer(3, 12, stride=2),
            ConvLayer(12, 24, stride=2),
            ResBlock(1, 24, 32),
            ResBlock(1, 32, 64, stride=2),
            nn.AdaptiveAvgPool2d((1, 4)),
            Flatten(),
            nn.Linear(256, dls.c),
        )
        learn = Learner(dls, net, loss_func=LabelSmoothingCrossEntropyFlat(), metrics=[accuracy], wd=1e-2)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(7, 6e-3)
        print("accuracy %.3f" % learn.validate()[1])


if __name__ == "__main__":
    main()
