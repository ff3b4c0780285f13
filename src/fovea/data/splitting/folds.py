"""Dealing the training images into folds, each held out once: by class, each unit alone, or by time.

Folds by time are contiguous stretches of it, not the expanding windows of forecasting: every image is to be judged
once, also the first ones, and what must not straddle is the burst, the session, the season. A model is therefore also
trained on later images than it is judged on. Where that matters, hold out the latest images once (`holdout`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from fovea.core.errors import DataError, RecipeError
from fovea.core.findings import Finding
from fovea.data.manifest import Manifest
from fovea.data.splitting.holdout import with_splits
from fovea.data.splitting.units import Unit, check_dated, holders, recorded, tally, training_units

LEAVE_ONE_OUT = "loo"


def with_folds(
    manifest: Manifest,
    *,
    folds: int | str,
    seed: int,
    together: ArrayLike | None = None,
    by: str = "class",
    times: ArrayLike | None = None,
) -> Manifest:
    """Return a manifest whose usable training images have a `fold`, 0 to k-1; all other rows have none.

    By class, each class is spread over the folds as evenly as its units allow: a unit goes where its classes are
    thinnest, large units first, then rare classes, as in scikit-learn's StratifiedGroupKFold and for several labels an
    image after Sechidis et al. (2011). With "loo" each unit is a fold of its own, its images left out together.

    Args:
        manifest: rows without a split count as training images. Validation and test splits stay as they are.
        folds: 2 or more, or "loo".
        seed: another seed deals otherwise.
        together: (N,) integers for the N rows of `manifest.table`: images of one number, 0 or above, share a fold;
            a negative number stands alone. None takes what the manifest has recorded.
        by: "class" or "time". Images whose time is unknown are dealt by class.
        times: (N,) seconds at which each image was taken, NaN where unknown. None takes what the manifest has recorded.

    Raises:
        RecipeError: fewer than 2 folds, or more than there are units.
        DataError: by time, and no image has a time; or a fold would leave one class to learn from.

    >>> table = pl.DataFrame({"path": [f"{n}.png" for n in range(6)], "target": [n % 2 for n in range(6)]})
    >>> folded = with_folds(Manifest(table, ("cat", "dog"), root="photos"), folds=3, seed=0)
    >>> [sorted(part["target"]) for _, part in folded.table.group_by("fold")]
    [[0, 1], [0, 1], [0, 1]]
    """
    manifest = recorded(manifest, by=by, together=together, times=times)
    manifest = replace(manifest, table=manifest.table.with_columns(pl.col("split").fill_null("train")))
    units = training_units(manifest, seed=seed)
    count = _count(folds, units)
    if folds == LEAVE_ONE_OUT:
        places = list(range(count))
    elif by == "time":
        places = _stretches(units, count)
    else:
        places = _spread(units, count, [None] * len(units))
    fold_of = np.full(manifest.table.height, -1)
    for unit, place in zip(units, places, strict=True):
        fold_of[list(unit.rows)] = place
    numbers = pl.Series(fold_of)
    table = manifest.table.with_columns(fold=pl.when(numbers >= 0).then(numbers).cast(pl.Int32))
    result = replace(manifest, table=table)
    found = _folds_of(units, places)
    if not manifest.multilabel:
        _check_learnable(found, count)
    sizes = table["fold"].drop_nulls().value_counts()["count"].to_list()
    few = {label for label, among in found.items() if len(among) < (2 if folds == LEAVE_ONE_OUT else count)}
    names = [manifest.classes[label] for label in sorted(few)]
    return result.with_findings(_finding(sizes, len(units), names, loo=folds == LEAVE_ONE_OUT, seed=seed, by=by))


def fold_count(manifest: Manifest) -> int:
    """Return how many folds the data is dealt into; 0 when it is not."""
    return max(manifest.table["fold"].drop_nulls().to_list(), default=-1) + 1


def one_fold(manifest: Manifest, fold: int, *, val_fraction: float, seed: int, by: str = "class") -> Manifest:
    """Return the data of one fold's training: its images are the test split, all other folds are for training.

    Nothing is chosen on the images of the fold, so that what is said of them holds for new ones. For choosing there is
    the validation split that the data brings, else one that is held out of the other folds. The data's own test split
    is left out.
    """
    rows = manifest.table.filter(
        pl.col("excluded").is_null() & (pl.col("fold").is_not_null() | (pl.col("split") == "val"))
    )
    held_out = pl.when(pl.col("fold") == fold).then(pl.lit("test")).otherwise("split")
    part = replace(manifest, table=rows.with_columns(split=held_out), findings=())
    return with_splits(part, val_fraction=val_fraction, seed=seed, by=by)


def _count(folds: int | str, units: Sequence[Unit]) -> int:
    """Return how many folds there will be."""
    images = sum(len(unit.rows) for unit in units)
    parts = f"{len(units):,} groups and copies that may not be parted" if len(units) < images else f"{images:,} images"
    if folds == LEAVE_ONE_OUT:
        folds = len(units)
        if folds < 2:
            raise RecipeError(f"leave-one-out needs 2 training images, the data has {parts}", hint="add images")
    if not isinstance(folds, int):
        raise RecipeError(f"train.folds is {folds!r}", hint="give a number from 2 on, or loo for leave-one-out")
    if folds < 2:
        raise RecipeError(
            f"train.folds is {folds}; k-fold needs at least 2", hint="set data.val_fraction for a single split"
        )
    if folds > len(units):
        raise RecipeError(
            f"train.folds is {folds:,}, but there are only {parts} to train on",
            hint=f"set train.folds to {len(units)} or less, or to loo for leave-one-out"
            if len(units) > 1
            else "add images, or give fewer of them the same group",
        )
    return folds


def _spread(units: Sequence[Unit], count: int, given: Sequence[int | None]) -> list[int]:
    """Return the fold of each unit: where its classes are thinnest, then where the fewest images are.

    Thinnest means that the sum over classes of the squared shares of the folds grows least. That weighs every class
    alike, takes units of many classes, and for single images deals each class out to the last one evenly.

    Args:
        given: the fold of a unit that has one already.
    """
    total = dict.fromkeys(holders(units), 0)
    for unit in units:
        for label, images in unit.counts.items():
            total[label] += images
    held = {label: np.zeros(count) for label in total}
    images_in = np.zeros(count)
    places = [-1 if place is None else place for place in given]

    def put(index: int, place: int) -> None:
        places[index] = place
        images_in[place] += len(units[index].rows)
        for label, images in units[index].counts.items():
            held[label][place] += images

    def rarity(unit: Unit) -> tuple[int, int]:
        return min(((total[label], label) for label in unit.counts), default=(0, 0))

    for index, place in enumerate(given):
        if place is not None:
            put(index, place)
    free = [index for index, place in enumerate(given) if place is None]
    for index in sorted(free, key=lambda index: (-len(units[index].rows), rarity(units[index]))):
        growth = np.zeros(count)
        for label, images in units[index].counts.items():
            growth += held[label] * (images / total[label] ** 2)
        thinnest = np.flatnonzero(growth <= growth.min() + 1e-12)
        put(index, int(thinnest[images_in[thinnest].argmin()]))
    return places


def _stretches(units: Sequence[Unit], count: int) -> list[int]:
    """Return the fold of each unit: contiguous stretches of time with about as many images each, earliest first.

    Units of one second stay together, as a burst would; units without a time are spread by class.
    """
    check_dated(units)
    dated = sorted(
        (index for index, unit in enumerate(units) if not math.isnan(unit.taken_s)),
        key=lambda index: units[index].taken_s,
    )
    moments = sorted({units[index].taken_s for index in dated})
    if len(moments) < count:
        raise RecipeError(
            f"train.folds is {count:,}, but the images are of only {len(moments):,} different times",
            hint="set fewer folds, or data.split_by=class",
        )
    images = dict.fromkeys(moments, 0)
    for index in dated:
        images[units[index].taken_s] += len(units[index].rows)
    fold_of, fold, held, left = {}, 0, 0, sum(images.values())
    for number, taken_s in enumerate(moments):
        # Go on to the next stretch when this one is nearer to its share without these images, and in any case in time
        # for every stretch to get some.
        share = (held + left) / (count - fold)
        full = held > 0 and held + images[taken_s] / 2 > share
        if fold < count - 1 and held and (full or len(moments) - number <= count - 1 - fold):
            fold, held = fold + 1, 0
        fold_of[taken_s] = fold
        held, left = held + images[taken_s], left - images[taken_s]
    return _spread(units, count, [fold_of.get(unit.taken_s) for unit in units])


def _folds_of(units: Sequence[Unit], places: Sequence[int]) -> dict[int, set[int]]:
    """Return the folds in which each class occurs."""
    found: dict[int, set[int]] = {}
    for unit, place in zip(units, places, strict=True):
        for label in unit.counts:
            found.setdefault(label, set()).add(place)
    return found


def _check_learnable(found: Mapping[int, set[int]], count: int) -> None:
    """Raise unless two classes are left to learn from whichever fold is held out."""
    only_in = tally(place for among in found.values() if len(among) == 1 for place in among)
    for place in range(count):
        left = len(found) - only_in.get(place, 0)
        if left < 2 <= len(found):
            raise DataError(
                f"with fold {place} held out, images of only {left} of {len(found)} classes are left to learn from",
                hint="add images of other groups, or set more folds",
            )


def _finding(sizes: Sequence[int], units: int, names: Sequence[str], *, loo: bool, seed: int, by: str) -> Finding:
    """Say how the images were dealt.

    Args:
        sizes: images in each fold.
        units: how many there are.
        names: the classes that are not in every fold; of leave-one-out, those that cannot be learnt when held out.
    """
    images, count = sum(sizes), len(sizes)
    grouped = ", groups and copies kept together" if units < images else ""
    if loo:
        message = f"each of {count:,} {'groups' if grouped else 'images'} is held out once (leave-one-out){grouped}"
    else:
        how = "by time" if by == "time" else f"by class and with seed {seed}"
        message = (
            f"{images:,} training images were dealt into {count:,} folds of {min(sizes):,} to {max(sizes):,}, "
            f"{how}{grouped}"
        )
    if names:
        lack = "have a single one and cannot be learnt when it is held out" if loo else "are not in every fold"
        message += f"; {len(names):,} classes {lack}: {', '.join(names[:5])}" + (" …" if len(names) > 5 else "")
    return Finding(
        severity="warning" if names else "note",
        code="split-made",
        message=message,
        fix="add images of these classes, or set fewer folds" if names else "set train.folds, or another seed",
        evidence={
            "folds": count,
            "images": images,
            "units": units,
            "smallest_fold": min(sizes),
            "largest_fold": max(sizes),
            "seed": seed,
            "by": by,
            "classes_not_in_every_fold": list(names),
        },
    )
