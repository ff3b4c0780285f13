"""One preprocessing for training, evaluation, export and serving: how an image becomes the numbers a network sees.

`Preprocess` is a frozen value. Its geometry (`pixels`) is Pillow's antialiased resize, step for step that of timm's
evaluation transform, so weights meet the pixels they were trained on; its arithmetic (`normalise`) is (x/255-mean)/std.
Channels are in RGB order, always. It does not augment (see `augment`) and knows nothing of files but how much of one
to decode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from fovea.core.errors import ModelError
from fovea.data.decoding import MAX_PIXELS, decode

if TYPE_CHECKING:
    import torch

Resize = Literal["crop", "squash", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
FILTERS: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_CROP_MODES = {"crop": "center", "squash": "squash", "pad": "border"}  # our names -> timm's crop_mode
_RESIZES: dict[str, Resize] = {"center": "crop", "squash": "squash", "border": "pad"}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes a network's input.

    Args:
        input_size: side S of the square input, in pixels.
        resize: "crop" brings the shorter side to S / crop_pct and cuts the S x S centre out; "squash" stretches both
            sides; "pad" brings the longer side there and fills the rim with the mean colour.
        crop_pct: share of the resized side that the input keeps, in (0, 1].
        interpolation: the resampling filter.
        mean, std: of the values 0..1, per channel in RGB order.

    >>> Preprocess(input_size=4).pixels(np.zeros((6, 9, 3), np.uint8)).shape
    (4, 4, 3)
    """

    input_size: int = 224
    resize: Resize = "crop"
    crop_pct: float = 0.875
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD

    def __post_init__(self) -> None:
        if self.input_size < 1:
            raise ValueError(f"input_size is {self.input_size}; expected at least 1 pixel")
        if self.resize not in get_args(Resize):
            raise ValueError(f"resize is {self.resize!r}; expected one of {get_args(Resize)}")
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct is {self.crop_pct}; expected more than 0 and at most 1")
        if self.interpolation not in FILTERS:
            raise ValueError(f"interpolation is {self.interpolation!r}; expected one of {tuple(FILTERS)}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean} and std {self.std}: expected three values each, std above 0")

    @classmethod
    def from_pretrained_cfg(
        cls, cfg: Mapping[str, Any], *, input_size: int | None = None, resize: Resize | None = None
    ) -> Preprocess:
        """Read the preprocessing that weights were trained with from timm's `pretrained_cfg`.

        Args:
            cfg: keys input_size (3, S, S), interpolation, crop_pct, crop_mode, mean, std; timm's defaults where absent.
            input_size: another side than the weights' own.
            resize: another geometry. Choosing "squash" or "pad" over "crop" means that nothing may be cut off, so
                crop_pct becomes 1.
        """
        channels, height, width = cfg.get("input_size") or (3, 224, 224)
        if channels != 3 or height != width:
            raise ModelError(
                f"the weights expect {channels} channels of {height} x {width}; fovea feeds 3 channels, square",
                hint="choose weights with a square RGB input",
            )
        own = _RESIZES.get(cfg.get("crop_mode") or "center", "crop")
        interpolation: Any = cfg.get("interpolation")
        return cls(
            input_size=input_size or int(height),
            resize=resize or own,
            crop_pct=float(cfg.get("crop_pct") or 0.875) if resize in (None, "crop", own) else 1.0,
            interpolation=interpolation if interpolation in FILTERS else "bicubic",  # timm's "random" is for training
            mean=_three(cfg.get("mean") or _IMAGENET_MEAN),
            std=_three(cfg.get("std") or _IMAGENET_STD),
        )

    def as_pretrained_cfg(self) -> dict[str, Any]:
        """Return the keys of timm's `pretrained_cfg` that say the same."""
        return {
            "input_size": (3, self.input_size, self.input_size),
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
            "crop_mode": _CROP_MODES[self.resize],
            "mean": self.mean,
            "std": self.std,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_dict` rebuilds an equal value; states the colour order too."""
        values = asdict(self)
        return {**values, "mean": list(self.mean), "std": list(self.std), "color_order": "rgb"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Rebuild from `as_dict`."""
        fields = dict(values)
        order = fields.pop("color_order", "rgb")
        if order != "rgb":
            raise ModelError(f"the color_order is {order!r}; fovea feeds 'rgb'", hint="convert the weights to RGB")
        return cls(**{**fields, "mean": _three(fields["mean"]), "std": _three(fields["std"])})

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of the rim that "pad" adds: the mean, 0..255, as in timm."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    @property
    def geometry(self) -> str:
        """All that decides `pixels`, as a key for caches; mean and std matter only to the rim of "pad"."""
        parts = [self.input_size, self.resize, self.crop_pct, self.interpolation]
        return " ".join(map(str, parts + (list(self.fill) if self.resize == "pad" else [])))

    @property
    def scaled_size(self) -> int:
        """The side that the image is resized to before its centre is cut out: S / crop_pct, rounded down as in timm."""
        return math.floor(self.input_size / self.crop_pct)

    @property
    def at_least(self) -> int:
        """The shorter side to ask `decode` for: twice what is kept, so that the resize still does the antialiasing.

        Pillow's own `reducing_gap` advises 2 to 3 for a result next to that of the full image.
        """
        return 2 * self.scaled_size

    def read(
        self, source: Path | str | bytes | Image.Image | np.ndarray, *, max_pixels: int = MAX_PIXELS
    ) -> np.ndarray:
        """Decode a file (or bytes, or an image in memory) and return its `pixels`: (S, S, 3) uint8.

        Every door of fovea comes through here, so an image gives the same numbers in evaluation and in prediction.
        """
        return self.pixels(decode(source, at_least=self.at_least, max_pixels=max_pixels))

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop one image: uint8 (H, W, 3) -> uint8 (S, S, 3). Deterministic."""
        height, width = image.shape[:2]
        size = self._resized(width, height)
        resized = np.asarray(Image.fromarray(image).resize(size, FILTERS[self.interpolation]))
        return _centre(resized, self.input_size, self.fill)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """The size before the crop. Rounding is timm's and torchvision's, which differ between crop and pad."""
        side = self.scaled_size
        if self.resize == "squash":
            return side, side
        if self.resize == "pad":
            ratio = max(width, height) / side
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        if width <= height:
            return side, int(side * height / width)
        return int(side * width / height), side

    def normalise(self, pixels: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Turn uint8 pixels (B, H, W, 3) into float32 (B, 3, H, W) = (x / 255 - mean) / std, on the same device.

        The result lies in memory as channels-last, the layout that convolutions prefer and that the pixels have
        already. One multiplication and one addition along whole rows: five times faster than the textbook form.
        """
        import torch

        batch = torch.as_tensor(pixels)
        if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
            raise ValueError(f"expected uint8 (B, H, W, 3), got {batch.dtype} {tuple(batch.shape)}")
        count, height, width, _ = batch.shape
        scale = torch.tensor([1 / (255 * std) for std in self.std], device=batch.device).repeat(width)
        shift = torch.tensor([-mean / std for mean, std in zip(self.mean, self.std, strict=True)], device=batch.device)
        rows = batch.reshape(count, height, width * 3).float()  # (B,H,W,C) -> (B,H,W*C), a view
        rows.mul_(scale).add_(shift.repeat(width))
        return rows.view(count, height, width, 3).permute(0, 3, 1, 2)  # (B,H,W,C) -> (B,C,H,W), channels-last


def _three(values: Any) -> tuple[float, float, float]:
    """One number per channel; a single number stands for all three."""
    numbers = [float(value) for value in values]
    red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    return red, green, blue


def _centre(image: np.ndarray, side: int, fill: tuple[int, int, int]) -> np.ndarray:
    """Cut the centre (side, side, 3) out; where the image is smaller, `fill` shows."""
    height, width = image.shape[:2]
    top, left = _offset(height, side), _offset(width, side)
    if top >= 0 and left >= 0:
        return np.ascontiguousarray(image[top : top + side, left : left + side])
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = fill
    seen = image[max(top, 0) : top + side, max(left, 0) : left + side]
    canvas[max(-top, 0) : max(-top, 0) + seen.shape[0], max(-left, 0) : max(-left, 0) + seen.shape[1]] = seen
    return canvas


def _offset(length: int, side: int) -> int:
    """Where the centre starts. A crop rounds half to even, a rim rounds down: torchvision's and timm's ways."""
    return -((side - length) // 2) if side > length else round((length - side) / 2)
