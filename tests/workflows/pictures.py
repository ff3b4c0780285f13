"""Pictures with coarse and fine structure, written as files, and a progress that remembers what it was told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def clouds(seed: int, *, width: int = 96, height: int = 80) -> Image.Image:
    """Coloured noise at every scale: no two are alike, and each has detail to tell its copies by."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        for side in (3, 6, 12, 24)
    ]
    return Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))


def put(path: Path, image: Image.Image, **options: object) -> Path:
    """Write an image that was last changed long ago, so that scans remember it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    os.utime(path, (1.7e9, 1.7e9))
    return path


def plant(root: Path, *, train: int = 12, val: int = 6) -> Path:
    """Two classes in two splits; one fault of each kind; names with spaces and umlauts."""
    seeds = iter(range(10_000))
    for split, count in (("train", train), ("val", val)):
        for name in ("cat", "Löwe & co"):
            for number in range(count):
                put(root / split / name / f"bild {number}.jpg", clouds(next(seeds)), quality=90)
    cats, lions = root / "train" / "cat", root / "train" / "Löwe & co"
    put(cats / "renamed.jpg", clouds(500), format="PNG")
    whole = put(cats / "cut.jpg", clouds(501)).read_bytes()
    (cats / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (cats / "empty.jpg").touch()
    (cats / "exact.jpg").write_bytes((cats / "bild 0.jpg").read_bytes())
    put(root / "val" / "cat" / "near ü.jpg", Image.open(cats / "bild 1.jpg").crop((5, 4, 91, 76)))
    put(lions / "conflict.jpg", ImageOps.mirror(Image.open(cats / "bild 2.jpg")))
    put(lions / "blank.png", Image.new("RGB", (96, 80), (128, 128, 128)))
    for path in root.rglob("*.jpg"):
        os.utime(path, (1.7e9, 1.7e9))
    return root


class Told:
    """A console that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def advance(self, label: str, done: int, total: int, detail: object = None) -> None:
        self.steps.append(label)

    def epoch(self, row: object) -> None: ...
