"""Random crops, flips, rotation and colour changes that turn stored images into a training batch.

Each image is cropped and resized in one antialiased pass straight into its place in the batch; torch's uint8 kernel
does it three to six times faster than Pillow (docs/explanation/pixels.md has the figures) and releases the
interpreter lock, so a thread pool scales. What happens to an image depends only on (seed, key), never on the batch
around it or on the order of threads: a resumed training repeats exactly.

It does not decode, normalise, or touch labels (see `mixing` for changes that do).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from fovea.data.augment.draws import uniforms
from fovea.data.preprocess import FILTERS, Interpolation

_ATTEMPTS = 10
_DRAWS = 2 * _ATTEMPTS + 8  # area and ratio of each attempt; left, top, two flips, angle, three colour factors
_GREY = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601 luma, as in Pillow and torchvision


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What may happen to a training image. All off (`crop_scale=1` and zeros) gives the plain resize.

    Args:
        crop_scale: smallest share of the area that a crop keeps; the share is uniform in [crop_scale, 1]. 1 is no
            crop: the whole image is resized to the square.
        crop_ratio: limits of width / height of a crop, drawn uniformly on a logarithmic scale.
        hflip, vflip: probabilities of the flips.
        rotate: largest angle in degrees, either way; corners show the reflected image.
        color_jitter: strength of brightness, contrast and saturation changes: factors in [1 - s, 1 + s].
        interpolation: a filter's name as in `Preprocess`. The kernel has two, both antialiased: "bicubic" and
            "lanczos" give the bicubic, all others the bilinear.

    The crop is that of torchvision's RandomResizedCrop (Szegedy et al. 2015, "Going deeper with convolutions",
    section 6): ten attempts at area and ratio, then the largest centred crop that fits the ratio.

    >>> still = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0)
    >>> still.sample([np.zeros((6, 8, 3), np.uint8)], size=4, seed=0, keys=[0]).shape
    torch.Size([1, 4, 4, 3])
    """

    crop_scale: float = 0.5
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    vflip: float = 0.0
    rotate: float = 0.0
    color_jitter: float = 0.2
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale <= 1:
            raise ValueError(f"crop_scale is {self.crop_scale}; expected more than 0 and at most 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio is {self.crop_ratio}; expected (low, high), both above 0")
        for name in ("hflip", "vflip", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to 1")
        if not 0 <= self.rotate <= 180:
            raise ValueError(f"rotate is {self.rotate}; expected 0 to 180 degrees")
        if self.interpolation not in FILTERS:
            raise ValueError(f"interpolation is {self.interpolation!r}; expected one of {tuple(FILTERS)}")

    def store_px(self, size: int) -> int:
        """The shorter side, in pixels, that a store needs so that no crop of a square image has to be enlarged."""
        return math.ceil(size / math.sqrt(self.crop_scale * min(self.crop_ratio[0], 1 / self.crop_ratio[1])))

    def sample(
        self,
        images: Sequence[np.ndarray],
        *,
        size: int,
        seed: int,
        keys: Sequence[int] | np.ndarray,
        pool: Executor | None = None,
    ) -> torch.Tensor:
        """Return a batch of uint8 pixels (B, size, size, 3).

        Args:
            images: uint8 (H, W, 3) of any sizes. A lazy sequence (`PixelCache.take`) is loaded inside the threads.
            size: side of the output, in pixels.
            seed: of the training.
            keys: one integer of 0 or more per image that names this look at it, e.g. epoch * images + index.
            pool: threads to work in; the calling thread when None.
        """
        if len(images) != len(keys):
            raise ValueError(f"{len(images)} images but {len(keys)} keys; expected one key an image")
        draws = uniforms(seed=seed, keys=keys, count=_DRAWS)
        batch = torch.empty(len(images), size, size, 3, dtype=torch.uint8)

        def work(row: int) -> None:
            with torch.inference_mode():
                self._one(images[row], draws[row], batch[row])

        for _ in pool.map(work, range(len(images))) if pool else map(work, range(len(images))):
            pass
        return batch

    def _one(self, image: np.ndarray, draws: np.ndarray, out: torch.Tensor) -> None:
        """Augment one image by its row of random numbers, into `out` (S, S, 3)."""
        top, left, height, width = self.crop_box(image.shape[0], image.shape[1], draws)
        horizontal, vertical, angle, *colors = draws[2 * _ATTEMPTS + 2 :]
        # numpy makes the crop contiguous; torch would start its own threads for it, inside each of ours.
        cut = np.ascontiguousarray(image[top : top + height, left : left + width])
        # (H,W,C) -> (1,C,H,W). The unit axis comes first: its stride then tells torch that this is channels-last.
        crop = torch.from_numpy(cut)[None].permute(0, 3, 1, 2)
        size = (out.shape[0], out.shape[1])
        kernel = "bicubic" if self.interpolation in ("bicubic", "lanczos") else "bilinear"
        pixels = F.interpolate(crop, size=size, mode=kernel, antialias=True, align_corners=False)
        flips = [axis for axis, hit in ((2, vertical < self.vflip), (3, horizontal < self.hflip)) if hit]
        if flips:
            pixels = pixels.flip(flips)
        if self.rotate:
            pixels = _rotated(pixels, (2 * angle - 1) * self.rotate)
        square = pixels[0].permute(1, 2, 0)  # (1,C,S,S) -> (S,S,C)
        if self.color_jitter:
            square = _recolored(square, [1 + self.color_jitter * (2 * draw - 1) for draw in colors])
        out.copy_(square)

    def crop_box(self, height: int, width: int, draws: np.ndarray) -> tuple[int, int, int, int]:
        """Return top, left, height, width of the crop that a row of uniform numbers chooses."""
        if self.crop_scale == 1:
            return 0, 0, height, width
        low, high = (math.log(limit) for limit in self.crop_ratio)
        across, down = draws[2 * _ATTEMPTS : 2 * _ATTEMPTS + 2]
        for attempt in range(_ATTEMPTS):
            area = height * width * (self.crop_scale + (1 - self.crop_scale) * draws[2 * attempt])
            ratio = math.exp(low + (high - low) * draws[2 * attempt + 1])
            crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                left, top = int(across * (width - crop_width + 1)), int(down * (height - crop_height + 1))
                return top, left, crop_height, crop_width
        return _largest_box(height, width, self.crop_ratio)


def _largest_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """The largest centred box whose width / height lies within `ratio`."""
    crop_width = min(width, max(1, round(height * ratio[1])))
    crop_height = min(height, max(1, round(width / ratio[0])))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _rotated(pixels: torch.Tensor, degrees: float) -> torch.Tensor:
    """Rotate uint8 (1, 3, S, S) about its centre, bilinearly; what comes in at the corners is the reflected image."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[[cosine, sine, 0.0], [-sine, cosine, 0.0]]])
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    turned = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return turned.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _recolored(pixels: torch.Tensor, factors: Sequence[float]) -> torch.Tensor:
    """Scale brightness, then contrast about the mean grey, then saturation about each pixel's grey.

    uint8 (S, S, 3), and so returned. The three are linear, so they are one 3 x 3 matrix and an offset, clipped once at
    the end. Four neighbouring pixels make one row of a product with four copies of the matrix on the diagonal: four
    times the arithmetic, in a tenth of the time of (S*S, 3) @ (3, 3), which is too narrow to be fast.
    """
    brightness, contrast, saturation = factors
    height, width, _ = pixels.shape
    values = pixels.reshape(height, width * 3).float()  # (S,S,C) -> (S,S*C)
    mean_grey = float(values.sum(0).view(width, 3).sum(0) @ _GREY) / (height * width)
    mixing = saturation * torch.eye(3) + (1 - saturation) * _GREY  # each row: one output from three inputs
    weight = (contrast * brightness * mixing).T
    offset = (1 - contrast) * brightness * mean_grey + 0.5  # the half rounds
    group = math.gcd(height * width, 4)
    rows = values.view(-1, 3 * group) @ torch.block_diag(*[weight] * group)  # (S,S*C) -> (S*S/4, 4*C)
    rows.add_(offset).clamp_(0, 255)
    return torch.from_numpy(rows.numpy().astype(np.uint8)).view(height, width, 3)  # numpy's cast is four times faster
