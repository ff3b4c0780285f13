"""Draws the pictures of docs/reference/augmentation.md: python docs/images/make_augment.py

Every picture is made by the code that trains, from two photos that come with scikit-learn ("china" by danielbuechele,
"flower" by vultilion, both CC BY 2.0). Each has the plain view first and then random ones; the settings that are not
named are off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

from fovea.core.svg import BLUE, GREEN, INK, ORANGE, RULE
from fovea.data.augment import Augment, cutmix, mixup
from fovea.data.augment.grid import augmented_grid
from fovea.training.sampling import epoch_batches

FOLDER = Path(__file__).parent / "augment"
SIDE, VIEWS = 140, 5
PICTURES: dict[str, tuple[dict[str, float], int]] = {  # name: (settings, a seed whose views show the range)
    "crop_scale": ({"crop_scale": 0.3}, 1),
    "hflip": ({"hflip": 0.5}, 3),
    "vflip": ({"vflip": 0.5}, 0),
    "shift": ({"shift": 0.2}, 1),
    "rotate": ({"rotate": 30}, 31),
    "shear": ({"shear": 25}, 53),
    "color_jitter": ({"color_jitter": 0.4}, 77),
    "pca_jitter": ({"pca_jitter": 1.5}, 1),
    "noise": ({"noise": 50}, 6),
    "blur": ({"blur": 3}, 18),
    "erase": ({"erase": 0.9}, 1),
}


def main() -> None:
    """Write all pictures."""
    FOLDER.mkdir(exist_ok=True)
    china, flower = (centre(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))
    for name, (settings, seed) in PICTURES.items():
        augment = Augment(**{"crop_scale": 1.0, "hflip": 0.0, "color_jitter": 0.0, **settings})
        save(augmented_grid([china], augment=augment, size=SIDE, views=VIEWS, seed=seed), name)
    together = Augment(crop_scale=0.3, hflip=0.5, rotate=10, color_jitter=0.3, pca_jitter=0.1, erase=0.3)
    save(augmented_grid([china, flower], augment=together, size=SIDE * 3 // 4, views=VIEWS, seed=3), "together")
    for mix in (mixup, cutmix):
        save(mixed(mix, [china, flower]), mix.__name__)
    draw_samplers(FOLDER / "samplers.png")


def centre(image: np.ndarray) -> np.ndarray:
    """Return the largest square in the middle."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def mixed(mix: Callable[..., tuple[torch.Tensor, torch.Tensor]], images: list[np.ndarray]) -> np.ndarray:
    """Return both photos and then mixtures of them, each of another draw."""
    plain = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0).sample(images, size=SIDE, seed=0, keys=[0, 1])
    pixels = plain.permute(0, 3, 1, 2).float()  # (B,H,W,C) -> (B,C,H,W)
    generator = torch.Generator().manual_seed(5)
    views = [*plain]
    while len(views) < 6:
        blend, targets = mix(pixels, torch.eye(2), alpha=1.0, generator=generator)
        if 0.15 < targets[0, 0] < 0.85:  # else it was mixed with itself, or hardly at all
            views.append(blend[0].permute(1, 2, 0).round().to(torch.uint8))
    rim = np.full((SIDE, 2, 3), 255, np.uint8)
    return np.hstack([part for view in views for part in (view.numpy(), rim)][:-1])


def draw_samplers(path: Path) -> None:
    """Draw how many images of each class an epoch shows, for three classes of 96, 30 and 6 images."""
    targets = np.repeat([0, 1, 2], [96, 30, 6])
    figure = Figure(figsize=(7.6, 2.6), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    for one, sampler, colour in zip(
        axes, ("shuffle", "balanced", "oversample", "undersample"), (INK, BLUE, GREEN, ORANGE), strict=True
    ):
        rows = np.concatenate(epoch_batches(targets, batch_size=8, seed=0, epoch=0, sampler=sampler))
        shown = np.bincount(targets[rows], minlength=3)
        distinct = [len(set(rows[targets[rows] == label])) for label in range(3)]
        one.bar(range(3), shown, color=colour, alpha=0.4)
        one.bar(range(3), distinct, color=colour)
        for place, count in enumerate(shown):
            one.text(place, count + 2, str(count), ha="center", fontsize=8, color=INK)
        one.set_title(f"{sampler}: {len(rows)} an epoch", fontsize=8.5)
        one.set_xticks(range(3), ["96", "30", "6"])
        one.tick_params(labelsize=8, length=0, colors=INK)
        one.spines[["top", "right", "left"]].set_visible(False)
        one.spines["bottom"].set_color(RULE)
        one.set_yticks([])
    figure.supxlabel("images that the class has", fontsize=8, color=INK)
    axes[0].set_ylabel("images shown (dark: different ones)", fontsize=8, color=INK)
    figure.savefig(path, dpi=110)


def save(pixels: np.ndarray, name: str) -> None:
    """Write a small JPEG."""
    Image.fromarray(pixels).save(FOLDER / f"{name}.jpg", quality=75, optimize=True)


if __name__ == "__main__":
    main()
