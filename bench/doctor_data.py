"""Small real images for bench/doctor.py: handwritten digits, blood cells cut out by their boxes, groceries.

Each is 32 x 32 px in colour, (N, 3, 32, 32) float32 from 0 to 1, with labels (N,); decoded once and kept in bench/out.
Digits come with scikit-learn; the others lie under ../shared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fovea.data.boxes import read_annotation

BENCH = Path(__file__).resolve().parent
SHARED = BENCH.parents[1] / "shared" / "data"
SIDE, MOST = 32, 1600


def load(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and labels of a data set in random order, the same for everybody."""
    kept = BENCH / "out" / "doctor" / f"{name}.npz"
    if not kept.exists():
        images, labels = DATA[name]()
        order = np.random.default_rng(0).permutation(len(labels))[:MOST]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, images=images[order], labels=labels[order])
    with np.load(kept) as content:
        images, labels = content["images"], content["labels"]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255  # (N,32,32,3) -> (N,3,32,32)
    return pixels.contiguous(), torch.from_numpy(labels).long()


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Ten classes, enlarged from 8 x 8 px."""
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = np.clip(found.images * 16, 0, 255).astype(np.uint8)
    return np.stack([_small(Image.fromarray(image)) for image in grey]), found.target


def cells() -> tuple[np.ndarray, np.ndarray]:
    """Red and white blood cells and platelets, at most 400 of each."""
    names = {"RBC": 0, "WBC": 1, "Platelets": 2}
    images: list[np.ndarray] = []
    labels: list[int] = []
    for path in sorted((SHARED / "bccd").rglob("*.xml")):
        annotation = read_annotation(path)
        with Image.open(path.parents[1] / "JPEGImages" / f"{path.stem}.jpg") as opened:
            picture = opened.convert("RGB")
        for box in annotation.iter("object"):
            label = names.get(str(box.findtext("name")))
            frame = [round(float(box.findtext(f"bndbox/{side}") or 0)) for side in ("xmin", "ymin", "xmax", "ymax")]
            if label is None or labels.count(label) >= 400 or min(frame[2] - frame[0], frame[3] - frame[1]) < 8:
                continue
            images.append(_small(picture.crop(tuple(frame))))
            labels.append(label)
    return np.stack(images), np.array(labels)


def groceries() -> tuple[np.ndarray, np.ndarray]:
    """The ten coarse classes with the most photos."""
    rows = [line.rsplit(",", 2) for name in ("train", "val") for line in _lines(SHARED / "grocery" / f"{name}.txt")]
    coarse = np.array([int(row[2]) for row in rows])
    chosen = np.argsort(-np.bincount(coarse), kind="stable")[:10]
    images, labels = [], []
    for path, _, label in rows:
        place = np.flatnonzero(chosen == int(label))
        if len(place):
            with Image.open(SHARED / "grocery" / path.strip()) as opened:
                opened.draft("RGB", (4 * SIDE, 4 * SIDE))
                images.append(_small(opened))
            labels.append(int(place[0]))
    return np.stack(images), np.array(labels)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


DATA: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "digits": digits,
    "cells": cells,
    "groceries": groceries,
}
