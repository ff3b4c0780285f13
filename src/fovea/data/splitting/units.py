"""What may not be parted: images of one group, copies of one image, and look-alikes that were found to belong together.

A split or a fold takes whole units. Their order follows from the content and the seed alone, not from the order or the
names of the files, and so does every choice made by going through them in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from fovea.core.errors import DataError, RecipeError
from fovea.core.files import digest
from fovea.data.manifest import Manifest

BY = ("class", "time")


@dataclass(frozen=True)
class Unit:
    """Rows that may not be parted.

    Args:
        rows: their numbers in the manifest's table.
        counts: number of images of each class among them.
        taken_s: when the last of them was taken; NaN where no row says.
    """

    rows: tuple[int, ...]
    counts: dict[int, int]
    taken_s: float = math.nan


def recorded(manifest: Manifest, *, by: str, together: ArrayLike | None, times: ArrayLike | None) -> Manifest:
    """Return a manifest that keeps what a split is asked to respect, so that what is split later respects it too.

    Args:
        manifest: the data.
        by: "class" or "time".
        together: (N,) for the N rows of the table: the number of its group of look-alikes, negative for none.
        times: (N,) seconds at which the image was taken, NaN where unknown.

    Raises:
        RecipeError: `by` is something else.
        ValueError: `together` or `times` are not one for each row.
    """
    if by not in BY:
        raise RecipeError(f"cannot split by {by!r}", hint=f"choose {' or '.join(BY)}")
    if together is not None:
        numbers = pl.Series(_one_each("together", together, manifest.table.height).astype(np.int64), dtype=pl.Int64)
        column = pl.when(numbers >= 0).then(numbers).cast(pl.Int32)
        manifest = replace(manifest, table=manifest.table.with_columns(together=column))
    if times is not None:
        seconds = pl.Series(_one_each("times", times, manifest.table.height).astype(np.float64)).fill_nan(None)
        manifest = replace(manifest, table=manifest.table.with_columns(taken_s=seconds))
    return manifest


def check_dated(units: Sequence[Unit]) -> None:
    """Raise `DataError` unless some unit says when it was taken."""
    if all(math.isnan(unit.taken_s) for unit in units):
        raise DataError(
            "the data cannot be split by time: no image says when it was taken",
            hint="set data.split_by=class, or write a table with a split column of your own",
        )


def _one_each(name: str, values: ArrayLike, count: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (count,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({count},): one for each row of the table")
    return array


def units(rows: pl.DataFrame, *, multilabel: bool, seed: int) -> list[Unit]:
    """Join rows that share a group, a digest or a group of look-alikes, also by way of each other.

    Args:
        rows: of a manifest's table, with the column `row`, their number in it.
        multilabel: whether `target` is a list.
        seed: another seed gives another order.
    """
    keys = rows.select(pl.coalesce("digest", "path"))["digest"].to_list()
    marks = [("digest", keys), ("group", rows["group"].to_list()), ("together", rows["together"].to_list())]
    parent = list(range(rows.height))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, Any], int] = {}
    for kind, values in marks:
        for index, value in enumerate(values):
            if value is not None:
                parent[root(index)] = root(first.setdefault((kind, value), index))
    members: dict[int, list[int]] = {}
    for index in range(rows.height):
        members.setdefault(root(index), []).append(index)
    numbers, targets, taken = rows["row"].to_list(), rows["target"].to_list(), rows["taken_s"].to_list()
    ordered = sorted(members.values(), key=lambda unit: digest(str(seed), min(keys[index] for index in unit)))
    return [
        Unit(
            tuple(numbers[index] for index in unit),
            tally(label for index in unit for label in (targets[index] if multilabel else [targets[index]])),
            max((taken[index] for index in unit if taken[index] is not None), default=math.nan),
        )
        for unit in ordered
    ]


def training_units(manifest: Manifest, *, seed: int) -> list[Unit]:
    """Return the units of the usable training images."""
    rows = manifest.table.with_row_index("row").filter(pl.col("excluded").is_null() & (pl.col("split") == "train"))
    return units(rows, multilabel=manifest.multilabel, seed=seed)


def tally(labels: Iterable[int]) -> dict[int, int]:
    """Count equal labels."""
    counts: dict[int, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return counts


def holders(among: Iterable[Unit]) -> dict[int, int]:
    """Return in how many units each class occurs."""
    return tally(label for unit in among for label in unit.counts)
