"""Random numbers that depend on nothing but a seed and a key: no state, no order, the same on every machine.

A generator hands out numbers in the order it is asked, so threads or a resumed training would change them. Here the
key of an image (say, epoch * images + index) is hashed instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOOKS = 2**14  # how many looks at one image have a key of their own
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(*, seed: int, keys: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Return float64 numbers in [0, 1), shape (len(keys), count); a row depends only on `seed` and its key.

    SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 16), started from
    a hash of seed and key; the upper 53 bits make the fraction.

    >>> uniforms(seed=0, keys=[5, 9], count=3)[1:].tolist() == uniforms(seed=0, keys=[9], count=3).tolist()
    True
    """
    start = _mix(_mix(np.array([seed % 2**64], np.uint64)) ^ np.asarray(keys, np.uint64))
    words = splitmix64(_mix(start), count)
    return (words >> np.uint64(11)) * 2.0**-53


def look_key(digest: str, look: int) -> int:
    """Return the key of one look at an image, from its content digest: neither its place nor its name matters.

    Args:
        digest: hexadecimal, 12 digits or more.
        look: the epoch, or the number of the view; below `LOOKS`, where the keys of another image begin.
    """
    return int(digest[:12], 16) * LOOKS + look


def splitmix64(states: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` outputs of SplitMix64 for each state: uint64 (N,) -> (N, count)."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN  # wraps modulo 2**64, as intended
    return _mix(states[:, None] + steps)


def _mix(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
