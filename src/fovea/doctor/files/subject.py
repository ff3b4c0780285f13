"""Training files as the audit's checks want them: a table with paths, classes and sizes, and a look at each."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import polars as pl

from fovea.data.audit.base import Subject
from fovea.data.audit.naming import names_a_source
from fovea.data.looks import Album
from fovea.data.manifest import Manifest, schema
from fovea.doctor.files.seen import Stored


def subject_of(stored: Sequence[Stored]) -> Subject:
    """Return files as the subject of an audit; classes are called as folders or names of files call them."""
    root = os.path.commonpath([PurePath(each.path).parent for each in stored])
    labels = sorted({each.label for each in stored})
    columns = {
        "path": [PurePath(each.path).relative_to(root).as_posix() for each in stored],
        "target": [labels.index(each.label) for each in stored],
        "width": [each.width for each in stored],
        "height": [each.height for each in stored],
        "bytes": [each.size_bytes for each in stored],
    }
    kinds = schema(multilabel=False)
    table = pl.DataFrame(columns, schema={name: kinds[name] for name in columns})
    manifest = Manifest(table, class_names(stored), root=Path(root))
    album = Album(len(stored))
    for row, each in enumerate(stored):
        album.put(row, each.look)
    return Subject(manifest=manifest, rows=manifest.usable(), looks=album.looks(), copies=np.full(len(stored), -1))


def class_names(stored: Sequence[Stored]) -> tuple[str, ...]:
    """Return what each class is called, in the order of labels: by its folder, by its files, or by its number."""
    labels = sorted({each.label for each in stored})
    paths = [PurePath(each.path) for each in stored]
    deepest = min(len(path.parts) for path in paths)
    ways = [[path.parts[-depth] for path in paths] for depth in range(2, deepest)]
    words = [re.split(r"\d", path.stem)[0].strip(" _-.") for path in paths]
    if not any(names_a_source(word) for word in words):
        ways.append(words)
    for way in ways:
        called: defaultdict[int, set[str]] = defaultdict(set)
        for each, name in zip(stored, way, strict=True):
            called[each.label].add(name)
        names = [called[label] for label in labels]
        if all(len(some) == 1 for some in names) and len(set.union(*names)) == len(labels):
            return tuple(some.pop() for some in names)
    return tuple(f"class {label}" for label in labels)
