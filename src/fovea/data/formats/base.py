"""What every reader of a format shares: the rows it returns, the names of splits, paths, the choice of a column.

A reader turns a source into `Rows`: which files there are and how the source labels them. It opens no image, numbers no
class and leaves nothing out in silence; that is the work of `reading`, `classmap` and `scanning`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.core.registry import Registry
from fovea.data.formats.classfile import ClassFile, Level, find_class_file, read_class_file

ROW_SCHEMA: dict[str, Any] = {
    "path": pl.String,  # relative to the root with '/', or absolute
    "labels": pl.List(pl.String),  # as the source writes them; null when it gives none
    "split": pl.String,
    "group": pl.String,
    "excluded": pl.String,  # a reason the reader already knows
}

_SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {name: split for split, names in _SPLIT_NAMES.items() for name in names}


OUTSIDE = "lies outside every class folder"  # why a row of a folder is excluded


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a reader found, before a file is opened or a class numbered.

    Args:
        table: columns as in `ROW_SCHEMA`, in an order that does not depend on the file system.
        root: the folder that relative paths start from.
        labels_are_ids: whether the labels are the source's ids rather than names.
        multilabel: whether a row may carry several labels.
        level: names for the labels, from a class file.
        level_required: whether the user gave that class file, so that not fitting it is an error.
        findings: what the reader noticed.
    """

    table: pl.DataFrame
    root: Path
    labels_are_ids: bool = False
    multilabel: bool = False
    level: Level | None = None
    level_required: bool = False
    findings: tuple[Finding, ...] = ()


class Reader(Protocol):
    """Turns a source into rows, or returns None when the source is not of its format."""

    def __call__(self, source: Path, *, label_column: str | None, class_file: ClassFile | None) -> Rows | None: ...


FORMATS: Registry[Reader] = Registry("data format")


def split_of(name: str) -> str | None:
    """Return the split that a folder, file stem or cell means, or None.

    >>> split_of("Validation"), split_of("apples")
    ('val', None)
    """
    return _SPLIT_OF.get(name.strip().casefold())


def tidy_paths(paths: pl.Series, root: Path) -> pl.Series:
    """Bring paths to one form: '/' between the parts, relative to the root where they lie below it.

    A path with backslashes, or with a leading '/' where nothing lies, is taken as relative to the root.
    """
    odd = paths.str.contains(r"\\|^/|^\w:|//|(?:^|/)\.{1,2}/") | paths.str.ends_with("/")
    if not odd.any():
        return paths
    base = str(root.absolute()).rstrip("/")
    return pl.Series(
        paths.name,
        [_tidy(path, base) if is_odd else path for path, is_odd in zip(paths, odd, strict=True)],
        dtype=pl.String,
    )


def _tidy(path: str | None, root: str) -> str | None:
    if path is None:
        return None
    if "\\" in path and not os.path.lexists(f"{root}/{path}"):
        path = path.replace("\\", "/")
    path = posixpath.normpath(path)
    if path.startswith("/"):
        below = path.lstrip("/")
        if path.startswith(root + "/"):
            return path[len(root) + 1 :]
        if not os.path.lexists(path) and os.path.lexists(f"{root}/{below}"):
            return below
    return path


def choose_column(wanted: str, choices: Sequence[Sequence[str]]) -> int:
    """Return which of several columns a user means: by its number from 1, its name, or a part of its name.

    Args:
        wanted: what the user typed.
        choices: for each column the names it goes by.

    >>> choose_column("coarse", [["Class ID"], ["Coarse Class ID"]])
    1
    """
    if wanted.strip().isdecimal() and 1 <= int(wanted) <= len(choices):
        return int(wanted) - 1
    key = wanted.strip().casefold()
    names = [[name.strip().casefold() for name in column] for column in choices]
    exact = [index for index, column in enumerate(names) if key in column]
    partly = [index for index, column in enumerate(names) if any(key in name for name in column)]
    for matches in (exact, partly):
        if len(matches) == 1:
            return matches[0]
    listing = ", ".join(
        f"{index} ({' / '.join(column)})" if column else str(index) for index, column in enumerate(choices, start=1)
    )
    problem = "fits several columns" if partly or exact else "is no label column"
    raise DataError(f"label_column {wanted!r} {problem}", hint=f"label columns: {listing}")


def naming(class_file: ClassFile | None, folder: Path) -> tuple[ClassFile | None, bool]:
    """Return the class file to use and whether the user asked for it: theirs, else the one in the folder."""
    if class_file is not None:
        return class_file, True
    path = find_class_file(folder)
    return (read_class_file(path) if path else None), False
