"""Which part of a file a network was given: squashed, cropped from its middle or anywhere, mirrored or turned.

Pictures are compared in grey, by correlation, so that neither normalisation nor the order of colours matters. What
rotation, warping or heavy noise has changed is not found, and said to be so by a low correlation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from fovea.doctor.files.seen import Box, Shape

SIDE = 24
_COARSE = 12
_STARTS = 2
_SURE = 0.96  # likeness from which nothing but the whole and the middle is tried
_ENOUGH = 0.95  # likeness from which no further part is tried
_SIMPLER = 0.03  # likeness by which a part from anywhere must be better than the whole or the middle
_STEP = 1.2  # from one size of part to the next
_LONGER = 1.33  # from one shape of part to the next
_CLOSER = 1.08  # from one part from the middle to the next
_SQUASHED = 10  # parts from the middle that have the shape of the file
_SMALLEST = 0.15  # of the shorter side, for parts from anywhere
_CENTRED = 0.04  # of the shorter side, for parts from the middle
_FLAT = 0.05  # standard deviation of a part, in those of the whole, below which it shows nothing
_BAR = 0.02  # standard deviation of a line of a bar, in those of the picture
_ALL = Box(0, 0, 1, 1)


class Picture:
    """A file in grey, at a few scales.

    Args:
        pixels: (H, W), at any scale.
        size: width and height of the file in px.
    """

    def __init__(self, pixels: np.ndarray, size: tuple[int, int]) -> None:
        self.size = size
        self.spread = float(pixels.std())
        self._scales = [Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))]
        while min(self._scales[-1].size) >= 2 * SIDE:
            self._scales.append(self._scales[-1].reduce(2))

    def cut(self, box: Box, side: int) -> np.ndarray:
        """Return a part, squashed to a square (side, side)."""
        share = min(box.right - box.left, box.bottom - box.top)
        fitting = [each for each in self._scales if min(each.size) * share >= 1.9 * side]
        return resized(fitting[-1] if fitting else self._scales[0], box, (side, side))

    def coarse(self, size: tuple[int, int]) -> np.ndarray:
        """Return all of it at a size (width, height) as (H, W)."""
        fitting = [each for each in self._scales if each.width >= size[0] and each.height >= size[1]]
        return resized(fitting[-1] if fitting else self._scales[0], _ALL, size)


@dataclass(frozen=True)
class Window:
    """The part of a file that an input is likest to."""

    box: Box
    kind: Shape
    likeness: float
    turn: int  # of `turned`: how the input has to be laid to lie like the file
    content: Box  # of the input, without bars; that is what `box` shows

    @property
    def seen(self) -> Box:
        """The part of the file that the whole input shows: where its borders are plain, so may those of the file be."""
        mask = np.zeros((SIDE, SIDE))
        inside(mask, self.content)[:] = 1
        lying = turned(mask)[self.turn]
        across, down = np.flatnonzero(lying.any(axis=0)), np.flatnonzero(lying.any(axis=1))
        wide = (self.box.right - self.box.left) / len(across)  # of a cell of the input, in the file
        tall = (self.box.bottom - self.box.top) / len(down)
        return Box(
            max(0.0, self.box.left - across[0] * wide),
            max(0.0, self.box.top - down[0] * tall),
            min(1.0, self.box.right + (SIDE - 1 - across[-1]) * wide),
            min(1.0, self.box.bottom + (SIDE - 1 - down[-1]) * tall),
        )


class _View:
    """An input, or what is left of it without bars, as it is searched for in a file."""

    def __init__(self, picture: np.ndarray, content: Box, input_size: tuple[int, int], file: Picture) -> None:
        self.content = content
        wanted = resized(Image.fromarray(inside(picture, content).astype(np.float32)), _ALL, (SIDE, SIDE))
        self.turns = np.stack([unit(each) for each in turned(wanted)])  # (8, SIDE * SIDE)
        small = resized(Image.fromarray(wanted), _ALL, (_COARSE, _COARSE))
        self.coarse = np.stack([unit(each) for each in turned(small)[:2]])  # as it is, and mirrored
        width, height = (content.right - content.left) * input_size[0], (content.bottom - content.top) * input_size[1]
        self.shape = width / height * file.size[1] / file.size[0]  # of a part without distortion, in shares of the file


def find_window(picture: np.ndarray, file: Picture, *, input_size: tuple[int, int]) -> Window:
    """Return the part of a file that an input shows.

    Args:
        picture: the input in grey (SIDE, SIDE).
        file: where it may come from.
        input_size: width and height of the input.
    """
    views = [_View(picture, content, input_size, file) for content in (_ALL, *_without_bars(picture))]
    found = max(
        (_simple(view, file) for view in views), key=lambda window: window.likeness + 0.01 * (window.box == _ALL)
    )
    if found.likeness >= _SURE:
        return found
    for view in reversed(views):  # bars fit nowhere
        other = _anywhere(view, file)
        if other.likeness > found.likeness + _SIMPLER:
            found = other
        if found.likeness >= _ENOUGH:
            break
    return found


def inside(picture: np.ndarray, content: Box) -> np.ndarray:
    """Return the part of an input (SIDE, SIDE, ...) without bars."""
    left, top, right, bottom = (round(SIDE * edge) for edge in content)
    return picture[top:bottom, left:right]


def turned(picture: np.ndarray) -> list[np.ndarray]:
    """Return the eight ways in which a picture (H, H, ...) may lie: as it is and mirrored, by quarter turns."""
    return [np.rot90(each, turn) for turn in range(4) for each in (picture, picture[:, ::-1])]


def resized(image: Image.Image, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Return a part of an image at a size (width, height) as an array."""
    width, height = image.size
    frame = (box.left * width, box.top * height, box.right * width, box.bottom * height)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=frame))


