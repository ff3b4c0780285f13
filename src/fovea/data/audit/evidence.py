"""Reading a finding's evidence back: what it says of each file, and what it says of the whole.

Evidence speaks of files in one of three ways: a list as long as `files` and in their order (`scores`, `suggested`), a
list of records with a `path`, or a mapping from files. Whatever is none of these is about the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fovea.core.findings import Finding

# Lists under these names go with the files however few there are; others must be too long for a coincidence, such as
# three channel means beside three files.
_PER_FILE = frozenset(
    (
        *("scores", "suggested", "suggestions", "given", "labels", "predicted", "values", "distances", "margins"),
        *("confidences", "probabilities", "shares", "reasons"),
    )
)
_NO_COINCIDENCE = 5
_PATH_KEYS = ("path", "file")


def per_file(finding: Finding) -> dict[str, dict[str, Any]]:
    """Return what the evidence says of each file, by path; names of lists lose their plural s.

    >>> finding = Finding(severity="note", code="x", message="", fix="", evidence={"scores": [0.9, 0.5], "count": 2},
    ...                   files=("a.jpg", "b.jpg"))
    >>> per_file(finding), about_all(finding)
    ({'a.jpg': {'score': 0.9}, 'b.jpg': {'score': 0.5}}, {'count': 2})
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in finding.evidence.items():
        if not _is_per_file(name, value, finding.files):
            continue
        if isinstance(value, Mapping):
            for path, item in value.items():
                found.setdefault(path, {}).update(item if isinstance(item, Mapping) else {_one(name): item})
        elif _are_records(value):
            for record in value:
                key = next(key for key in _PATH_KEYS if key in record)
                found.setdefault(record[key], {}).update({k: item for k, item in record.items() if k != key})
        else:
            for path, item in zip(finding.files, value, strict=True):
                found.setdefault(path, {})[_one(name)] = item
    return found


def about_all(finding: Finding) -> dict[str, Any]:
    """Return the evidence that is not about single files."""
    return {name: value for name, value in finding.evidence.items() if not _is_per_file(name, value, finding.files)}


def _is_per_file(name: str, value: Any, files: Sequence[str]) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and bool(files) and set(value) <= set(files)
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if _are_records(value):
        return True
    aligned = len(value) == len(files) and all(isinstance(item, (str, int, float, type(None))) for item in value)
    return aligned and (name in _PER_FILE or len(value) >= _NO_COINCIDENCE)


def _are_records(value: Sequence[Any]) -> bool:
    return all(isinstance(item, Mapping) and any(key in item for key in _PATH_KEYS) for item in value)


def _one(name: str) -> str:
    return {"classes": "class"}.get(name, name if name.endswith("ss") else name.removesuffix("s"))
