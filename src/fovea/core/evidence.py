"""Evidence of a finding as people read it: numbers rounded and with their units, lists as tables, nothing as JSON.

Names tell units, as everywhere in fovea: `_px`, `_s`, `_bytes`; names of shares (`gain`, `accuracy`, `share` …) make
per cent. What it means is said by the finding's message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fovea.core.report import Block, Cell, Column, Fact, Facts, Table
from fovea.core.wording import counted, duration, listed, percent, percent_range

ROWS = 60
_LISTED = 12
_TINY = 5e-4  # would be 0.000 among the others
_SHARES = {
    *("accuracy", "share", "shares", "gain", "fraction", "rate", "recall", "precision", "majority", "probability"),
    *("confidence", "purity", "least", "chance", "overlap", "coverage"),
}
_ACRONYMS = {"pca", "auc", "jpeg", "exif", "rgb"}
_INTERVALS = {"interval", "range"}
_NAMING = ("property", "fact")  # their values are names like those of the evidence
_UNITS = {"px": " px", "kb": " kB", "mb": " MB", "deg": "°"}


def evidence_blocks(evidence: Mapping[str, Any]) -> list[Block]:
    """Return what the evidence holds: plain values as facts, then its lists and mappings as tables."""
    facts, tables = [], []
    for name, value in evidence.items():
        if value is None or (isinstance(value, (str, list, tuple, Mapping)) and not value):
            continue
        if (table := _as_table(name, value)) is not None:
            tables.append(table)
        else:
            facts.append(Fact(heading(name), in_words(name, value)))
    return [*([Facts(facts)] if facts else []), *tables]


def heading(name: str) -> str:
    """Return a key as a heading.

    >>> heading("accuracy_at_least"), heading("min_side_px"), heading("elapsed_s")
    ('Accuracy at least', 'Min side', 'Elapsed')
    """
    words = name.replace("-", "_").split("_")
    kept = words[:-1] if len(words) > 1 and words[-1] in (*_UNITS, "s", "bytes") else words
    text = " ".join(word.upper() if word in _ACRONYMS else word for word in kept)
    return text[:1].upper() + text[1:]


def in_words(name: str, value: Any) -> str:
    """Return a value as text, with the unit that its name tells.

    >>> in_words("side_px", 224), in_words("gain", 0.4321), in_words("mean", [0.48512, 0.456])
    ('224 px', '43.2 %', '0.485, 0.456')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _number(name, value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(name, item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        if all(isinstance(item, str) for item in value):
            return listed(list(value), limit=_LISTED)
        if len(value) == 2 and not _INTERVALS.isdisjoint(name.split("_")):
            return _ends(name, value)
        more = f" and {counted(len(value) - _LISTED, 'more', 'more')}" if len(value) > _LISTED else ""
        return ", ".join(in_words(name, item) for item in value[:_LISTED]) + more
    text = "–" if value is None else str(value)
    return text.replace("_", " ") if name in _NAMING else text


def _ends(name: str, ends: Sequence[Any]) -> str:
    """An interval; of shares where the rest of its name says so, or where nothing else is said."""
    of = "_".join(word for word in name.split("_") if word not in _INTERVALS)
    if all(isinstance(end, float) and 0 <= end <= 1 and (not of or is_share(of, end)) for end in ends):
        return percent_range(ends)
    return " to ".join(in_words(name, end) for end in ends)


def _number(name: str, value: float) -> str:
    words = name.split("_")
    if not math.isfinite(value):
        return "–"
    if isinstance(value, float) and is_share(name, value):
        return percent(value, digits=1)
    if words[-1] == "s" and len(words) > 1:
        return duration(value)
    if words[-1] == "bytes":
        return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if abs(value) < 1000 else f"{round(value):,}"
    return text + _UNITS.get(words[-1], "")


def is_share(name: str, value: float) -> bool:
    """Return whether a number by this name is a share, to be shown as per cent."""
    return 0 <= value <= 1 and not _SHARES.isdisjoint(name.lower().replace("-", "_").split("_"))


def _as_table(name: str, value: Any) -> Table | None:
    """Return a table for a list of records, a list of lists, or a mapping with many entries or records; else None."""
    if isinstance(value, Mapping):
        if all(isinstance(item, Mapping) for item in value.values()):
            return _records(name, [{"name": key, **item} for key, item in value.items()])
        if len(value) > _LISTED // 2:
            return _records(name, [{"name": key, name: item} for key, item in value.items()])
        return None
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if all(isinstance(item, Mapping) for item in value):
        return _records(name, value)
    if all(isinstance(item, (list, tuple)) for item in value):
        matrix = [{str(place): cell for place, cell in enumerate(row, start=1)} for row in value]
        return replace(_records(name, matrix), sortable=False)  # the order of its rows is part of it
    return None


def _records(name: str, records: Sequence[Mapping[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for record in records for key in record))
    columns = [_column(name, key, [record.get(key) for record in records]) for key in keys]
    rows = [
        [_cell(key, record.get(key), column) for key, column in zip(keys, columns, strict=True)]
        for record in records[:ROWS]
    ]
    more = f"; the first {ROWS} of {len(records):,}" if len(records) > ROWS else ""
    return Table(columns, rows, caption=heading(name) + more, sortable=len(rows) > 2)


def _column(name: str, key: str, values: Sequence[Any]) -> Column:
    known = [value for value in values if value is not None]
    title = heading(key)
    if not known or not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        return Column(title)
    if all(isinstance(value, int) for value in known):
        return Column(title, kind="count")
    if all(is_share(f"{name}_{key}", value) for value in known):
        return Column(title, kind="share")
    if any(0 < abs(value) < _TINY for value in known):
        return Column(title)
    largest = max((abs(value) for value in known if math.isfinite(value)), default=0.0)
    return Column(title, kind="number", digits=0 if largest >= 1000 else 1 if largest >= 100 else 3)


def _cell(key: str, value: Any, column: Column) -> Cell:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return in_words(key, value) if column.kind == "text" else value