def unit(picture: np.ndarray) -> np.ndarray:
    """Return a picture as a row of mean 0 and length 1; of zeros where nothing varies."""
    row = picture.astype(np.float32).ravel() - picture.mean()
    return row / max(float(np.linalg.norm(row)), 1e-6)


def _likeness(turns: np.ndarray, file: Picture, box: Box) -> tuple[float, int, Box]:
    """Return how like a part of the file is to the input as it lies best, and how that is."""
    likeness = turns @ unit(file.cut(box, SIDE))
    turn = int((likeness - 0.01 * (np.arange(8) > 1)).argmax())  # upright or mirrored, unless another is clearly better
    return float(likeness[turn]), turn, box


def _simple(view: _View, file: Picture) -> Window:
    """Return the whole, or the part from the middle, of the input's shape or of the file's, that fits best."""
    straight = (min(1.0, view.shape), min(1.0, 1 / view.shape))
    tries = [_ALL, _middle(*straight)]
    for count in range(1, round(math.log(1 / _CENTRED) / math.log(_CLOSER)) + 1):
        share = _CLOSER**-count
        tries.append(_middle(straight[0] * share, straight[1] * share))
        if count < _SQUASHED and abs(math.log(view.shape)) > 0.05:
            tries.append(_middle(share, share))
    found = [_likeness(view.turns, file, box) for box in tries]
    best = max(found, key=lambda each: each[0] + _SIMPLER * (each[2] == _ALL))
    if best[2] != _ALL:
        width, height = best[2].right - best[2].left, best[2].bottom - best[2].top
        near = [_middle(width * share, height * share) for share in (0.96, 0.98, 1.02, 1.04)]
        best = max([best, *(_likeness(view.turns, file, box) for box in near if max(box) <= 1)])
    likeness, turn, box = best
    return Window(box, "whole" if box == _ALL else "centred", likeness, turn, view.content)


def _middle(width: float, height: float) -> Box:
    return Box((1 - width) / 2, (1 - height) / 2, (1 + width) / 2, (1 + height) / 2)


