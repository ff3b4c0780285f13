"""Features of images without any network: what their small pictures show of colour, layout and edges.

For machines that have no weights. They tell apart what differs in colour and rough shape, and know nothing of objects:
whatever is judged by them is judged less surely than by a network's features, and the audit says so.
"""

from __future__ import annotations

import functools

import numpy as np

from fovea.data.looks import COLOR_SIDE, GREY_SIDE, Looks

NAME = "colour, layout and edges, without a network"

_ORIENTATIONS, _CELLS = 8, 4  # of edges: bins over half a turn, and cells along a side of the picture
_HUES, _LEVELS = 12, 5
_CHUNK = 64  # images worked on at a time: what is computed on the way stays in the processor's cache
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def plain_features(looks: Looks) -> np.ndarray:
    """Return features (N, 237) float32 of images, of zero mean over them.

    Blocks, each brought to the same total variance (the last to a quarter of it):

    - layout: the lowest frequencies of the cosine transform of luma and two colour differences, as in MPEG-7's colour
      layout descriptor
    - edges: shares of the gradient's orientations in 4 x 4 cells, as roots, so that one strong edge does not outshout
      the rest (Arandjelović & Zisserman 2012, "Three things everyone should know to improve object retrieval", §3)
    - colours: shares of hues, weighted by saturation, and of levels of luma and saturation, as roots
    - moments: mean, deviation and skew of luma and the colour differences

    >>> import polars as pl
    >>> grey, color = np.zeros((3, 64, 64), np.uint8), np.zeros((3, 16, 16, 3), np.uint8)
    >>> plain_features(Looks(pl.DataFrame({"contrast": [0.0] * 3}), grey, color)).shape
    (3, 237)
    """
    starts = range(0, max(1, len(looks)), _CHUNK)
    parts = [_blocks(looks.grey[at : at + _CHUNK], looks.color[at : at + _CHUNK]) for at in starts]
    blocks = [np.concatenate(block) for block in zip(*parts, strict=True)]
    weights = (1.0, 1.0, 1.0, 0.5)
    return np.concatenate([w * _unit_variance(block) for w, block in zip(weights, blocks, strict=True)], axis=1)


def _unit_variance(block: np.ndarray) -> np.ndarray:
    """Bring a block to zero mean and a total variance of one; a block without any stays zero."""
    if not len(block):
        return block
    centred = block - block.mean(axis=0)
    spread = float(np.sqrt(np.square(centred, dtype=np.float64).sum() / len(block)))
    return centred / spread if spread > 1e-4 else np.zeros_like(centred)


def _blocks(grey: np.ndarray, color: np.ndarray) -> list[np.ndarray]:
    """Return layout, edges, colours and moments of a few images, each (n, …) float32."""
    pixels = color.astype(np.float32) / 255
    luma = pixels @ _LUMA
    red, blue = pixels[..., 0] - luma, pixels[..., 2] - luma  # (n, 16, 16), as are all below
    layout = np.concatenate([_low_frequencies(luma, 8), _low_frequencies(blue, 6), _low_frequencies(red, 6)], axis=1)
    return [layout, _edges(grey), _colors(luma, red, blue), _moments(luma, red, blue)]


@functools.cache
def _cosines() -> np.ndarray:
    """The cosine transform (DCT-II) as a matrix, frequencies by places."""
    frequency, place = np.mgrid[:COLOR_SIDE, :COLOR_SIDE]
    return (np.cos(np.pi * frequency * (2 * place + 1) / (2 * COLOR_SIDE)) / COLOR_SIDE).astype(np.float32)


def _low_frequencies(plane: np.ndarray, order: int) -> np.ndarray:
    """Return the coefficients whose two frequencies sum to less than `order`."""
    basis = _cosines()[:order]
    transformed = basis @ plane @ basis.T  # (n, order, order)
    across, down = np.mgrid[:order, :order]
    return transformed[:, across + down < order]


@functools.cache
def _gradients() -> tuple[np.ndarray, np.ndarray]:
    """Bin and size of a gradient of uint8 values, by (dy + 255) * 511 + dx + 255."""
    dy, dx = np.mgrid[-255:256, -255:256].astype(np.float32)
    turn = np.arctan2(dy, dx) % np.pi / np.pi * _ORIENTATIONS
    return np.round(turn).astype(np.uint8).ravel() % _ORIENTATIONS, np.hypot(dy, dx).ravel()


def _edges(grey: np.ndarray) -> np.ndarray:
    """Return root shares of edge orientations, cell by cell (n, 128)."""
    halved = grey[:, ::2].astype(np.int16) + grey[:, 1::2]
    halved = (halved[:, :, ::2] + halved[:, :, 1::2]) // 4
    bins, sizes = _gradients()
    places = (halved[:, 2:, 1:-1] - halved[:, :-2, 1:-1] + 255).astype(np.int32) * 511
    places += halved[:, 1:-1, 2:] - halved[:, 1:-1, :-2] + 255
    side, count = GREY_SIDE // 2, _CELLS * _CELLS * _ORIENTATIONS
    cell = np.arange(1, side - 1, dtype=np.int32) * _CELLS // side
    cells = (cell[:, None] * _CELLS + cell) * _ORIENTATIONS
    keys = cells + bins[places] + np.arange(len(grey), dtype=np.int32)[:, None, None] * count
    found = np.bincount(keys.ravel(), weights=sizes[places].ravel(), minlength=len(grey) * count)
    histogram = found.reshape(-1, count)
    return np.sqrt(histogram / (histogram.sum(axis=1, keepdims=True) + 100)).astype(np.float32)  # 100: sensor noise


def _colors(luma: np.ndarray, red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Return root shares of hues and, at half the weight, of levels of luma and saturation (n, 22)."""
    saturation = np.hypot(red, blue)
    hue = np.arctan2(blue, red) * (_HUES / (2 * np.pi)) % _HUES
    hues = _shares(hue, saturation, _HUES + 1)
    hues[:, 0] += hues[:, -1]  # a circle: the last is the first
    even = np.ones_like(luma)
    levels = [_shares(np.clip(values, 0, _LEVELS - 1), even, _LEVELS) for values in (5 * luma - 0.5, 8 * saturation)]
    return np.sqrt(np.concatenate([hues[:, :-1], levels[0] / 4, levels[1] / 4], axis=1))


def _shares(places: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Return mean weight by place, 0 to count - 1 (n, count); a place between two counts for both by nearness."""
    below = np.minimum(places.astype(np.int32), count - 2)
    share = (places - below) * weights
    keys = (below + np.arange(len(places), dtype=np.int32)[:, None, None] * count).ravel()
    size = len(places) * count
    found = np.bincount(keys, weights=(weights - share).ravel(), minlength=size)
    found += np.bincount(keys + 1, weights=share.ravel(), minlength=size)
    return (found.reshape(-1, count) / (places.shape[1] * places.shape[2])).astype(np.float32)


def _moments(luma: np.ndarray, red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Return mean, deviation and the root of the third moment of three planes (n, 9)."""
    planes = np.stack([luma, blue, red], axis=1).reshape(len(luma), 3, COLOR_SIDE**2)  # (n, 3, 256)
    mean = planes.mean(axis=2, keepdims=True)
    away = planes - mean
    squared = away * away
    moments = [mean[..., 0], np.sqrt(squared.mean(axis=2)), np.cbrt((squared * away).mean(axis=2))]
    return np.concatenate(moments, axis=1)
