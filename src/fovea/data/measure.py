"""From the pixels of one decode to a look: the arithmetic behind `Looks`, over a batch of small pictures at once.

A picture is squashed to SIDE x SIDE, so that a batch is one array and what is measured compares between images of all
sizes: sharpness, for one, is that of what a network sees at about 128 px, not that of the grain of a 12-megapixel file.
"""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin

from fovea.data.decoding import UPRIGHT, Probe, opened, orientation, to_rgb
from fovea.data.looks import COLOR_SIDE, NUMBERS, SIDE, Stored

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in Pillow
_BINS = 64
_DIRECTIONS, _FAR_PX = ((0, 1), (1, 0), (1, 1), (1, -1)), 3  # down and right; apart
_WEAKER = 1e-4  # fourth power of a tenth: a direction whose edges are weaker than that tells nothing
_RIM_SPREAD = 10.0 / 255  # luma levels within which a line of a border may vary: JPEG noise, not a picture
_RIM_SHARE = 0.3  # no border takes more than this of one side
_MAKE, _MODEL, _DATE, _EXIF, _DATE_ORIGINAL = 0x010F, 0x0110, 0x0132, 0x8769, 0x9003  # EXIF 2.3, tables 3 to 7
# ITU-T T.81, table K.1: the luminance table that libjpeg scales by its quality setting (jcparam.c, IJG's release 6b).
# fmt: off
_STANDARD = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])
# fmt: on
_QUALITIES = np.arange(1, 101)
_SCALES = np.where(_QUALITIES < 50, 5000 // _QUALITIES, 200 - 2 * _QUALITIES)  # per cent
_SUMS = np.clip((_STANDARD * _SCALES[:, None] + 50) // 100, 1, 255).sum(axis=1)  # of the tables of each quality (100,)


def see(source: Path | str | bytes, *, max_pixels: int) -> tuple[Probe, Stored, np.ndarray]:
    """Prove that a file is whole by decoding it once, at the smallest scale that a look needs.

    Returns:
        What `decoding.probe` says; how the file is stored; its pixels squashed to (SIDE, SIDE, 3) uint8, upright.

    Raises:
        DataError: as `decoding.decode`.
    """
    with opened(source, max_pixels) as image:
        (width, height), stored = image.size, _stored(image)
        image.draft(None, (SIDE, SIDE))
        held = orientation(image)
        if image.mode in ("RGB", "L") and "transparency" not in image.info:
            small = image.resize((SIDE, SIDE), Image.Resampling.BOX).convert("RGB")
            small = small if held == 1 else small.transpose(UPRIGHT[held])
        else:
            small = Image.fromarray(to_rgb(image)).resize((SIDE, SIDE), Image.Resampling.BOX)
        if held >= 5:
            width, height = height, width
        return Probe(width, height, stored.mode, stored.format), stored, np.asarray(small)


def _stored(image: Image.Image) -> Stored:
    """Return how an opened image is stored, before its pixels are loaded."""
    camera = taken_s = None
    with contextlib.suppress(Exception):  # a damaged EXIF block raises as many kinds as the decoders
        camera, taken_s = _exif(image)
    form = "JPEG" if image.format == "MPO" else image.format or ""
    return Stored(form, image.mode, _quality(image), camera, taken_s)


def _exif(image: Image.Image) -> tuple[str | None, float | None]:
    exif = image.getexif()
    if not exif:
        return None, None
    words = [str(exif.get(tag, "")).strip(" \0") for tag in (_MAKE, _MODEL)]
    date = exif.get_ifd(_EXIF).get(_DATE_ORIGINAL) or exif.get(_DATE)
    taken_s = None
    with contextlib.suppress(ValueError, TypeError):
        moment = datetime.datetime.strptime(str(date).strip(" \0"), "%Y:%m:%d %H:%M:%S")
        taken_s = moment.replace(tzinfo=datetime.UTC).timestamp()
    return " ".join(filter(None, words)) or None, taken_s


def _quality(image: Image.Image) -> float | None:
    """Return the libjpeg quality that scales the standard table nearest to the file's; None for other files."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or 0 not in image.quantization:
        return None
    return float(_QUALITIES[np.abs(_SUMS - sum(image.quantization[0])).argmin()])


class Measured(NamedTuple):
    """The part of B looks that follows from pixels: the columns of `NUMBERS`, and the two small pictures."""

    numbers: np.ndarray  # (B, len(NUMBERS)) float32
    grey: np.ndarray  # (B, 64, 64) uint8
    color: np.ndarray  # (B, 16, 16, 3) uint8


def measure(pixels: np.ndarray) -> Measured:
    """Measure a batch of squashed pictures.

    Args:
        pixels: uint8 (B, SIDE, SIDE, 3).

    >>> half = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    >>> half[:, :, SIDE // 2 :] = 255
    >>> float(measure(half).numbers[0, NUMBERS.index("brightness")].round(3))
    0.5
    """
    count = len(pixels)
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) * np.float32(1 / 255))  # (B,S,S,3) -> (B,3,S,S)
    luma = planes[:, 0] * _LUMA[0] + planes[:, 1] * _LUMA[1] + planes[:, 2] * _LUMA[2]  # (B,S,S)
    flat = planes.reshape(count, 3, -1)  # (B,3,S,S) -> (B,3,S*S)
    means = flat.mean(axis=2)  # (B,3)
    share = np.cumsum(_histogram(luma), axis=1) / luma[0].size  # (B, bins)
    variance = luma.var(axis=(1, 2))
    rows = luma[:, ::2] + luma[:, 1::2]
    grey = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4  # (B,S,S) -> (B,64,64)
    cell = SIDE // COLOR_SIDE
    bands = planes.reshape(count, 3, COLOR_SIDE, cell, SIDE).sum(axis=3)  # (B,3,S,S) -> (B,3,16,S)
    color = bands.reshape(count, 3, COLOR_SIDE, COLOR_SIDE, cell).sum(axis=4) / cell**2  # -> (B,3,16,16)
    columns = {
        "brightness": means @ _LUMA,
        "dark_point": (share < 0.01).sum(axis=1) / _BINS,
        "bright_point": np.minimum((share < 0.99).sum(axis=1) + 1, _BINS) / _BINS,
        "contrast": np.sqrt(variance),
        "entropy": _entropy(share),
        "sharpness": _sharpness(luma),
        "detail": _detail(luma),
        **{f"mean_{name}": means[:, place] for place, name in enumerate("rgb")},
        **{f"product_{'rgb'[one]}{'rgb'[two]}": _mean_of_products(flat[:, one], flat[:, two]) for one, two in _PAIRS},
        **_rims(luma),
    }
    numbers = np.stack([columns[name] for name in NUMBERS], axis=1).astype(np.float32)
    color = color.transpose(0, 2, 3, 1)  # (B,3,16,16) -> (B,16,16,3)
    return Measured(numbers, np.rint(grey * 255).astype(np.uint8), np.rint(color * 255).astype(np.uint8))


_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def _histogram(luma: np.ndarray) -> np.ndarray:
    """Return how many pixels of each picture fall into each of 64 equal bins, (B, 64)."""
    count = len(luma)
    bins = np.minimum((luma * _BINS).astype(np.int32), _BINS - 1).reshape(count, -1)
    bins += np.arange(count, dtype=np.int32)[:, None] * _BINS
    return np.bincount(bins.ravel(), minlength=count * _BINS).reshape(count, _BINS)


def _entropy(share: np.ndarray) -> np.ndarray:
    """Shannon entropy in bits of the histograms whose cumulative shares are given, (B, bins) -> (B,)."""
    parts = np.diff(share, axis=1, prepend=0)
    return -(parts * np.log2(np.where(parts > 0, parts, 1))).sum(axis=1)


def _mean_of_products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mean of the products of two rows of numbers, (B, P), (B, P) -> (B,)."""
    return np.einsum("bp,bp->b", one, other) / one.shape[1]


def _detail(luma: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the white noise whose Laplacian varies as much, (B,S,S) -> (B,)."""
    laplacian = 4 * luma[:, 1:-1, 1:-1]
    laplacian -= luma[:, :-2, 1:-1]
    laplacian -= luma[:, 2:, 1:-1]
    laplacian -= luma[:, 1:-1, :-2]
    laplacian -= luma[:, 1:-1, 2:]
    return laplacian.std(axis=(1, 2)) / np.sqrt(20)  # the Laplacian of noise with variance 1 has 4 * 4 + 4


def _sharpness(luma: np.ndarray) -> np.ndarray:
    """Return how steep the strongest edges are in the direction in which they are least steep, (B,S,S) -> (B,).

    Marziliano et al. 2002, "A no-reference perceptual blur metric", judge blur by the width of edges, whatever lies
    between them: a smooth subject has a sharp outline. Here no edge is traced. Differences between neighbours are
    divided by those over 3 px, both as a 4-norm, to which the strongest edges give nearly all: a step has
    (1/3) ** (1/4) = 0.76, noise 1, a ramp 1/3. Motion blurs along one line only, so the least of four directions is it.
    """
    powers = [[_fourth_powers(luma, down * px, right * px) for px in (1, _FAR_PX)] for down, right in _DIRECTIONS]
    near, far = np.array(powers).transpose(1, 0, 2)  # (directions, B) each
    counts = far > _WEAKER * far.max(axis=0)  # stripes have no edge along themselves
    ratios = np.where(counts, near / np.maximum(far, 1e-12), np.inf).min(axis=0)
    return np.where(counts.any(axis=0), ratios, 0) ** 0.25


def _fourth_powers(luma: np.ndarray, down: int, right: int) -> np.ndarray:
    """Return the mean fourth power of the differences to the pixel so far away, (B,)."""
    height, width = luma.shape[1:]
    # Every other line across is enough, but not along: an edge that lies between the pairs would go unseen.
    rows, columns = 1 if down else 2, 1 if right else 2
    here = luma[:, : height - down : rows, max(-right, 0) : width - max(right, 0) : columns]
    there = luma[:, down::rows, max(right, 0) : width + min(right, 0) : columns]
    squares = (there - here).reshape(len(luma), -1)  # (B, pixels)
    squares *= squares
    return _mean_of_products(squares, squares)


def _rims(luma: np.ndarray) -> dict[str, np.ndarray]:
    """Return what share of each side is a plain border: lines that hardly vary and that continue the outermost one."""
    most = int(_RIM_SHARE * SIDE)
    found = {}
    for name, lines in {
        "left": luma.transpose(0, 2, 1),
        "top": luma,
        "right": luma.transpose(0, 2, 1)[:, ::-1],
        "bottom": luma[:, ::-1],
    }.items():
        rows = lines[:, : most + 1]  # (B, lines from outside in, S)
        level = rows.mean(axis=2)
        plain = (rows.std(axis=2) < _RIM_SPREAD / 2) & (np.abs(level - level[:, :1]) < _RIM_SPREAD)
        depth = np.where(plain.all(axis=1), 0, plain.argmin(axis=1))  # plain through and through: no border but a wall
        found[f"rim_{name}"] = depth / SIDE
    return found
