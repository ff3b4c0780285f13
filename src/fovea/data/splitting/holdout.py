"""Holding out one validation split when the data brings none: by class, or the latest images.

A test split is never touched, nor is a validation split that exists.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import replace

import polars as pl
from numpy.typing import ArrayLike

from fovea.core.findings import Finding
from fovea.data.manifest import Manifest
from fovea.data.splitting.units import Unit, check_dated, recorded, training_units


def with_splits(
    manifest: Manifest,
    *,
    val_fraction: float,
    seed: int,
    together: ArrayLike | None = None,
    by: str = "class",
    times: ArrayLike | None = None,
) -> Manifest:
    """Return a manifest in which every usable row has a split and, if it can be, there is a validation split.

    An existing validation split stays as it is. Otherwise, by class: about `val_fraction` of each class's training
    images is held out, at least one image of each class that has two, none of a class that has one. With several labels
    an image the rarest classes choose first, after Sechidis et al., "On the Stratification of Multi-Label Data" (2011),
    section 4. By time: the latest `val_fraction` of all training images; what is trained on was taken before.

    Args:
        manifest: rows without a split count as training images.
        val_fraction: share to hold out, 0 (none) up to but not including 1.
        seed: another seed holds out other images.
        together: (N,) integers for the N rows of `manifest.table`: images of one number, 0 or above, stay on one side;
            a negative number stands alone. None takes what the manifest has recorded.
        by: "class" or "time". Images whose time is unknown stay in training.
        times: (N,) seconds at which each image was taken, NaN where unknown. None takes what the manifest has recorded.

    Raises:
        RecipeError, DataError: `by` is no way to split, or no image has a time.

    >>> table = pl.DataFrame({"path": [f"{n}.png" for n in range(10)], "target": [n % 2 for n in range(10)]})
    >>> split = with_splits(Manifest(table, ("cat", "dog"), root="photos"), val_fraction=0.2, seed=0)
    >>> split.counts()["val"].to_list()
    [1, 1]
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; expected 0 <= val_fraction < 1")
    manifest = recorded(manifest, by=by, together=together, times=times)
    manifest = replace(manifest, table=manifest.table.with_columns(pl.col("split").fill_null("train")))
    if val_fraction == 0 or manifest.has_split("val") or not manifest.has_split("train"):
        return manifest
    units = training_units(manifest, seed=seed)
    if by == "time":
        check_dated(units)
    held_out = _latest(units, val_fraction) if by == "time" else _choose(units, val_fraction)
    chosen = [row for unit in held_out for row in unit.rows]
    split = pl.when(pl.int_range(pl.len()).is_in(chosen)).then(pl.lit("val")).otherwise("split")
    result = replace(manifest, table=manifest.table.with_columns(split=split))
    since_s = min((unit.taken_s for unit in held_out), default=None) if by == "time" else None
    return result.with_findings(_finding(result, units, len(chosen), val_fraction, seed, by=by, since_s=since_s))


def _choose(units: list[Unit], fraction: float) -> list[Unit]:
    """Pick units until every class has its share, the rarest class first; never the last image of a class."""
    left: dict[int, int] = {}
    holders: dict[int, list[int]] = {}
    for index, unit in enumerate(units):
        for label, count in unit.counts.items():
            left[label] = left.get(label, 0) + count
            holders.setdefault(label, []).append(index)
    wanted = {label: max(1, round(fraction * total)) if len(holders[label]) > 1 else 0 for label, total in left.items()}
    missing = dict(wanted)
    chosen: set[int] = set()

    def gain(unit: Unit) -> int:
        """By how many images the shares come nearer to what is wanted."""
        return sum(abs(missing[label]) - abs(missing[label] - count) for label, count in unit.counts.items())

    def leaves_some(unit: Unit) -> bool:
        return all(left[label] > count for label, count in unit.counts.items())

    def take(index: int) -> None:
        chosen.add(index)
        for label, count in units[index].counts.items():
            left[label] -= count
            missing[label] -= count

    for label in sorted(left, key=lambda label: (left[label], label)):
        for index in holders[label]:
            if missing[label] <= 0:
                break
            if index not in chosen and gain(units[index]) > 0 and leaves_some(units[index]):
                take(index)
    if not chosen:  # a few large groups: each overshoots, so the one that overshoots least is better than none
        able = [index for index, unit in enumerate(units) if unit.counts and leaves_some(unit)]
        if able:
            take(max(able, key=lambda index: gain(units[index])))
    return [units[index] for index in sorted(chosen)]


def _latest(units: list[Unit], fraction: float) -> list[Unit]:
    """Pick the units that end last, with all that end in the same second, until they make up the share.

    A unit counts by its last image: then no image that is trained on was taken after the units that are held out end,
    though a group that spans the cut brings some earlier ones of its own. Nothing is held out where nothing would stay.
    """
    dated = sorted((unit for unit in units if not math.isnan(unit.taken_s)), key=lambda unit: -unit.taken_s)
    wanted = max(1, round(fraction * sum(len(unit.rows) for unit in units)))
    chosen: list[Unit] = []
    held = 0
    for unit in dated:
        if held >= wanted and unit.taken_s < chosen[-1].taken_s:
            break
        chosen.append(unit)
        held += len(unit.rows)
    return chosen if len(chosen) < len(units) else []


def _finding(
    manifest: Manifest,
    units: list[Unit],
    held_out: int,
    val_fraction: float,
    seed: int,
    *,
    by: str,
    since_s: float | None,
) -> Finding:
    total = sum(len(unit.rows) for unit in units)
    grouped = any(len(unit.rows) > 1 for unit in units)
    evidence = {
        "train": total - held_out,
        "val": held_out,
        "val_fraction": val_fraction,
        "seed": seed,
        "by": by,
        "units": len(units),
        **({"since": moment(since_s), "without_time": _undated(units)} if since_s is not None else {}),
    }
    if not held_out:
        why = "the groups cannot be parted" if grouped else "no class has two images"
        if by == "time":
            why = "all images are of one time"
        return Finding(
            severity="warning",
            code="split-made",
            message=f"the data has no validation split and none could be made: {why}",
            fix="add images, or bring a validation split",
            evidence=evidence,
        )
    counts = manifest.counts()
    without = counts.filter((pl.col("train") > 0) & (pl.col("val") == 0))["class"].to_list()
    unseen = counts.filter((pl.col("train") == 0) & (pl.col("val") > 0))["class"].to_list()
    message = (
        f"the data has no validation split; {held_out:,} of {total:,} training images ({100 * held_out / total:.1f} %) "
        "were held out, "
    )
    message += f"by class and with seed {seed}" if since_s is None else f"those from {moment(since_s)} on"
    if grouped:
        message += ", groups and copies kept together"
    if without:
        lack = "have too few images to give one" if since_s is None else "have no image that late"
        message += f"; {len(without):,} classes {lack}"
    if unseen:
        message += f"; {len(unseen):,} classes occur in it alone and cannot be learnt"
    return Finding(
        severity="warning" if unseen else "note",
        code="split-made",
        message=message,
        fix="bring a validation split, or set data.val_fraction",
        evidence={**evidence, "classes_without_val": without, **({"classes_without_train": unseen} if unseen else {})},
    )


def _undated(units: list[Unit]) -> int:
    return sum(len(unit.rows) for unit in units if math.isnan(unit.taken_s))


def moment(seconds: float) -> str:
    """Return a time as text.

    >>> moment(0)
    '1970-01-01 00:00:00'
    """
    try:
        return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # times of the caller's own, not of a calendar
        return f"{seconds:g} s"
