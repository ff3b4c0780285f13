"""What makes an image worse on purpose: blur, noise, and a rectangle that is painted over.

Each works on one image at its final size. How strong, and where, is passed in; noise comes from a generator that the
caller has seeded.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

Box = tuple[int, int, int, int]
"""Top, left, bottom, right, in pixels; the last two lie outside."""

_LEAST_SIGMA = 0.1  # below this the nearest neighbour weighs less than 1e-21
_ERASE_RATIO = 0.3  # the paper's: height / width from this to its inverse


def blurred(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur uint8 (1, 3, H, W) by a Gaussian of `sigma` pixels, cut off at three of them; the rim is continued."""
    if sigma < _LEAST_SIGMA:
        return pixels
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    values = F.pad(pixels.float(), (reach, reach, reach, reach), mode="replicate")
    across = weights.view(1, 1, 1, -1).expand(3, 1, 1, -1)
    down = weights.view(1, 1, -1, 1).expand(3, 1, -1, 1)
    values = F.conv2d(F.conv2d(values, across, groups=3), down, groups=3)
    return values.add_(0.5).clamp_(0, 255).to(torch.uint8)


def noisy(pixels: torch.Tensor, sigma: float, rng: np.random.Generator) -> torch.Tensor:
    """Add to each value of uint8 (H, W, 3) its own normal number of standard deviation `sigma`, in units of 0..255."""
    values = rng.standard_normal(tuple(pixels.shape), dtype=np.float32)
    values *= np.float32(sigma)
    values += pixels.numpy()
    values += np.float32(0.5)  # rounds
    return torch.from_numpy(np.clip(values, 0, 255, out=values).astype(np.uint8))


def erase_box(size: tuple[int, int], area: tuple[float, float], draws: np.ndarray) -> Box:
    """Return the rectangle that four uniform numbers choose: its area, its shape, and where it lies.

    A side longer than the image's is cut to it, where the paper draws again; height / width is uniform on a
    logarithmic scale, so that upright and lying rectangles are equally likely.

    Args:
        size: (height, width) of the image.
        area: least and largest share of the image's area.
        draws: (4,) numbers in [0, 1).

    Zhong, Zheng, Kang, Li and Yang 2020, "Random erasing data augmentation", algorithm 1.

    >>> erase_box((10, 20), (0.5, 0.5), np.array([0.0, 0.5, 0.0, 0.5]))
    (0, 5, 10, 15)
    """
    pixels = size[0] * size[1] * (area[0] + (area[1] - area[0]) * draws[0])
    ratio = math.exp((2 * draws[1] - 1) * -math.log(_ERASE_RATIO))
    height = min(size[0], max(1, round(math.sqrt(pixels * ratio))))
    width = min(size[1], max(1, round(math.sqrt(pixels / ratio))))
    top, left = int(draws[2] * (size[0] - height + 1)), int(draws[3] * (size[1] - width + 1))
    return top, left, top + height, left + width


def erased(pixels: torch.Tensor, box: Box, rng: np.random.Generator) -> torch.Tensor:
    """Fill the rectangle of uint8 (H, W, 3) with random values, each its own, as the paper does."""
    top, left, bottom, right = box
    pixels = pixels.clone()
    pixels[top:bottom, left:right] = torch.from_numpy(rng.integers(0, 256, (bottom - top, right - left, 3), np.uint8))
    return pixels