def _anywhere(view: _View, file: Picture) -> Window:
    """Return the part of any size and place that fits best: coarse pictures tell where to look more closely."""
    wanted = torch.from_numpy(view.coarse).reshape(2, 1, _COARSE, _COARSE)
    found: list[tuple[float, Box]] = []
    for longer in (1 / _LONGER, 1.0, _LONGER):
        full = (min(1.0, view.shape * longer), min(1.0, 1 / (view.shape * longer)))
        for count in range(round(math.log(1 / _SMALLEST) / math.log(_STEP)) + 1):
            width, height = (each * _STEP**-count for each in full)
            level = (max(_COARSE, round(_COARSE / width)), max(_COARSE, round(_COARSE / height)))
            pixels = file.coarse(level)
            products = functional.conv2d(torch.from_numpy(pixels.copy())[None, None], wanted)[0].numpy()
            likeness = products.max(axis=0) / (_COARSE * _spreads(pixels, least=_FLAT * file.spread))  # (rows, columns)
            top, left = divmod(int(likeness.argmax()), likeness.shape[1])
            box = Box(left / level[0], top / level[1], (left + _COARSE) / level[0], (top + _COARSE) / level[1])
            found.append((float(likeness[top, left]), box))
    found.sort(key=lambda each: -each[0])
    best = (-1.0, 0, _ALL)
    for _, start in found[:_STARTS]:
        best = max(best, _climb(view.turns, file, start))
        if best[0] >= _ENOUGH:
            break
    likeness, turn, box = best
    return Window(box, "elsewhere", likeness, turn, view.content)


def _spreads(pixels: np.ndarray, *, least: float) -> np.ndarray:
    """Return the standard deviation of each square of _COARSE x _COARSE pixels of (H, W), or `least`."""
    sums = []
    for values in (pixels.astype(np.float64), pixels.astype(np.float64) ** 2):
        total = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        across = total[:, _COARSE:] - total[:, :-_COARSE]
        sums.append((across[_COARSE:] - across[:-_COARSE]) / _COARSE**2)
    return np.sqrt(np.maximum(sums[1] - sums[0] ** 2, least**2 + 1e-9))


def _climb(turns: np.ndarray, file: Picture, start: Box) -> tuple[float, int, Box]:
    """Move and resize a part as long as it becomes more like the input."""
    best = _likeness(turns, file, start)
    for step in (0.08, 0.03):
        improved = True
        while improved:
            improved = False
            for box in _near(best[2], step):
                other = _likeness(turns, file, box)
                if other[0] > best[0] + 1e-3:
                    best, improved = other, True
    return best


def _near(box: Box, step: float) -> Iterator[Box]:
    """Yield the parts around one whose sides are moved by a share of its size."""
    across, down = step * (box.right - box.left), step * (box.bottom - box.top)
    for left, top, right, bottom in (
        (1, 0, 1, 0), (-1, 0, -1, 0), (0, 1, 0, 1), (0, -1, 0, -1), (1, 1, -1, -1), (-1, -1, 1, 1),
        (1, 0, -1, 0), (-1, 0, 1, 0), (0, 1, 0, -1), (0, -1, 0, 1),
    ):  # fmt: skip
        moved = Box(
            max(0.0, box.left + left * across),
            max(0.0, box.top + top * down),
            min(1.0, box.right + right * across),
            min(1.0, box.bottom + bottom * down),
        )
        if moved.right - moved.left > 0.02 and moved.bottom - moved.top > 0.02:
            yield moved


def _without_bars(picture: np.ndarray) -> list[Box]:
    """Return the input without bars at its borders: lines that hardly vary and are all alike; nothing without any."""
    most = _BAR * float(picture.std())
    edges = []
    for lines in (picture.T, picture):  # columns, then rows
        for side in (lines, lines[::-1]):
            plain = (side.std(axis=1) < most) & (np.abs(side.mean(axis=1) - side[0].mean()) < most)
            depth = int((~plain).argmax())
            torn = depth and depth + 1 < SIDE and abs(side[depth] - side[depth + 1]).mean() > 4 * most  # half a bar
            edges.append((depth + bool(torn)) / SIDE)
    content = Box(edges[0], edges[2], 1 - edges[1], 1 - edges[3])
    wide = content.right - content.left > 0.2 and content.bottom - content.top > 0.2
    return [content] if wide and content != _ALL else []
