"""A signature of each image that its copies share: what brightness, contrast, compression and scale do not change.

The signature is a histogram of gradient directions on a coarse grid (Dalal and Triggs 2005, "Histograms of oriented
gradients for human detection", section 6; one block over the whole picture), after plain borders are cut away. Copies
that are mirrored, cropped by a fifth or turned by eight degrees stay among the nearest few of thousands of images; who
is really a copy is for `alignment` to say.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from fovea.data.audit.corners import Pictures
from fovea.data.audit.threads import side_by_side

SIZE = 128
_CELLS, _BINS, _SIDE = 4, 8, 32
_TYPICAL = 0.96 / SIZE**0.5  # the mean over photos is nearly the same in every place: the part that all images share
_CHUNK = 256


def signatures(grey: np.ndarray | Pictures, rims: np.ndarray) -> np.ndarray:
    """Return signatures of unit length, (N, 128) float32.

    Args:
        grey: N pictures, uint8 (N, 64, 64).
        rims: share of the side that a plain border takes left, top, right and bottom, (N, 4).

    >>> noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64)).astype(np.uint8)
    >>> signature, brighter = signatures(np.stack([noise[0], noise[0] // 2 + 99]), np.zeros((2, 4)))
    >>> bool(signature @ brighter > 0.99)
    True
    """

    @torch.inference_mode()
    def of_some(start: int) -> np.ndarray:
        some = slice(start, start + _CHUNK)
        pictures = torch.from_numpy(np.ascontiguousarray(grey[some])).float()
        return _histograms(_inside(pictures, torch.as_tensor(rims[some]).float())).numpy()

    found = np.empty((len(grey), SIZE), np.float32)
    starts = range(0, len(grey), _CHUNK)
    for start, part in zip(starts, side_by_side(of_some, starts), strict=True):
        found[start : start + _CHUNK] = part
    return found


def insides(grey: np.ndarray, rims: np.ndarray) -> np.ndarray:
    """Return what plain borders leave of pictures, stretched over the whole: uint8 (N, 64, 64) -> float32 (N, 32, 32).

    Args:
        grey, rims: as for `signatures`.
    """
    with torch.inference_mode():
        return _inside(torch.from_numpy(grey).float(), torch.as_tensor(rims).float()).numpy()


def mirrored(found: np.ndarray) -> np.ndarray:
    """Return the signatures of the mirrored images: columns of cells and directions change places."""
    bins = np.arange(_BINS)
    grid = found.reshape(-1, _BINS, _CELLS, _CELLS)
    return np.ascontiguousarray(grid[:, (_BINS // 2 - bins) % _BINS, :, ::-1]).reshape(-1, SIZE)


def _inside(pictures: torch.Tensor, rims: torch.Tensor) -> torch.Tensor:
    halved = F.avg_pool2d(pictures[:, None], 2)[:, 0]
    bordered = (rims > 0).any(1).nonzero()[:, 0]
    if len(bordered):
        left, top, right, bottom = rims[bordered].unbind(1)
        maps = torch.zeros(len(bordered), 2, 3)
        maps[:, 0, 0], maps[:, 0, 2] = 1 - left - right, left - right
        maps[:, 1, 1], maps[:, 1, 2] = 1 - top - bottom, top - bottom
        grid = F.affine_grid(maps, [len(bordered), 1, 64, 64], align_corners=False)
        inner = F.grid_sample(pictures[bordered][:, None], grid, align_corners=False, padding_mode="border")
        halved[bordered] = F.avg_pool2d(inner, 2)[:, 0]
    return halved


def _histograms(pictures: torch.Tensor) -> torch.Tensor:
    """Gradient directions of pictures (N, 32, 32), shared out softly over neighbouring cells and bins: (N, 128)."""
    padded = F.pad(pictures[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    strength = (across.square() + down.square()).sqrt()
    place = torch.atan2(down, across) * (_BINS / (2 * torch.pi)) % _BINS  # 0 to 8; bin 0 is to the right
    pooling = _pooling()
    votes = torch.empty(len(pictures), _BINS, _CELLS, _CELLS)
    for number in range(_BINS):
        near = (1 - ((place - number + _BINS / 2) % _BINS - _BINS / 2).abs()).clamp_min(0)
        votes[:, number] = pooling.T @ (strength * near) @ pooling
    found = F.normalize(votes.flatten(1), dim=1).clamp_max(0.2).sqrt()  # no single edge decides
    return F.normalize(F.normalize(found, dim=1) - _TYPICAL, dim=1)


def _pooling() -> torch.Tensor:
    """Weights (32, 4) with which a row of pixels counts for each cell: triangles, flat beyond the outer centres."""
    place = (torch.arange(_SIDE) + 0.5) / _SIDE * _CELLS - 0.5
    place = place.clamp(0, _CELLS - 1)
    return (1 - (place[:, None] - torch.arange(_CELLS)).abs()).clamp_min(0)
