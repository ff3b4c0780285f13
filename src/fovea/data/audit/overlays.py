"""A first guess of how one picture lies over another: the best of some crops, shifts and turns, by correlation.

Each picture is reduced to its 12 x 12 lowest frequencies and looked at through 12 x 12 points, once as it is and once
in each of some variants; the correlation of one picture as it is with the variants of the other says whether the two
can be copies at all, and where to begin to align them. The rim counts less than the middle: borders and the corners of
turned pictures are there. A variant is a linear map of the frequencies, so all of them cost one matrix product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 12
_WINDOW = 0.6  # standard deviation of the weight about the middle, on the square -1 to 1


class Guess(NamedTuple):
    """How pairs lie over each other, each (P, …).

    Attributes:
        correlation: of the best variant, -1 to 1 (P,).
        maps: places in the first picture's inside -> places in the second's, both squares -1 to 1, (P, 2, 3).
    """

    correlation: np.ndarray
    maps: np.ndarray


def overlay(first: np.ndarray, second: np.ndarray, pairs: np.ndarray) -> Guess:
    """Guess for pairs of pictures that have no border.

    Args:
        first, second: float32 (N, 32, 32) and (M, 32, 32) grey values.
        pairs: rows of the one and of the other, (P, 2).
    """
    variants = _variants()
    with torch.inference_mode():
        one, other = (_views(torch.from_numpy(pictures), variants) for pictures in (first, second))  # (N, V, 144)
        left, right = torch.from_numpy(pairs).unbind(1)
        of_first = torch.einsum("pvx,px->pv", one[left], other[right, 0])
        of_second = torch.einsum("pvx,px->pv", other[right], one[left, 0])
        best = torch.cat([of_first, of_second], dim=1).max(dim=1)
        # a variant of the first shows places M u where the second shows u: the map is the inverse of M
        square = torch.cat([variants, torch.tensor([0.0, 0.0, 1.0]).expand(len(variants), 1, 3)], dim=1)
        maps = torch.cat([torch.linalg.inv(square), square])[:, :2]
        return Guess(best.values.numpy(), maps[best.indices].numpy())


def _variants() -> Tensor:
    """Return the maps (V, 2, 3) from a variant to the picture it is cut from; the first is the picture itself."""
    crops = [(1.0, 0.0, 0.0, 0.0)]
    crops += [(0.9, x, y, 0.0) for x, y in ((0, 0), (-0.1, -0.1), (0.1, -0.1), (-0.1, 0.1), (0.1, 0.1))]
    crops += [(0.85, x, y, 0.0) for x in (-0.15, 0.15) for y in (-0.15, 0.15)]
    crops += [(0.8, x, y, 0.0) for x in (-0.2, 0, 0.2) for y in (-0.2, 0, 0.2)]
    crops += [(1.0, 0.0, 0.0, degrees) for degrees in (-8, -4, 4, 8)]  # turned, with empty corners
    crops += [(size, 0.0, 0.0, degrees) for size, degrees in ((0.8, -8), (0.87, -5), (0.87, 5), (0.8, 8))]
    maps = []
    for size, x, y, degrees in crops:
        cosine, sine = size * np.cos(np.radians(degrees)), size * np.sin(np.radians(degrees))
        maps.append([[cosine, -sine, x], [sine, cosine, y]])
    return torch.tensor(maps, dtype=torch.float32)


def _views(pictures: Tensor, variants: Tensor) -> Tensor:
    """Return variants of pictures (N, 32, 32), centred and of unit length under the window: (N, V, 144)."""
    analysis = _cosines(_line(pictures.shape[-1])) * (2 / pictures.shape[-1])  # (12, 32), a DCT-II
    analysis[0] /= 2
    frequencies = (analysis @ pictures @ analysis.T).flatten(1)  # (N,32,32) -> (N,144), rows first
    grid = F.affine_grid(variants, [len(variants), 1, _SIDE, _SIDE], align_corners=False)
    across, down = (_cosines(grid[..., axis].flatten()) for axis in (0, 1))  # (12, V*144)
    synthesis = (down[:, None] * across[None]).flatten(0, 1)  # (144, V*144)
    values = (frequencies @ synthesis).view(len(pictures), len(variants), -1)  # (N,V*144) -> (N,V,144)
    line = _line(_SIDE)
    weight = torch.exp(-(line[:, None].square() + line.square()) / (2 * _WINDOW**2)).flatten()
    values = (values - (values @ (weight / weight.sum()))[:, :, None]) * weight.sqrt()
    return F.normalize(values, dim=2)


def _line(count: int) -> Tensor:
    """The centres of `count` pixels between -1 and 1."""
    return (torch.arange(count) + 0.5) * 2 / count - 1


def _cosines(places: Tensor) -> Tensor:
    """The 12 lowest frequencies of the cosine transform at places between -1 and 1, (P,) -> (12, P)."""
    return torch.cos(torch.pi / 2 * torch.arange(_SIDE)[:, None] * (places + 1))
