"""Where the pixels of a random look come from: a crop, resized, flipped, then turned, sheared and shifted in one pass.

A `Placement` is one such look. It makes the pixels (`cut`) and says where each point of the image goes (`matrix`), so
boxes drawn on an image follow it exactly. It knows nothing of colours and draws no random number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

Border = Literal["reflect", "mean"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One look at an image.

    Args:
        top, left, height, width: the crop, in pixels of the image.
        size: (height, width) of the result, in pixels.
        hflip, vflip: mirrored left to right, upside down.
        turned: whether there is a second pass for the four below; it blurs a little even where they are 0.
        rotate: degrees, clockwise, about the centre of the result.
        shear: degrees by which vertical lines lean; applied before the rotation.
        shift: right and down, as shares of the result's width and height; applied last.
    """

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]
    hflip: bool = False
    vflip: bool = False
    turned: bool = False
    rotate: float = 0.0
    shear: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)

    def cut(self, image: np.ndarray, *, kernel: str, border: Border) -> torch.Tensor:
        """Return the look as uint8 (1, 3, H, W) of `size`, channels-last in memory.

        Args:
            image: uint8 (H, W, 3).
            kernel: "bilinear" or "bicubic", antialiased.
            border: what shows where the look reaches beyond the crop: its reflection, or its mean colour.
        """
        # numpy makes the crop contiguous; torch would start its own threads for it, inside each of ours.
        part = np.ascontiguousarray(image[self.top : self.top + self.height, self.left : self.left + self.width])
        # (H,W,C) -> (1,C,H,W). The unit axis comes first: its stride then tells torch that this is channels-last.
        crop = torch.from_numpy(part)[None].permute(0, 3, 1, 2)
        pixels = F.interpolate(crop, size=self.size, mode=kernel, antialias=True, align_corners=False)
        flips = [axis for axis, hit in ((2, self.vflip), (3, self.hflip)) if hit]
        if flips:
            pixels = pixels.flip(flips)
        return _warped(pixels, self._inward(), border) if self.turned else pixels

    @property
    def shown(self) -> tuple[int, int, int, int]:
        """The crop as left, top, right, bottom, in pixels of the image: nothing beyond it is in the look."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def matrix(self) -> np.ndarray:
        """Return the (3, 3) matrix that takes a point (x, y, 1) of the image to its place in the look.

        Both in pixels from the upper left corner, x to the right: the first pixel reaches from 0 to 1.

        >>> Placement(top=0, left=10, height=40, width=40, size=(80, 80)).matrix() @ [10, 0, 1]
        array([0., 0., 1.])
        """
        high, wide = self.size
        scaled = np.diag([wide / self.width, high / self.height, 1.0]) @ _moved(-self.left, -self.top)
        flipped = np.diag([-1.0 if self.hflip else 1.0, -1.0 if self.vflip else 1.0, 1.0])
        flipped[:2, 2] = wide * self.hflip, high * self.vflip
        if not self.turned:
            return flipped @ scaled
        unit = np.diag([2 / wide, 2 / high, 1.0])
        unit[:2, 2] = -1.0  # pixels -> -1 .. 1 from edge to edge, as torch counts
        outward = np.linalg.inv(np.vstack([self._inward(), [0.0, 0.0, 1.0]]))
        return np.linalg.inv(unit) @ outward @ unit @ flipped @ scaled

    def _inward(self) -> list[list[float]]:
        """Where each point of the turned result comes from: torch's 2 x 3 matrix in units of half the sides."""
        cosine, sine = math.cos(math.radians(self.rotate)), math.sin(math.radians(self.rotate))
        lean = math.tan(math.radians(self.shear))
        aspect = self.size[0] / self.size[1]  # the units differ between the axes
        across = (cosine + lean * sine, (sine - lean * cosine) * aspect)
        down = (-sine / aspect, cosine)
        right, below = 2 * self.shift[0], 2 * self.shift[1]
        return [[*row, -(row[0] * right + row[1] * below)] for row in (across, down)]


def largest_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """Return top, left, height, width of the largest centred box whose width / height lies within `ratio`."""
    crop_width = min(width, max(1, round(height * ratio[1])))
    crop_height = min(height, max(1, round(width / ratio[0])))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _warped(pixels: torch.Tensor, inward: list[list[float]], border: Border) -> torch.Tensor:
    """Move uint8 (1, 3, H, W) bilinearly. What comes in at the rim is the reflected image, or its mean colour."""
    grid = F.affine_grid(torch.tensor([inward], dtype=torch.float32), list(pixels.shape), align_corners=False)
    values = pixels.float()
    if border == "reflect":
        moved = F.grid_sample(values, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    else:
        mean = values.mean((2, 3), keepdim=True)
        moved = F.grid_sample(values - mean, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + mean
    return moved.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _moved(right: float, down: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = right, down
    return matrix
