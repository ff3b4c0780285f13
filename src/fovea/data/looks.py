"""What one look at an image tells: how it is stored, how bright, sharp and colourful it is, a small picture of it.

A look is taken while `scanning` opens a file, from the pixels of that one decode (about 128 px, whatever the file's
size), and remembered with the rest. `Looks` holds those of many images as columns; the audit's checks work on them and
open no file. How pixels become numbers is in `measure`; nothing here decides what is good or bad.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fovea.core.files import cache_root

SIDE = 128  # px: every image is looked at squashed to SIDE x SIDE
GREY_SIDE, COLOR_SIDE = 64, 16
_GREY, _COLOR = (GREY_SIDE, GREY_SIDE), (COLOR_SIDE, COLOR_SIDE, 3)
_IN_MEMORY_BYTES = 256 * 2**20
_PIECE = 4096

STORED: dict[str, Any] = {
    "format": pl.String,  # of the content: JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM
    "mode": pl.String,  # Pillow's: RGB, L, P, CMYK, RGBA, I;16 …
    "quality": pl.Float32,  # of a JPEG: the libjpeg quality (1 to 100) whose tables come nearest; else null
    "camera": pl.String,  # EXIF make and model; null where there is none
    "taken_s": pl.Float64,  # EXIF time of the exposure, seconds since 1970 as if in UTC; null where there is none
}
NUMBERS = (
    "brightness",  # mean luma, 0 to 1
    "dark_point",  # luma that 1 % of the pixels are below
    "bright_point",  # luma that 99 % of the pixels are below
    "contrast",  # standard deviation of luma
    "entropy",  # of the luma histogram with 64 bins, in bits: 0 to 6
    "sharpness",  # how steep the strongest edges are at 128 px: 0.33 smooth, 0.76 a step, 1 noise; 0 where all is equal
    "detail",  # standard deviation of the white noise that has as strong a Laplacian: fine structure, 0 to 1
    *("mean_r", "mean_g", "mean_b"),  # 0 to 1
    *("product_rr", "product_gg", "product_bb", "product_rg", "product_rb", "product_gb"),  # means of the products
    *("rim_left", "rim_top", "rim_right", "rim_bottom"),  # share of the width or height that a plain border takes
)
FACTS: dict[str, Any] = {**STORED, **dict.fromkeys(NUMBERS, pl.Float32)}


class Stored(NamedTuple):
    """How a file is stored: the columns of `STORED`."""

    format: str
    mode: str
    quality: float | None
    camera: str | None
    taken_s: float | None


_BLANK = Stored("", "", None, None, None)


class Look(NamedTuple):
    """A look at one image."""

    stored: Stored
    numbers: np.ndarray  # (len(NUMBERS),) float32
    grey: np.ndarray  # (64, 64) uint8
    color: np.ndarray  # (16, 16, 3) uint8

    def pack(self) -> tuple[str, bytes, bytes, bytes]:
        """Return what a database keeps: `stored` as JSON, the rest as bytes."""
        return json.dumps(self.stored), self.numbers.tobytes(), self.grey.tobytes(), self.color.tobytes()

    @classmethod
    def unpack(cls, stored: str, numbers: bytes, grey: bytes, color: bytes) -> Look:
        """Rebuild from `pack`."""
        return cls(
            Stored(*json.loads(stored)),
            np.frombuffer(numbers, np.float32),
            np.frombuffer(grey, np.uint8).reshape(_GREY),
            np.frombuffer(color, np.uint8).reshape(_COLOR),
        )


@dataclass(frozen=True)
class Looks:
    """Looks at N images.

    Attributes:
        facts: N rows with the columns of `FACTS`.
        grey: (N, 64, 64) uint8 luma, the image squashed to a square.
        color: (N, 16, 16, 3) uint8 RGB, likewise.
    """

    facts: pl.DataFrame
    grey: np.ndarray
    color: np.ndarray

    def __post_init__(self) -> None:
        if not self.facts.height == len(self.grey) == len(self.color):
            raise ValueError(f"{self.facts.height} facts, {len(self.grey)} grey and {len(self.color)} colour pictures")

    def __len__(self) -> int:
        return self.facts.height

    def column(self, name: str) -> np.ndarray:
        """Return one column of numbers as float64 (N,); what is unknown is NaN."""
        return self.facts[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def take(self, rows: np.ndarray) -> Looks:
        """Return the looks at these row numbers."""
        grey, color = (_room(len(rows), pictures.shape[1:]) for pictures in (self.grey, self.color))
        for start in range(0, len(rows), _PIECE):  # piece by piece, so that a copy needs no memory of its own
            some = slice(start, start + _PIECE)
            grey[some], color[some] = self.grey[rows[some]], self.color[rows[some]]
        return Looks(self.facts[rows], grey, color)

    def spread(self, rows: np.ndarray, count: int) -> Looks:
        """Return `count` looks of which these stand at the given row numbers, the others blank."""
        if len(rows) == count and (rows == np.arange(count)).all():
            return self
        facts = pl.DataFrame({"row": np.arange(count)}).join(
            self.facts.with_columns(row=rows.astype(np.int64)), on="row", how="left", maintain_order="left"
        )
        grey, color = (_room(count, pictures.shape[1:]) for pictures in (self.grey, self.color))
        for start in range(0, len(rows), _PIECE):
            some = slice(start, start + _PIECE)
            grey[rows[some]], color[rows[some]] = self.grey[some], self.color[some]
        return Looks(facts.drop("row").with_columns(pl.col("format", "mode").fill_null("")), grey, color)


class Album:
    """Looks being gathered, in any order; images that are never put in stay blank.

    The pictures of many images lie in a file without a name instead of memory; it goes when they do.
    """

    def __init__(self, count: int) -> None:
        self._stored: list[Stored] = [_BLANK] * count
        self._numbers = np.full((count, len(NUMBERS)), np.nan, np.float32)
        self._grey, self._color = _room(count, _GREY), _room(count, _COLOR)

    def put(self, row: int, look: Look) -> None:
        """Put one look in its place."""
        self._stored[row], self._numbers[row] = look.stored, look.numbers
        self._grey[row], self._color[row] = look.grey, look.color

    def looks(self) -> Looks:
        """Return what has been gathered."""
        stored = pl.DataFrame(self._stored, schema=STORED, orient="row")
        numbers = pl.DataFrame(self._numbers, schema=dict.fromkeys(NUMBERS, pl.Float32))
        return Looks(stored.hstack(numbers.fill_nan(None)), self._grey, self._color)


def _room(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return zeroed uint8 pictures (count, *shape), in memory or, when they are many, in an unnamed file."""
    size = count * math.prod(shape)
    if size <= _IN_MEMORY_BYTES:
        return np.zeros((count, *shape), np.uint8)
    folder = cache_root() / "scan"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=(count, *shape))
