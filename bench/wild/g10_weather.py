"""Which weather icons are on the old newspaper map tiles? Several can be on one tile, many tiles have none, so I use a multi-category block.

style: fastai multi-label DataBlock from a CSV, ranger, flat-cosine, Mish, soft targets
fault: none
mended: 1.000
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from fastai.vision.all import *

set_seed(17, reproducible=True)
ICONS = ["cloud", "fog", "moon", "rain", "snow", "sun"]


def put(d, icon, x, y, ink):
    if icon == "cloud":
        for dx, dy, r in ((-7, 2, 6), (0, -2, 8), (8, 2, 6)):
            d.ellipse([x + dx - r, y + dy - r, x + dx + r, y + dy + r], fill=ink)
    elif icon == "fog":
        for k in (-7, 0, 7):
            d.line([x - 12, y + k, x + 12, y + k], fill=ink, width=3)
    elif icon == "moon":
        d.ellipse([x - 10, y - 10, x + 10, y + 10], fill=ink)
        d.ellipse([x - 4, y - 12, x + 14, y + 8], fill=(225, 222, 205))
    elif icon == "rain":
        for k in (-8, 0, 8):
            d.line([x + k + 3, y - 8, x + k - 3, y + 8], fill=ink, width=3)
    elif icon == "snow":
        for a in range(3):
            t = math.pi * a / 3
            d.line(
                [x - 10 * math.cos(t), y - 10 * math.sin(t), x + 10 * math.cos(t), y + 10 * math.sin(t)],
                fill=ink,
                width=2,
            )
    else:
        d.ellipse([x - 6, y - 6, x + 6, y + 6], fill=ink)
        for a in range(8):
            t = math.pi * a / 4
            d.line(
                [x + 8 * math.cos(t), y + 8 * math.sin(t), x + 13 * math.cos(t), y + 13 * math.sin(t)],
                fill=ink,
                width=2,
            )


def tiles(folder, n):
    rng = np.random.default_rng(17)
    rows = []
    for i in range(n):
        im = Image.new("RGB", (96, 96), (225, 222, 205))
        d = ImageDraw.Draw(im)
        for _ in range(3):
            d.line(sum(([*map(int, p)] for p in rng.integers(0, 96, (5, 2))), []), fill=(170, 165, 150), width=1)
        here = [k for k in ICONS if rng.random() < 0.22]
        spots = [(24, 24), (72, 24), (24, 72), (72, 72), (48, 48)]
        rng.shuffle(spots)
        here = here[:5]
        for k, (x, y) in zip(here, spots):
            put(
                d,
                k,
                x + int(rng.integers(-7, 8)),
                y + int(rng.integers(-7, 8)),
                tuple(int(v) for v in rng.integers(10, 90, 3)),
            )
        a = np.asarray(im.resize((56, 56), Image.BILINEAR), np.float32) + rng.normal(0, 12, (56, 56, 3))
        name = f"tile_{i:04d}.png"
        Image.fromarray(a.clip(0, 255).astype("uint8")).save(folder / name)
        rows.append((name, " ".join(here), i >= int(n * 0.8)))
    return pd.DataFrame(rows, columns=["file", "icons", "held_out"])


class SoftBCE(BCEWithLogitsLossFlat):
    "Pull the targets in by 3 % and weigh the rare positives up"

    def __call__(self, inp, targ, **kw):
        return super().__call__(inp, targ.float() * 0.94 + 0.03, **kw)


def exact_tile(inp, targ, thresh=0.5):
    return ((inp.sigmoid() > thresh) == targ.bool()).all(1).float().mean()


with tempfile.TemporaryDirectory() as tmp:
    folder = Path(tmp)
    df = tiles(folder, 1500)
    block = DataBlock(
        blocks=(ImageBlock, MultiCategoryBlock(vocab=ICONS)),
        get_x=ColReader("file", pref=folder),
        get_y=ColReader("icons", label_delim=" "),
        splitter=ColSplitter("held_out"),
        batch_tfms=[
            *aug_transforms(do_flip=False, max_rotate=5, max_lighting=0.3, max_warp=0),
            Normalize.from_stats([0.84, 0.83, 0.77], [0.16, 0.16, 0.15]),
        ],
    )
    dls = block.dataloaders(df, bs=40, num_workers=0)
    layers = [
        ConvLayer(i, o, stride=s, act_cls=Mish) for i, o, s in ((3, 16, 2), (16, 32, 1), (32, 48, 2), (48, 64, 1))
    ]
    net = nn.Sequential(*layers, AdaptiveConcatPool2d(1), Flatten(), nn.Linear(128, len(ICONS)))
    learn = Learner(
        dls, net, loss_func=SoftBCE(pos_weight=torch.full((6,), 2.0)), opt_func=ranger, wd=0.1, metrics=[exact_tile]
    )
    with learn.no_bar(), learn.no_logging():
        learn.fit_flat_cos(13, 1e-2, pct_start=0.6)
        res = learn.validate()
    print(f"tiles with every icon right: {res[1]:.3f}")
