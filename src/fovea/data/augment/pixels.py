"""Random looks at stored images: which changes there are, how strong, and the batch of pixels that comes of them.

Each image is cropped and resized in one antialiased pass; torch's uint8 kernel does it three to six times faster than
Pillow (docs/explanation/pixels.md has the figures) and releases the interpreter lock, so a thread pool scales. What
happens to an image depends only on (seed, key), never on the batch around it or on the order of threads: a resumed
training repeats exactly.

How each change is made is in `geometry`, `color` and `corruption`. It does not decode, normalise, or touch labels
(see `mixing` for changes that do).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch

from fovea.core.errors import RecipeError
from fovea.core.recipe import DataRecipe
from fovea.data.augment.color import IMAGENET_COVARIANCE, check_covariance, pca_shift, recolored
from fovea.data.augment.corruption import Box, blurred, erase_box, erased, noisy
from fovea.data.augment.draws import uniforms
from fovea.data.augment.geometry import Border, Placement, largest_box
from fovea.data.preprocess import FILTERS, Interpolation

_ATTEMPTS = 10
# What each number of an image's row decides. New ones go to the end: the row's beginning stays, and with it every look.
_CROPS = slice(0, 2 * _ATTEMPTS)  # area and ratio of each attempt
_PLACE = slice(20, 22)  # across, down
_HFLIP, _VFLIP, _ROTATE = 22, 23, 24
_COLORS = slice(25, 28)  # brightness, contrast, saturation
_SHIFT, _SHEAR = slice(28, 30), 30
_PCA = slice(31, 34)
_BLUR, _NOISE, _GRAIN = 34, 35, 36  # the grain seeds what is drawn for each pixel
_ERASE, _ERASE_BOX = 37, slice(38, 42)
_DRAWS = 42
_SHARES = ("hflip", "vflip", "color_jitter", "shift", "erase")
_DEGREES = {"rotate": 180, "shear": 80}  # the largest that make sense; at 90 degrees of shear nothing is left


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What may happen to a training image. All off (`crop_scale=1` and zeros) gives the plain resize.

    Args:
        crop_scale: smallest share of the area that a crop keeps; the share is uniform in [crop_scale, 1]. 1 is no
            crop: the whole image is resized to the square.
        crop_ratio: limits of width / height of a crop, drawn uniformly on a logarithmic scale.
        hflip, vflip: probabilities of the flips.
        rotate: largest angle in degrees, either way.
        shift: largest shift along each axis, either way, as a share of that side.
        shear: largest angle in degrees by which upright lines lean, either way.
        border: what shows where the image was turned or shifted away: "reflect" its mirror image, "mean" its mean
            colour (for images with boxes, where a mirrored object would be one without a box).
        color_jitter: strength of brightness, contrast and saturation changes: factors in [1 - s, 1 + s].
        pca_jitter: standard deviation of the shift along the colours' principal axes; Krizhevsky et al. have 0.1.
        pca_covariance: the colours' covariance that it follows, nine numbers, row by row, for values 0..1.
        blur: largest sigma of a Gaussian blur, in pixels of the result; each image draws its own, uniformly from 0.
        noise: largest standard deviation of Gaussian noise, in units of 0..255; drawn likewise.
        erase: probability that a rectangle is painted over with noise.
        erase_area: least and largest share of the area that it covers.
        interpolation: a filter's name as in `Preprocess`. The kernel has two, both antialiased: "bicubic" and
            "lanczos" give the bicubic, all others the bilinear.

    The order is crop, resize, flips, then shear, rotation and shift in one pass; blur; colour; noise; erasing.

    The crop is that of torchvision's RandomResizedCrop (Szegedy et al. 2015, "Going deeper with convolutions",
    section 6): ten attempts at area and ratio, then the largest centred crop that fits the ratio. The sources of the
    other changes stand with them and in docs/reference/augmentation.md.

    >>> still = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0)
    >>> still.sample([np.zeros((6, 8, 3), np.uint8)], size=4, seed=0, keys=[0]).shape
    torch.Size([1, 4, 4, 3])
    """

    crop_scale: float = 0.5
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    vflip: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    border: Border = "reflect"
    color_jitter: float = 0.2
    pca_jitter: float = 0.0
    pca_covariance: tuple[float, ...] = IMAGENET_COVARIANCE
    blur: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.4)
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale <= 1:
            raise ValueError(f"crop_scale is {self.crop_scale}; expected more than 0 and at most 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio is {self.crop_ratio}; expected (low, high), both above 0")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to 1")
        for name, most in _DEGREES.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to {most} degrees")
        for name in ("pca_jitter", "blur", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number of 0 or more")
        if not 0 < self.erase_area[0] <= self.erase_area[1] <= 1:
            raise ValueError(f"erase_area is {self.erase_area}; expected (least, largest), both in (0, 1]")
        if self.border not in ("reflect", "mean"):
            raise ValueError(f"border is {self.border!r}; expected 'reflect' or 'mean'")
        if self.interpolation not in FILTERS:
            raise ValueError(f"interpolation is {self.interpolation!r}; expected one of {tuple(FILTERS)}")
        check_covariance(self.pca_covariance)

    @classmethod
    def from_recipe(
        cls, data: DataRecipe, *, interpolation: Interpolation = "bilinear", border: Border = "reflect"
    ) -> Augment:
        """Return the changes that the `data` part of a recipe asks for.

        Raises:
            RecipeError: `data.pca_covariance` is none; the other settings are checked as the recipe is read.
        """
        try:
            check_covariance(data.pca_covariance or IMAGENET_COVARIANCE)
        except ValueError as error:
            raise RecipeError(f"data.{error}", hint="it is symmetric, with variances on the diagonal") from error
        return cls(
            crop_scale=data.crop_scale,
            hflip=data.hflip,
            vflip=data.vflip,
            rotate=data.rotate,
            shift=data.shift,
            shear=data.shear,
            border=border,
            color_jitter=data.color_jitter,
            pca_jitter=data.pca_jitter,
            pca_covariance=data.pca_covariance or IMAGENET_COVARIANCE,
            blur=data.blur,
            noise=data.noise,
            erase=data.erase,
            erase_area=(min(0.02, data.erase_area), data.erase_area),
            interpolation=interpolation,
        )

    @property
    def changes(self) -> bool:
        """Whether anything may happen at all, beyond the resize."""
        amounts = (*(getattr(self, name) for name in (*_SHARES, *_DEGREES)), self.pca_jitter, self.blur, self.noise)
        return self.crop_scale < 1 or any(amounts)

    def store_px(self, size: int) -> int:
        """The shorter side, in pixels, that a store needs so that no crop of a square image has to be enlarged."""
        return math.ceil(size / math.sqrt(self.crop_scale * min(self.crop_ratio[0], 1 / self.crop_ratio[1])))

    def sample(
        self,
        images: Sequence[np.ndarray],
        *,
        size: int | tuple[int, int],
        seed: int,
        keys: Sequence[int] | np.ndarray,
        pool: Executor | None = None,
    ) -> torch.Tensor:
        """Return a batch of uint8 pixels (B, H, W, 3).

        Args:
            images: uint8 (H, W, 3) of any sizes. A lazy sequence (`PixelCache.take`) is loaded inside the threads.
            size: of the output, in pixels: the side of a square, or (height, width).
            seed: of the training.
            keys: one integer of 0 or more per image that names this look at it, e.g. epoch * images + index.
            pool: threads to work in; the calling thread when None.
        """
        if len(images) != len(keys):
            raise ValueError(f"{len(images)} images but {len(keys)} keys; expected one key an image")
        draws = uniforms(seed=seed, keys=keys, count=_DRAWS)
        batch = torch.empty(len(images), *_pair(size), 3, dtype=torch.uint8)

        def work(row: int) -> None:
            with torch.inference_mode():
                self._one(images[row], draws[row], batch[row])

        for _ in pool.map(work, range(len(images))) if pool else map(work, range(len(images))):
            pass
        return batch

    def placement(self, height: int, width: int, *, size: int | tuple[int, int], seed: int, key: int) -> Placement:
        """Return where `sample` takes the pixels of this look from; its `matrix` says where each point goes."""
        return self._placement(height, width, _pair(size), uniforms(seed=seed, keys=[key], count=_DRAWS)[0])

    def erased_box(self, *, size: int | tuple[int, int], seed: int, key: int) -> Box | None:
        """Return the rectangle (top, left, bottom, right) that `sample` paints over in this look, or None."""
        return self._erased_box(_pair(size), uniforms(seed=seed, keys=[key], count=_DRAWS)[0])

    def _one(self, image: np.ndarray, draws: np.ndarray, out: torch.Tensor) -> None:
        """Augment one image by its row of random numbers, into `out` (H, W, 3)."""
        size = (out.shape[0], out.shape[1])
        kernel = "bicubic" if self.interpolation in ("bicubic", "lanczos") else "bilinear"
        placement = self._placement(image.shape[0], image.shape[1], size, draws)
        pixels = placement.cut(image, kernel=kernel, border=self.border)
        if self.blur:
            pixels = blurred(pixels, self.blur * draws[_BLUR])
        look = pixels[0].permute(1, 2, 0)  # (1,C,H,W) -> (H,W,C)
        if self.color_jitter or self.pca_jitter:
            factors = [1 + self.color_jitter * (2 * draw - 1) for draw in draws[_COLORS]]
            shift = pca_shift(self.pca_covariance, _normals(draws[_PCA]), self.pca_jitter) if self.pca_jitter else None
            look = recolored(look, factors, shift)
        box = self._erased_box(size, draws)
        if self.noise or box:
            grain = np.random.Generator(np.random.SFC64(int(draws[_GRAIN] * 2**53)))
            look = noisy(look, self.noise * draws[_NOISE], grain) if self.noise else look
            look = erased(look, box, grain) if box else look
        out.copy_(look)

    def _placement(self, height: int, width: int, size: tuple[int, int], draws: np.ndarray) -> Placement:
        top, left, crop_height, crop_width = self.crop_box(height, width, draws)
        right, down = (2 * draws[_SHIFT] - 1) * self.shift
        return Placement(
            top=top,
            left=left,
            height=crop_height,
            width=crop_width,
            size=size,
            hflip=bool(draws[_HFLIP] < self.hflip),
            vflip=bool(draws[_VFLIP] < self.vflip),
            turned=bool(self.rotate or self.shear or self.shift),
            rotate=(2 * draws[_ROTATE] - 1) * self.rotate,
            shear=(2 * draws[_SHEAR] - 1) * self.shear,
            shift=(right, down),
        )

    def _erased_box(self, size: tuple[int, int], draws: np.ndarray) -> Box | None:
        return erase_box(size, self.erase_area, draws[_ERASE_BOX]) if draws[_ERASE] < self.erase else None

    def crop_box(self, height: int, width: int, draws: np.ndarray) -> tuple[int, int, int, int]:
        """Return top, left, height, width of the crop that a row of uniform numbers chooses."""
        if self.crop_scale == 1:
            return 0, 0, height, width
        low, high = (math.log(limit) for limit in self.crop_ratio)
        attempts, (across, down) = draws[_CROPS].reshape(_ATTEMPTS, 2), draws[_PLACE]
        for share, stretch in attempts:
            area = height * width * (self.crop_scale + (1 - self.crop_scale) * share)
            ratio = math.exp(low + (high - low) * stretch)
            crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                left, top = int(across * (width - crop_width + 1)), int(down * (height - crop_height + 1))
                return top, left, crop_height, crop_width
        return largest_box(height, width, self.crop_ratio)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _normals(draws: np.ndarray) -> list[float]:
    """Turn uniform numbers in [0, 1) into standard normal ones; 0 would be infinite."""
    return [NormalDist().inv_cdf(max(float(draw), 2.0**-54)) for draw in draws]
