"""What the network will really see: one picture with each image plain and under several random looks.

It makes pixels and nothing else; who shows them also decides how.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fovea.data.augment.pixels import Augment

RIM_PX = 2  # between the looks
_RIM = 255


def augmented_grid(images: Sequence[np.ndarray], *, augment: Augment, size: int, views: int, seed: int) -> np.ndarray:
    """Return one picture, uint8 (H, W, 3): a row for each image, first the plain view, then `views` random ones.

    Args:
        images: uint8 (H, W, 3) of any sizes.
        augment: what may happen to them.
        size: side of each view in pixels.
        views: random views beside the plain one, 0 or more.
        seed: another seed shows other views; they are those of keys 0, 1, 2 … in reading order.

    >>> photos = [np.zeros((30, 40, 3), np.uint8)] * 2
    >>> augmented_grid(photos, augment=Augment(), size=16, views=3, seed=0).shape
    (34, 70, 3)
    """
    if not len(images) or views < 0:
        raise ValueError(f"{len(images)} images and {views} views; expected at least 1 image and 0 views or more")
    plain = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0, interpolation=augment.interpolation)
    first = plain.sample(images, size=size, seed=seed, keys=range(len(images))).numpy()
    repeated = [image for image in images for _ in range(views)]
    others = augment.sample(repeated, size=size, seed=seed, keys=range(len(repeated))).numpy()
    step = size + RIM_PX
    canvas = np.full((len(images) * step - RIM_PX, (views + 1) * step - RIM_PX, 3), _RIM, np.uint8)
    for row in range(len(images)):
        for column in range(views + 1):
            view = first[row] if column == 0 else others[row * views + column - 1]
            canvas[row * step : row * step + size, column * step : column * step + size] = view
    return canvas
