"""Holding out a validation split when the data brings none.

Every class gives its share; images of one group, and copies of one image, stay on one side; the choice follows from the
content and the seed, not from the order or the names of the files. A test split is never touched, nor is a validation
split that exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import polars as pl

from fovea.core.files import digest
from fovea.core.findings import Finding
from fovea.data.manifest import Manifest


@dataclass(frozen=True)
class _Unit:
    """Rows that may not be parted, with the number of images of each class among them."""

    rows: tuple[int, ...]
    counts: dict[int, int]


def with_splits(manifest: Manifest, *, val_fraction: float, seed: int) -> Manifest:
    """Return a manifest in which every usable row has a split and, if it can be, there is a validation split.

    An existing validation split stays as it is. Otherwise about `val_fraction` of each class's training images is held
    out: at least one image of each class that has two, none of a class that has one. With several labels an image the
    rarest classes choose first, after Sechidis et al., "On the Stratification of Multi-Label Data" (2011), section 4.

    Args:
        manifest: rows without a split count as training images.
        val_fraction: share to hold out, 0 (none) up to but not including 1.
        seed: another seed holds out other images.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; expected 0 <= val_fraction < 1")
    manifest = replace(manifest, table=manifest.table.with_columns(pl.col("split").fill_null("train")))
    if val_fraction == 0 or manifest.has_split("val") or not manifest.has_split("train"):
        return manifest
    rows = manifest.table.with_row_index("row").filter(pl.col("excluded").is_null() & (pl.col("split") == "train"))
    units = _units(rows, multilabel=manifest.multilabel, seed=seed)
    held_out = _choose(units, val_fraction)
    chosen = [row for unit in held_out for row in unit.rows]
    split = pl.when(pl.int_range(pl.len()).is_in(chosen)).then(pl.lit("val")).otherwise("split")
    result = replace(manifest, table=manifest.table.with_columns(split=split))
    return result.with_findings(_finding(result, units, len(chosen), rows.height, val_fraction, seed))


def _units(rows: pl.DataFrame, *, multilabel: bool, seed: int) -> list[_Unit]:
    """Join rows that share a group or a digest; the order follows from the seed and the content alone."""
    keys = rows.select(pl.coalesce("digest", "path"))["digest"].to_list()
    groups = rows["group"].to_list()
    parent = list(range(rows.height))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, (key, group) in enumerate(zip(keys, groups, strict=True)):
        for mark in [("digest", key)] + ([("group", group)] if group is not None else []):
            parent[root(index)] = root(first.setdefault(mark, index))
    members: dict[int, list[int]] = {}
    for index in range(rows.height):
        members.setdefault(root(index), []).append(index)
    numbers, targets = rows["row"].to_list(), rows["target"].to_list()
    ordered = sorted(members.values(), key=lambda unit: digest(str(seed), min(keys[index] for index in unit)))
    return [
        _Unit(
            tuple(numbers[index] for index in unit),
            _tally(label for index in unit for label in (targets[index] if multilabel else [targets[index]])),
        )
        for unit in ordered
    ]


def _tally(labels: Iterable[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return counts


def _choose(units: list[_Unit], fraction: float) -> list[_Unit]:
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

    def gain(unit: _Unit) -> int:
        """By how many images the shares come nearer to what is wanted."""
        return sum(abs(missing[label]) - abs(missing[label] - count) for label, count in unit.counts.items())

    def leaves_some(unit: _Unit) -> bool:
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


def _finding(
    manifest: Manifest, units: list[_Unit], held_out: int, total: int, val_fraction: float, seed: int
) -> Finding:
    grouped = any(len(unit.rows) > 1 for unit in units)
    evidence = {"train": total - held_out, "val": held_out, "val_fraction": val_fraction, "seed": seed}
    if not held_out:
        why = "the groups cannot be parted" if grouped else "no class has two images"
        return Finding(
            severity="warning",
            code="split-made",
            message=f"the data has no validation split and none could be made: {why}",
            fix="add images, or bring a validation split",
            evidence=evidence,
        )
    counts = manifest.counts()
    without = counts.filter((pl.col("train") > 0) & (pl.col("val") == 0))["class"].to_list()
    message = (
        f"the data has no validation split; {held_out:,} of {total:,} training images "
        f"({100 * held_out / total:.1f} %) were held out, by class and with seed {seed}"
    )
    if grouped:
        message += ", groups and copies kept together"
    if without:
        message += f"; {len(without):,} classes have too few images to give one"
    return Finding(
        severity="note",
        code="split-made",
        message=message,
        fix="bring a validation split, or set data.val_fraction",
        evidence={**evidence, "classes_without_val": without},
    )
