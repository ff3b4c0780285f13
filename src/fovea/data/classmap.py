"""From the labels that a source writes to one list of classes, made once over all splits.

Labels that differ only by outer spaces or by the Unicode form of their accents are one class; labels that differ by
upper and lower case are two, and said to be. A class map may also be given: that of a trained model, to which other
data is matched by name, or by the source's id where either side has no names.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from fovea.core.errors import DataError
from fovea.core.findings import Finding, Severity
from fovea.data.formats.base import Rows

Known = tuple[Sequence[str], Sequence[str] | None]
_INTEGER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class ClassMap:
    """Class names, the source's ids where it has them, and the position of each label as written."""

    classes: tuple[str, ...]
    class_ids: tuple[str, ...] | None
    position: Mapping[str, int]
    findings: tuple[Finding, ...] = ()


def build_class_map(rows: Rows, labels: Iterable[str]) -> ClassMap:
    """Number the classes that occur: in the order of the ids where there are ids, else of the names.

    Args:
        rows: what the reader found; its `level` names the labels.
        labels: the labels to number, as the source writes them.
    """
    named = _name_labels(rows, labels)
    findings = list(named.findings)
    key = {label: named.ids.get(label, label) if named.by_id else named.names[label] for label in named.names}
    keys = _sorted(set(key.values()))
    name_of = {key[label]: name for label, name in named.names.items()}
    place = {item: index for index, item in enumerate(keys)}
    findings.extend(_look_alikes(named.names, name_of.values()))
    shared = {name for name, count in Counter(name_of.values()).items() if count > 1}
    classes = tuple(f"{name_of[item]} ({item})" if name_of[item] in shared else name_of[item] for item in keys)
    if shared:
        findings.append(
            _finding(
                f"{_some(sorted(shared))} names several ids; the id was added to tell them apart",
                fix="give each id a name of its own",
                severity="note",
                evidence={"names": sorted(shared)},
            )
        )
    return ClassMap(
        classes,
        tuple(keys) if named.by_id else None,
        {label: place[item] for label, item in key.items()},
        tuple(findings),
    )


def match_class_map(rows: Rows, labels: Iterable[str], known: Known) -> ClassMap:
    """Match labels to the classes of a trained model; labels that it does not know have no position."""
    classes, class_ids = tuple(known[0]), None if known[1] is None else tuple(known[1])
    named = _name_labels(rows, labels)
    by_name = {_tidy(name): index for index, name in enumerate(classes)}
    by_id = {item: index for index, item in enumerate(class_ids or ())}
    position: dict[str, int] = {}
    loosely = []
    for label, name in named.names.items():
        written = named.ids.get(label, name)
        by_source = by_id.get(written) if written == name else None  # an id with a name of its own goes by that name
        index = by_name.get(name, by_name.get(f"{name} ({written})"))
        if by_source is not None and (named.by_id or index is None):
            index = by_source
        if index is None and (index := _loose_match(name, by_name)) is not None:
            loosely.append(f"{name!r} as {classes[index]!r}")
        if index is None and written in by_id and _tidy(classes[by_id[written]]) == written:
            index = by_id[written]  # the model has ids only, so no name of its own contradicts
        if index is not None:
            position[label] = index
    findings = list(named.findings)
    if loosely:
        findings.append(
            _finding(
                f"{len(loosely):,} labels were matched to classes that the model writes differently: {_some(loosely)}",
                fix="write them as the model does",
                severity="note",
            )
        )
    return ClassMap(classes, class_ids, position, tuple(findings))


def _loose_match(name: str, by_name: Mapping[str, int]) -> int | None:
    """Return the one class that differs only by case, or by the folders above it (`Fruit/Apple` and `Apple`)."""
    wanted = name.casefold()
    matches = []
    for known, index in by_name.items():
        other = known.casefold()
        if other == wanted or other.endswith(f"/{wanted}") or wanted.endswith(f"/{other}"):
            matches.append(index)
    return matches[0] if len(matches) == 1 else None


def split_findings(counts: pl.DataFrame) -> list[Finding]:
    """Say where the splits disagree about the classes; `counts` is a manifest's `counts()`."""
    findings = []
    if "train" in counts.columns:
        for split in ("val", "test"):
            if split not in counts.columns:
                continue
            only = counts.filter((pl.col("train") == 0) & (pl.col(split) > 0))["class"].to_list()
            lacking = counts.filter((pl.col("train") > 0) & (pl.col(split) == 0))["class"].to_list()
            if only:
                findings.append(
                    _finding(
                        f"{_classes(only)} occur in {split} and have no image in train: {_some(only)}; "
                        "a model cannot learn them",
                        fix=f"add training images, or leave these classes out of {split}",
                        evidence={"split": split, "classes": only},
                    )
                )
            if lacking:
                findings.append(
                    _finding(
                        f"{_classes(lacking)} of train have no image in {split}: {_some(lacking)}; "
                        "nothing is measured for them",
                        fix=f"add images of them to {split}",
                        evidence={"split": split, "classes": lacking},
                    )
                )
    return findings


@dataclass(frozen=True)
class _Named:
    """Each label's name, and its id where the source has ids."""

    names: dict[str, str]
    ids: dict[str, str]
    by_id: bool
    findings: tuple[Finding, ...] = ()


