"""I photograph groceries for a shopping helper. There were too few pictures, so I first made several variants of each, then followed chapter 1 of the fastai book.

style: fastai notebook turned script, DataBlock from folders
fault: split-leakage
broken: 0.964
mended: 0.832
"""

import os
import random
import tempfile
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps
from fastai.vision.all import *

SHARED = Path(os.environ["FOVEA_SHARED"])
GROCERY = SHARED / "data" / "grocery"
WANTED = {
    "Apple",
    "Pear",
    "Orange",
    "Melon",
    "Plum",
    "Pepper",
    "Tomato",
    "Potato",
    "Juice",
    "Milk",
    "Yoghurt",
    "Banana",
}


def originals(per_class=26):
    by_class = {}
    for line in open(GROCERY / "train.txt"):
        f = line.split(",")[0].strip()
        kind = f.split("/")[2]
        if kind in WANTED:
            by_class.setdefault(kind, []).append(f)
    for kind in sorted(by_class):
        files = sorted(by_class[kind])
        random.Random(kind).shuffle(files)
        for f in files[:per_class]:
            yield kind, f


def variants(im, rng):
    im = ImageOps.fit(im.convert("RGB"), (88, 88))
    yield im.resize((64, 64))
    for _ in range(4):
        v = im.rotate(rng.uniform(-12, 12), resample=Image.BILINEAR)
        x, y = rng.randrange(6, 12), rng.randrange(6, 12)
        v = v.crop((x, y, x + 70, y + 70)).resize((64, 64))
        v = ImageEnhance.Brightness(v).enhance(rng.uniform(0.75, 1.25))
        yield ImageOps.mirror(v) if rng.random() < 0.5 else v


def multiply(dest):
    rng = random.Random(21)
    for n, (kind, f) in enumerate(originals()):
        (dest / kind).mkdir(exist_ok=True)
        im = Image.open(GROCERY / f)
        im.draft("RGB", (160, 160))
        for k, v in enumerate(variants(im, rng)):
            v.save(dest / kind / f"photo{n:04d}_{k}.jpg", quality=92)


def small_resnet(n_out):
    return nn.Sequential(
        ConvLayer(3, 24, stride=2),
        ResBlock(1, 24, 32, stride=2),
        ResBlock(1, 32, 64, stride=2),
        ResBlock(1, 64, 96, stride=2),
        nn.AdaptiveAvgPool2d(1),
        Flatten(),
        nn.Linear(96, n_out),
    )


with tempfile.TemporaryDirectory() as tmp:
    path = Path(tmp)
    set_seed(21, reproducible=True)
    multiply(path)
    groceries = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(valid_pct=0.2, seed=42),
        get_y=parent_label,
        batch_tfms=[Normalize.from_stats(*imagenet_stats)],
    )
    dls = groceries.dataloaders(path, bs=48, num_workers=0)
    learn = Learner(dls, small_resnet(dls.c), metrics=accuracy, wd=0.05)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(11, 5e-3)
        loss, acc = learn.validate()
    print(f"{dls.c} kinds, {len(dls.train_ds)} / {len(dls.valid_ds)} pictures, accuracy {acc:.3f}")
