"""Which images make up which batch: a pure function of seed and epoch, so that a resumed training sees the same ones.

The order is drawn for the whole batch over all devices; each device then takes every world-th image of it.
"""

from __future__ import annotations

import numpy as np


def epoch_batches(
    targets: np.ndarray, *, batch_size: int, seed: int, epoch: int, balanced: bool = False
) -> list[np.ndarray]:
    """Return the batches of one epoch as arrays of row numbers.

    Args:
        targets: class ids (N,) or indicator rows (N, C).
        batch_size: images in a batch over all devices; the last batch may be smaller. A last batch of one image
            joins the batch before it, because BatchNorm cannot normalise a single value.
        balanced: draw N rows so that every class is equally likely (with replacement for rare classes).
    """
    rng = np.random.default_rng([seed, epoch])
    rows = _balanced(targets, rng) if balanced else rng.permutation(len(targets))
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def batch_count(images: int, batch_size: int) -> int:
    """Return how many batches `epoch_batches` makes of `images` rows."""
    full, rest = divmod(images, batch_size)
    return full + (rest > 1) if full else 1


def _balanced(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many rows as there are: a class first, then one of its rows, going round the rows before repeating."""
    indicator = targets if targets.ndim == 2 else targets[:, None] == np.unique(targets)
    members = [np.flatnonzero(column) for column in indicator.T if column.any()]
    drawn = np.arange(len(targets)) % len(members)  # equally many of each class, up to one
    rows = np.empty(len(targets), dtype=np.int64)
    for number, own in enumerate(members):
        places = np.flatnonzero(drawn == number)
        rounds = -(-len(places) // len(own))
        rows[places] = np.concatenate([rng.permutation(own) for _ in range(rounds)])[: len(places)]
    return rng.permutation(rows)
