"""What each random change costs an image, in milliseconds of one core.

    .venv/bin/python bench/augmenting.py [--size 224] [--images 100] [--repeats 5]

Photos of noise, 348 x 348, are cropped and resized to the size, with one change switched on at a time; the best of the
repeats counts, since other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from fovea.data.augment import Augment

CHANGES: dict[str, dict[str, float]] = {
    "crop and flip": {},
    "rotate": {"rotate": 10},
    "rotate, shift and shear": {"rotate": 10, "shift": 0.1, "shear": 10},
    "color_jitter": {"color_jitter": 0.3},
    "color_jitter and pca_jitter": {"color_jitter": 0.3, "pca_jitter": 0.1},
    "blur, up to 2 px": {"blur": 2},
    "noise": {"noise": 10},
    "erase, always": {"erase": 1},
}


def main() -> None:
    """Print a row for each change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    photos = [np.random.default_rng(0).integers(0, 256, (348, 348, 3), np.uint8)] * options.images
    for name, settings in CHANGES.items():
        augment = Augment(**{"color_jitter": 0.0, **settings})
        print(f"{name:<28} {milliseconds(augment, photos, size=options.size, repeats=options.repeats):.2f} ms")


def milliseconds(augment: Augment, photos: list[np.ndarray], *, size: int, repeats: int) -> float:
    """Return the milliseconds an image, best of the repeats."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        augment.sample(photos, size=size, seed=0, keys=range(len(photos)))
        times.append(time.perf_counter() - began)
    return 1000 * min(times) / len(photos)


if __name__ == "__main__":
    main()
