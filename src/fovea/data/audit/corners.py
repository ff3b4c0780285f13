"""Fills the empty corners of turned pictures, which would pass for the strongest edges that they show.

A picture that was turned within its frame has a wedge of one colour along each side, deepest in a corner, none in the
middle. Where all four corners have one colour and such wedges are of that colour throughout, what borders on them is
drawn out over them. A plain background around a thing looks like wedges too; there nothing changes by that.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from fovea.data.looks import GREY_SIDE

_SAME = 12  # grey levels within which corners and wedges may vary: strong compression, not a picture
_SLOPES = np.arange(2, 13) * 0.02  # of wedges on a square: 2 to 10 degrees, on pictures half as wide again as high, too
_STRAY = 0.03  # of a wedge may have another colour
_CHUNK = 4096


@dataclass(frozen=True)
class Pictures:
    """N small grey pictures of which some are to be filled; what is asked for is filled when it is taken.

    Attributes:
        grey: uint8 (N, 64, 64), as they are.
        wedges: number of the wedges at top and bottom, and of those at left and right, 0 for none: int8 (N, 2).
        rows: which of them these are; None for all, in their order.
    """

    grey: np.ndarray
    wedges: np.ndarray
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.grey) if self.rows is None else len(self.rows)

    def __getitem__(self, some: slice | np.ndarray) -> np.ndarray:
        """Return pictures by place, uint8 (P, 64, 64)."""
        rows = some if self.rows is None else self.rows[some]
        pictures, wedges = np.array(self.grey[rows]), self.wedges[rows]
        turned = wedges.any(axis=1)
        if turned.any():
            pictures[turned] = _filled(pictures[turned], wedges[turned])
        return pictures

    def of(self, rows: np.ndarray) -> Pictures:
        """Return those in the given rows."""
        return Pictures(self.grey, self.wedges, rows if self.rows is None else self.rows[rows])


def find_corners(grey: np.ndarray, rims: np.ndarray) -> Pictures:
    """Find the empty corners of pictures.

    Args:
        grey: uint8 (N, 64, 64).
        rims: share of the side that a plain border takes left, top, right and bottom, (N, 4). Pictures with one are
            left alone: a wedge that fits into the border may be deeper than it.
    """
    wedges = np.zeros((len(grey), 2), np.int8)
    inner, _ = _wedges()
    least = inner.sum(axis=1) * _STRAY
    for start in range(0, len(grey), _CHUNK):
        corners = grey[start : start + _CHUNK, :: GREY_SIDE - 1, :: GREY_SIDE - 1].reshape(-1, 4)
        bordered = (rims[start : start + _CHUNK] > 0).any(axis=1)
        alike = start + np.flatnonzero((np.ptp(corners, axis=1) <= _SAME) & ~bordered)
        colour = corners[alike - start].mean(axis=1, dtype=np.float32)
        other = (np.abs(grey[alike] - colour[:, None, None]) > _SAME).astype(np.float32)
        for axis, seen in enumerate((other, other.transpose(0, 2, 1))):
            fits = seen.reshape(len(alike), GREY_SIDE**2) @ inner.T <= least  # (n, wedges); later ones are deeper
            wedges[alike, axis] = np.where(fits.any(axis=1), fits.shape[1] - fits[:, ::-1].argmax(axis=1), 0)
    return Pictures(grey, wedges)


def _filled(pictures: np.ndarray, wedges: np.ndarray) -> np.ndarray:
    _, sources = _wedges()
    for axis in range(2):
        flat = pictures.reshape(len(pictures), -1)
        pictures = np.take_along_axis(flat, sources[wedges[:, axis]], axis=1).reshape(pictures.shape)
        pictures = pictures.transpose(0, 2, 1)
    return pictures


@functools.cache
def _wedges() -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels lie wholly in the wedges at top and bottom, and which pixel each is filled from.

    Returns:
        float32 (W, S*S) of 0 and 1, shallow wedges first; int64 (1 + W, S*S), first of all that nothing is filled.
    """
    line = np.arange(GREY_SIDE)
    across = (line + 0.5) / (GREY_SIDE / 2) - 1
    slopes = np.stack([_SLOPES, -_SLOPES], axis=1).reshape(-1, 1)
    top = np.maximum(slopes * across, 0) * GREY_SIDE / 2  # px, (W, S)
    down = line[None, :, None]
    inner = (down + 1 <= top[:, None]) | (GREY_SIDE - down <= top[:, None, ::-1])  # (W, S, S)
    first = np.ceil(top).astype(np.int64)
    last = GREY_SIDE - 1 - first[:, ::-1]
    sources = np.clip(down, first[:, None], last[:, None]) * GREY_SIDE + line
    nothing = np.arange(GREY_SIDE**2)[None]
    return inner.reshape(len(slopes), -1).astype(np.float32), np.concatenate(
        [nothing, sources.reshape(len(slopes), -1)]
    )
