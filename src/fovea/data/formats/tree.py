"""Walking folders: which images lie below one, in an order that does not depend on the file system.

Hidden files and the litter of operating systems are passed over. Links are followed, except where one leads back to a
folder above it. No file is opened.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from fovea.core.errors import DataError
from fovea.data.decoding import SUFFIXES

_LITTER = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"})


@dataclass
class Tree:
    """What lies below a folder: image paths relative to it by their folder, and what could not be used."""

    images: dict[str, list[str]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)


def walk(folder: Path) -> Tree:
    """Return the images below `folder`, sorted, each once; folders are given relative to it ('' is itself)."""
    tree = Tree()
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while stack:
        inside, above = stack.pop()
        try:
            here = (folder / inside).stat()
            entries = sorted(os.scandir(folder / inside), key=lambda entry: entry.name)
        except OSError:
            tree.closed.append(inside)
            continue
        identity = (here.st_dev, here.st_ino)
        if identity in above:  # a link back to a folder that we are in
            continue
        names, folders = [], []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _LITTER:
                continue
            suffix = Path(entry.name).suffix.casefold()
            if entry.is_dir():
                folders.append(entry.name)
            elif suffix in SUFFIXES:
                names.append(entry.name)
            else:
                tree.other[suffix] = tree.other.get(suffix, 0) + 1
        if names:
            tree.images[inside] = names
        elif not folders and inside:
            tree.empty.append(inside)
        prefix = f"{inside}/" if inside else ""
        stack.extend((prefix + name, above | {identity}) for name in reversed(folders))
    return tree


def child_folders(folder: Path) -> list[Path]:
    """Return the folders directly inside, without hidden ones and litter, sorted."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}", hint="check the permissions") from error
    return [
        path
        for path in entries
        if path.is_dir() and not path.name.startswith(".") and path.name.casefold() not in _LITTER
    ]


def is_text(name: str) -> bool:
    """File names are bytes on Linux; Python marks those that are not UTF-8 with lone surrogates."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def as_text(name: str) -> str:
    return name if is_text(name) else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
