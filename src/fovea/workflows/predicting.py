"""`fovea predict`: what a run's model says about files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fovea.core.errors import DataError
from fovea.data.decoding import SUFFIXES
from fovea.evaluation.output import Tally, write_predictions
from fovea.workflows.loading import load


def predict(
    folder: Path | str,
    patterns: Sequence[Path | str],
    *,
    format: str = "csv",
    output: Path | None = None,
    top_k: int = 1,
) -> Tally:
    """Classify images and write one row each as they are done; unreadable ones get a row with the reason.

    Args:
        folder: the run.
        patterns: files, folders (searched for images at any depth) and globs such as `photos/**/*.jpg`.
        format: csv, json or parquet.
        output: the file to write, atomically; standard output when None.
        top_k: how many of the likeliest classes to give.

    Raises:
        DataError: a pattern matches nothing.
    """
    model = load(folder)
    paths = find_images(patterns)
    return write_predictions(
        model.probabilities(paths),
        classes=model.classes,
        format=format,
        output=output,
        top_k=top_k,
        threshold=model.threshold,
    )


def find_images(patterns: Sequence[Path | str]) -> Iterator[Path]:
    """Return the images that patterns stand for, one by one, in a stable order.

    A file that is named is taken whatever its ending; in a folder, files with an image's ending are.

    Raises:
        DataError: a pattern matches nothing; raised at once, before anything is classified.
    """
    texts = [str(pattern) for pattern in patterns]
    for text in texts:
        if not os.path.lexists(text) and next(glob.iglob(text, recursive=True), None) is None:
            raise DataError(
                f"nothing matches {text!r}", hint="check the path, or quote a glob so that fovea expands it"
            )
    return (path for text in texts for path in _expand(text))


def _expand(text: str) -> Iterator[Path]:
    for name in [text] if os.path.lexists(text) else sorted(glob.iglob(text, recursive=True)):
        path = Path(name)
        if path.is_dir():
            yield from _walk(path)
        elif os.path.lexists(text) or path.suffix.lower() in SUFFIXES:
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent) / name
