"""How values are spread over magnitudes: shares of zeros, of each power of two, and of what is not finite.

Magnitudes of activations and gradients span many powers of ten, and what matters of them does too. Values are thinned
where they lie and counted on the host, so that a GPU is asked once for all layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

LOWEST, HIGHEST = -40, 15
"""Powers of two of the first and the last bin; what lies beyond is counted there. About 1e-12 to 6e4."""
BINS = HIGHEST - LOWEST + 3
"""Zeros, the powers of two from the lowest to the highest, what is not finite."""
_MOST_VALUES = 2048  # of a tensor: a share of 1 % is then told to within 0.2 %


def thinned(values: torch.Tensor) -> torch.Tensor:
    """Return at most 2,048 values of a tensor, spread evenly over it, as a copy (n,).

    The stride shares no factor with the size, or one channel or column alone might be met again and again.
    """
    count = values.numel()
    stride = -(-count // _MOST_VALUES)
    while stride > 1 and math.gcd(stride, count) > 1:
        stride += 1
    strides = values.stride()
    order = sorted(range(values.ndim), key=lambda axis: -strides[axis])  # as it lies in memory: a view
    return values.detach().permute(order).reshape(-1)[::stride].float().clone()


def shares(several: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return which share of the values (n,) of each array lies in each bin, (arrays, BINS); each row sums to 1.

    >>> row = shares([np.array([0.0, 1.0, -1.5, 3.0], np.float32)])[0]
    >>> row[0], row[1 - LOWEST], row[2 - LOWEST]
    (np.float32(0.25), np.float32(0.5), np.float32(0.25))
    """
    if not several:
        return np.zeros((0, BINS), np.float32)
    values = np.concatenate(several)
    exponents = np.frexp(values)[1] - 1  # of 2: 1 and 1.5 have 0
    bins = np.clip(exponents, LOWEST, HIGHEST) + 1 - LOWEST
    bins[values == 0] = 0
    bins[~np.isfinite(values)] = BINS - 1
    lengths = np.array([len(each) for each in several])
    rows = np.repeat(np.arange(len(several)), lengths)
    counts = np.bincount(rows * BINS + bins, minlength=len(several) * BINS).reshape(-1, BINS)
    return (counts / np.maximum(lengths, 1)[:, None]).astype(np.float32)
