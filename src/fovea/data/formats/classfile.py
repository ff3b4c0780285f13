"""Files that name the classes: `classes.csv`, `classes.txt`, `labels.txt`, `synset_words.txt`.

Understood are one name a line (the id is the line's number), `id name` and `name id`, WordNet ids before names, and
tables with a header that may hold several namings (fine and coarse). Whether a naming fits the data is not decided
here (see `classmap`).
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from fovea.core.errors import DataError
from fovea.data.formats.text import lines_of, read_text

_NAMES = ("classes.csv", "classes.tsv", "classes.txt", "labels.txt", "class_names.txt", "synset_words.txt")
_INTEGER = re.compile(r"-?\d+")
_HEADERS = frozenset(
    {"id", "class id", "class_id", "wnid", "index", "name", "class name", "class_name", "class", "label"}
)
_WORDNET_ID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Level:
    """One naming of the classes.

    Args:
        headers: the headers of its columns, when the file has them.
        names: source id to class name.
        lines: the names in the file's order, for labels that are line numbers; empty when the file states whole
            numbers itself.
        source: the file's name, for messages.
        repeated: ids that the file gives two names; the first one counts.
    """

    headers: tuple[str, ...]
    names: dict[str, str]
    lines: tuple[str, ...]
    source: str
    repeated: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassFile:
    """The namings that a class file holds, in the order of its columns."""

    path: Path
    levels: tuple[Level, ...]


def find_class_file(folder: Path) -> Path | None:
    """Return the class file of a folder, or None; upper and lower case are the same."""
    if not folder.is_dir():
        return None
    present = {path.name.casefold(): path for path in sorted(folder.iterdir()) if path.is_file()}
    return next((present[name] for name in _NAMES if name in present), None)


def read_class_file(path: Path) -> ClassFile:
    """Read the namings in a class file; raises `DataError` when it names nothing."""
    if not path.is_file():
        raise DataError(f"no class file at {path}", hint="one class name a line, or a table with id and name")
    text = read_text(path)
    lines = [line.strip() for line in lines_of(text) if line.strip()]
    if not lines:
        raise DataError(f"the class file {path} is empty", hint="one class name a line, or a table with id and name")
    table = _as_table(path, text, lines)
    levels = _levels(table, path) if table else ()
    return ClassFile(path, levels or (_plain_level(lines, path.name),))


def _as_table(path: Path, text: str, lines: list[str]) -> list[list[str]] | None:
    """Return rows of equal length with at least two cells, or None when every line is one name."""
    if all(_WORDNET_ID.match(line) for line in lines):  # "n01440764 tench, Tinca tinca": the comma is in the name
        return [line.split(maxsplit=1) if " " in line else [line, line] for line in lines]
    separators = {".csv": ",;", ".tsv": "\t"}.get(path.suffix.casefold(), "\t,;:")
    for separator in separators:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator)]
        rows = [row for row in rows if any(row)]
        width = len(rows[0])
        if width > 1 and all(len(row) == width for row in rows):
            return rows
    first = [line.split(maxsplit=1) for line in lines]
    if all(len(cells) == 2 and _INTEGER.fullmatch(cells[0]) for cells in first):
        return first
    last = [line.rsplit(maxsplit=1) for line in lines]
    if all(len(cells) == 2 and _INTEGER.fullmatch(cells[1]) for cells in last):
        return last
    return None


def _levels(table: list[list[str]], path: Path) -> tuple[Level, ...]:
    """Pair each column of ids with the column of names beside it; none where the lines turn out to be plain names."""
    header, body = _split_header(table)
    columns = list(zip(*body, strict=True))
    whole = [all(_INTEGER.fullmatch(cell) for cell in column) for column in columns]
    taken: set[int] = set()
    levels = []
    for index, column in enumerate(columns):
        if not whole[index]:
            continue
        for beside in (index - 1, index + 1):
            if 0 <= beside < len(columns) and not whole[beside] and beside not in taken:
                taken.add(beside)
                levels.append(_level(column, columns[beside], (header[beside], header[index]), path.name, numbers=True))
                break
    if levels:
        return tuple(levels)
    keyed = path.suffix.casefold() in (".csv", ".tsv") or all(map(_WORDNET_ID.fullmatch, columns[0]))
    if any(whole) or not keyed or len(set(columns[0])) < len(body):  # "tench, Tinca tinca" is one name
        return ()
    return (_level(columns[0], columns[1], (header[1], header[0]), path.name, numbers=False),)


def _split_header(table: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The first row is a header when it has no number although a column below it has nothing else."""
    first, body = table[0], table[1:]
    numeric = [bool(body) and all(_INTEGER.fullmatch(row[index]) for row in body) for index in range(len(first))]
    if any(flag and not _INTEGER.fullmatch(cell) for flag, cell in zip(numeric, first, strict=True)) or (
        body and not any(numeric) and {cell.casefold() for cell in first} <= _HEADERS
    ):
        return first, body
    return [""] * len(first), table


def _level(
    ids: tuple[str, ...], names: tuple[str, ...], headers: tuple[str, str], source: str, *, numbers: bool
) -> Level:
    pairs: dict[str, str] = {}
    repeated = []
    for key, name in zip(ids, names, strict=True):
        key = str(int(key)) if numbers else key
        if pairs.setdefault(key, name) != name:
            repeated.append(key)
    lines = () if numbers else names
    return Level(tuple(filter(None, headers)), pairs, lines, source, tuple(dict.fromkeys(repeated)))


def _plain_level(lines: list[str], source: str) -> Level:
    names = tuple(lines[1:] if len(lines) > 1 and lines[0].casefold() in _HEADERS else lines)
    return Level((), {str(index): name for index, name in enumerate(names)}, names, source)
