"""Which images make up which batch: a pure function of seed and epoch, so that a resumed training sees the same ones.

The order is drawn for the whole batch over all devices; each device then takes every world-th image of it. How long an
epoch is depends on the sampler: `epoch_size` says it.
"""

from __future__ import annotations

import numpy as np

from fovea.core.errors import RecipeError

ONE_CLASS_EACH = ("oversample", "undersample")
"""Samplers that need one class an image: with several, bringing one class to a size changes the others'."""


def check_sampler(sampler: str, *, multilabel: bool) -> None:
    """Raise `RecipeError` when the sampler cannot be used on such data."""
    if multilabel and sampler in ONE_CLASS_EACH:
        raise RecipeError(
            f"train.sampler is {sampler!r}, which needs one class an image; this data has several labels an image",
            hint="use train.sampler=balanced, or train.class_weights",
        )


def epoch_batches(
    targets: np.ndarray, *, batch_size: int, seed: int, epoch: int, sampler: str = "shuffle"
) -> list[np.ndarray]:
    """Return the batches of one epoch as arrays of row numbers.

    Args:
        targets: class ids (N,) or indicator rows (N, C).
        batch_size: images in a batch over all devices; the last batch may be smaller. A last batch of one image
            joins the batch before it, because BatchNorm cannot normalise a single value.
        sampler: "shuffle" takes every row once. "balanced" draws N rows so that every class is equally likely (known
            as label shuffling). "oversample" brings every class to the size of the largest, "undersample" to that of
            the smallest. Where a class gives fewer rows than it has, each epoch draws other ones; where it gives
            more, it goes round all of its rows before one repeats.

    Raises:
        RecipeError: over- or undersampling of indicator rows.
    """
    check_sampler(sampler, multilabel=targets.ndim == 2)
    rng = np.random.default_rng([seed, epoch])
    rows = rng.permutation(len(targets)) if sampler == "shuffle" else _evened(targets, sampler, rng)
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def epoch_size(targets: np.ndarray, sampler: str) -> int:
    """Return how many images `epoch_batches` draws for one epoch.

    >>> [epoch_size(np.array([0, 0, 0, 1]), name) for name in ("shuffle", "balanced", "oversample", "undersample")]
    [4, 4, 6, 2]
    """
    check_sampler(sampler, multilabel=targets.ndim == 2)
    if sampler not in ONE_CLASS_EACH or not len(targets):
        return len(targets)
    sizes = np.unique(targets, return_counts=True)[1]
    return int(len(sizes) * (sizes.max() if sampler == "oversample" else sizes.min()))


def batch_count(images: int, batch_size: int) -> int:
    """Return how many batches `epoch_batches` makes of `images` rows (its `epoch_size`)."""
    full, rest = divmod(images, batch_size)
    return full + (rest > 1) if full else 1


def earlier_draws(batches: list[np.ndarray]) -> list[np.ndarray]:
    """Return for each row of each batch how often it was drawn before in this epoch, in the same shape.

    >>> [again.tolist() for again in earlier_draws([np.array([4, 7, 4]), np.array([4])])]
    [[0, 0, 1], [2]]
    """
    rows = np.concatenate(batches)
    order = np.argsort(rows, kind="stable")
    again = np.empty(len(rows), dtype=np.int64)
    again[order] = np.arange(len(rows)) - np.searchsorted(rows[order], rows[order])
    return np.split(again, np.cumsum([len(batch) for batch in batches])[:-1])


def _evened(targets: np.ndarray, sampler: str, rng: np.random.Generator) -> np.ndarray:
    """Draw equally many rows of each class that occurs; for "balanced", up to one, as the rows of an epoch are N."""
    indicator = targets if targets.ndim == 2 else targets[:, None] == np.unique(targets)
    members = [np.flatnonzero(column) for column in indicator.T if column.any()]
    drawn = np.arange(epoch_size(targets, sampler)) % len(members)  # the class of each place
    rows = np.empty(len(drawn), dtype=np.int64)
    for number, own in enumerate(members):
        places = np.flatnonzero(drawn == number)
        rounds = -(-len(places) // len(own))
        rows[places] = np.concatenate([rng.permutation(own) for _ in range(rounds)])[: len(places)]
    return rng.permutation(rows)
