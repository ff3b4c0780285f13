"""Subjects built by hand: a check gets plain arrays, so a test needs no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fovea.data.audit.base import Subject
from fovea.data.looks import FACTS, Looks
from fovea.data.manifest import Manifest, schema

PLAIN: dict[str, Any] = {
    "format": "JPEG",
    "mode": "RGB",
    "quality": 90.0,
    "camera": None,
    "taken_s": None,
    "brightness": 0.5,
    "dark_point": 0.05,
    "bright_point": 0.95,
    "contrast": 0.2,
    "entropy": 5.0,
    "sharpness": 0.6,
    "detail": 0.02,
}


def subject(
    targets: Sequence[int] | Sequence[Sequence[int]],
    *,
    classes: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
    table: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    grey: np.ndarray | None = None,
    color: np.ndarray | None = None,
    copies: Sequence[int] | None = None,
    scenes: Sequence[int] | None = None,
    features: np.ndarray | None = None,
    multilabel: bool = False,
    seed: int = 0,
) -> Subject:
    """Return a subject of N images that are all stored and look alike, but for what is given.

    Args:
        targets: class of each image; lists of classes for multi-label data.
        classes: names; by default "class 0" and so on.
        paths: by default CLASS/0000.jpg.
        table: more columns of the manifest: split, group, width, height, bytes …
        facts: columns of the facts table; one value stands for all images.
        grey: (N, 64, 64) uint8; by default noise that is the same for equal seeds.
        color: (N, 16, 16, 3) uint8; likewise.
    """
    count = len(targets)
    flat = [label for target in targets for label in (target if multilabel else [target])]  # type: ignore[union-attr]
    names = tuple(classes) if classes else tuple(f"class {place}" for place in range(max(flat, default=-1) + 1))
    if paths is None:
        folders = ["all" if multilabel else names[target] for target in targets]  # type: ignore[index]
        paths = [f"{folder}/{row:04}.jpg" for row, folder in enumerate(folders)]
    columns = {"path": list(paths), "target": [list(t) if multilabel else t for t in targets]}  # type: ignore[arg-type]
    columns |= {"width": [640] * count, "height": [480] * count, "bytes": [50_000] * count}
    columns |= {name: list(values) for name, values in (table or {}).items()}
    kinds = schema(multilabel=multilabel)
    rows = pl.DataFrame(columns, schema={name: kinds[name] for name in columns}, strict=False)
    manifest = Manifest(rows, names, root=Path("photos"), multilabel=multilabel)
    rng = np.random.default_rng(seed)
    given = dict.fromkeys(FACTS, 0.0) | {"mean_r": 0.5, "mean_g": 0.5, "mean_b": 0.5} | PLAIN | dict(facts or {})
    filled = {
        name: [value] * count if isinstance(value, (str, float, int)) or value is None else list(value)
        for name, value in given.items()
    }
    return Subject(
        manifest=manifest,
        rows=manifest.usable(),
        looks=Looks(
            pl.DataFrame(filled, schema=FACTS, strict=False),
            rng.integers(0, 256, (count, 64, 64), dtype=np.uint8) if grey is None else grey,
            rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8) if color is None else color,
        ),
        copies=np.full(count, -1) if copies is None else np.array(copies),
        scenes=None if scenes is None else np.array(scenes),
        features=features,
        seed=seed,
    )