def _name_labels(rows: Rows, labels: Iterable[str]) -> _Named:
    """Give each label its name by the class file, if there is one that fits."""
    tidy = {label: _tidy(label) for label in labels}
    level, findings = rows.level, []
    plain = _Named(dict(tidy), dict(tidy) if rows.labels_are_ids else {}, rows.labels_are_ids)
    if level is None or not tidy:
        return plain
    names, first_line = _fitting_names(level.names, level.lines, set(tidy.values()))
    id_of = {name: item for item, name in reversed(list(names.items()))}
    distinct = len(id_of) == len(names)
    as_ids = {item for item in tidy.values() if item in names or _shorter(item, names) in names}
    as_names = {item for item in tidy.values() if item in id_of} if distinct else set()
    if not as_ids and not as_names:
        return _misfit(rows, plain, tidy.values())
    if len(as_names) > len(as_ids):
        ids = {label: id_of.get(item, item) for label, item in tidy.items()}
    else:
        ids = {label: item if item in names else _shorter(item, names) for label, item in tidy.items()}
    named = {label: _tidy(names.get(item, item)) for label, item in ids.items()}
    unnamed = _sorted({item for item in ids.values() if item not in names})
    if unnamed:
        if not rows.labels_are_ids and not rows.level_required:  # a few chance hits in a file about something else
            return _misfit(rows, plain, tidy.values())
        findings.append(
            _finding(
                f"{level.source} has no name for {_some(unnamed)}; the label itself is the name",
                fix=f"add the missing lines to {level.source}",
                evidence={"labels": unnamed},
            )
        )
    unused = [name for item, name in names.items() if item not in set(ids.values())]
    if unused:
        findings.append(
            _finding(
                f"{_classes(unused)} of {level.source} have no image and are not in the class map: {_some(unused)}",
                fix="none needed if that is intended",
                severity="note",
                evidence={"classes": unused[:200]},
            )
        )
    if first_line == 1:
        findings.append(
            _finding(
                f"labels run from 1 to {len(names)}, so they were counted from 1 in {level.source}",
                fix=f"write `id name` lines into {level.source} if that is wrong",
                severity="note",
            )
        )
    if level.repeated:
        findings.append(
            _finding(
                f"{level.source} gives two names to {_some(level.repeated)}; the first one counts",
                fix=f"name each id once in {level.source}",
                evidence={"ids": list(level.repeated)},
            )
        )
    return _Named(named, ids, True, tuple(findings))


def _fitting_names(stated: dict[str, str], lines: Sequence[str], labels: set[str]) -> tuple[dict[str, str], int]:
    """Return id → name, and where counting starts when the ids are line numbers.

    A file of bare names does not say whether it counts from 0 or from 1. It counts from 1 when the labels need the
    last line that only counting from 1 reaches, and none of them is 0.
    """
    if not lines or labels & set(stated) - {str(index) for index in range(len(lines))}:
        return stated, 0
    first = 1 if str(len(lines)) in labels and "0" not in labels else 0
    return {str(index): name for index, name in enumerate(lines, start=first)}, first


def _misfit(rows: Rows, plain: _Named, labels: Iterable[str]) -> _Named:
    assert rows.level is not None
    source = rows.level.source
    message = f"{source} does not name the labels of the data ({_some(_sorted(set(labels)))})"
    if rows.level_required:
        known = ", ".join(f"{item} = {name}" for item, name in list(rows.level.names.items())[:5])
        raise DataError(message, hint=f"it holds {known}")
    note = _finding(f"{message} and was not used", fix="pass the right class file with `classes`", severity="note")
    return _Named(plain.names, plain.ids, plain.by_id, (note,))


def _look_alikes(names: Mapping[str, str], classes: Iterable[str]) -> list[Finding]:
    findings = []
    variants: dict[str, set[str]] = {}
    for label, name in names.items():
        variants.setdefault(name, set()).add(label)
    merged = {
        name: sorted(labels) for name, labels in variants.items() if len({_tidy(item) for item in labels}) < len(labels)
    }
    if merged:
        findings.append(
            _finding(
                f"labels differ only by outer spaces or Unicode form and were taken as one: {_some(sorted(merged))}",
                fix="write each label in one way",
                evidence={"labels": merged},
            )
        )
    alike: dict[str, set[str]] = {}
    for name in classes:
        alike.setdefault(" ".join(name.casefold().replace("_", " ").split()), set()).add(name)
    pairs = [sorted(group) for group in alike.values() if len(group) > 1]
    if pairs:
        listing = _some([" / ".join(group) for group in pairs])
        findings.append(
            _finding(
                f"classes whose names differ only by case or spacing: {listing}; they are separate classes",
                fix="if they mean the same, give them one name",
                evidence={"groups": pairs},
            )
        )
    return findings


def _finding(message: str, *, fix: str, severity: Severity = "warning", evidence: dict | None = None) -> Finding:
    return Finding(severity=severity, code="class-map", message=message, fix=fix, evidence=evidence or {})


def _tidy(label: str) -> str:
    return unicodedata.normalize("NFC", label.strip())


def _shorter(item: str, names: Mapping[str, str]) -> str:
    """Return a whole number without leading zeros when that is how the class file writes it."""
    short = str(int(item)) if _INTEGER.fullmatch(item) else item
    return short if short in names else item


def _sorted(keys: set[str]) -> list[str]:
    """Sort as people count: whole numbers by value, otherwise `class2` before `class10`, case aside."""
    if all(_INTEGER.fullmatch(key) for key in keys):
        return sorted(keys, key=lambda key: (int(key), key))
    return sorted(keys, key=_natural)


def _natural(text: str) -> tuple:
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part], text


def _classes(names: Sequence[str]) -> str:
    return f"{len(names):,} class" + ("" if len(names) == 1 else "es")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
