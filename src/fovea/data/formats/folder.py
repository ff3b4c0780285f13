"""Folders of images: `root/{train,val,test}/<class>/`, or one folder with a folder per class.

The class is the path of the folder below its split, so nested folders give names such as `Fruit/Apple`. Files that are
not images and hidden ones are ignored. Links are followed, except where one leads back to a folder above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.core.wording import counted, listed
from fovea.data.decoding import SUFFIXES
from fovea.data.formats.base import FORMATS, OUTSIDE, ROW_SCHEMA, Rows, naming, split_of
from fovea.data.formats.classfile import ClassFile
from fovea.data.formats.tree import Tree, as_text, child_folders, is_text, walk

# Photographs that fovea cannot open: worth a word, since a user counts them as images.
_FOREIGN = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw", ".raw"}
)


@FORMATS.register("folder", summary="one folder per class, below train/val/test or without splits")
def read_folder(source: Path, *, label_column: str | None, class_file: ClassFile | None) -> Rows | None:
    """Read a folder of class folders; see the module's docstring."""
    if not source.is_dir():
        return None
    if label_column is not None:
        raise DataError(
            f"{source} is a folder of class folders, which has no label columns", hint="leave label_column out"
        )
    root = _unwrap(source)
    splits, ignored = _split_folders(root)
    parts: list[tuple[str | None, str, Tree]] = [(split, f"{path.name}/", walk(path)) for split, path in splits]
    parts.append((None, "", Tree(_loose(root)) if splits else walk(root)))
    rows: list[tuple] = []
    findings: list[Finding] = []
    for split, prefix, tree in parts:
        rows.extend(_rows(tree, prefix, split))
        findings.extend(_findings(tree, prefix))
    if ignored:
        findings.append(_ignored(ignored, [path for _, path in splits]))
    chosen, required = naming(class_file, root)
    return Rows(
        table=pl.DataFrame(rows, schema=ROW_SCHEMA, orient="row"),
        root=root,
        level=chosen.levels[0] if chosen else None,
        level_required=required,
        findings=tuple(findings),
    )


def _unwrap(source: Path) -> Path:
    """Step into a lone folder that holds the splits, as unpacked archives have it."""
    inside = child_folders(source)
    if len(inside) == 1 and not _split_folders(source)[0] and _split_folders(inside[0])[0]:
        return inside[0]
    return source


def _split_folders(root: Path) -> tuple[list[tuple[str, Path]], list[Path]]:
    """Return (split, folder) pairs and the folders beside them; no pairs when the names are classes.

    "train" may be a class beside "bus" and "car". The names mean splits when every folder of the root has such a name,
    or when class folders lie in them: in those of two splits, or in that of one and in none of the folders beside it.
    """
    folders = child_folders(root)
    named = [(split, path) for path in folders if (split := split_of(path.name))]
    others = [path for path in folders if not split_of(path.name)]
    if not others:
        return named, []
    several = len({split for split, _ in named}) > 1
    if any(child_folders(path) for _, path in named) and (several or not any(map(child_folders, others))):
        return named, others
    return [], []


def _ignored(folders: list[Path], splits: list[Path]) -> Finding:
    names = ", ".join(as_text(path.name) for path in folders)
    beside = ", ".join(path.name for path in splits)
    images = sum(len(names) for path in folders for names in walk(path).images.values())
    return Finding(
        severity="warning" if images else "note",
        code="ignored-folder",
        message=f"{names} beside {beside} were not read; they hold {images:,} images",
        fix="rename them to train, val or test if they belong to the data",
        evidence={"folders": [as_text(path.name) for path in folders], "images": images},
    )


def _loose(folder: Path) -> dict[str, list[str]]:
    """Return the images that lie directly in a folder, as a tree holds them."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.casefold() in SUFFIXES and not path.is_dir())
    return {"": names} if names else {}


def _rows(tree: Tree, prefix: str, split: str | None) -> Iterator[tuple]:
    for folder, names in tree.images.items():
        for name in names:
            path = f"{prefix}{folder}/{name}" if folder else f"{prefix}{name}"
            labels = [folder] if folder else None
            reason = None if folder else OUTSIDE
            if not is_text(path):
                path, reason = as_text(path), "has a name that is not valid UTF-8"
                labels = [as_text(folder)] if folder else None
            yield path, labels, split, None, reason


def _findings(tree: Tree, prefix: str) -> Iterator[Finding]:
    where = f" in {prefix.rstrip('/')}" if prefix else ""
    if loose := tree.images.get(""):
        yield Finding(
            severity="warning",
            code="no-class",
            message=f"{len(loose):,} images{where} lie outside every class folder and are left out",
            fix="move each into the folder of its class",
            evidence={"count": len(loose)},
            files=tuple(as_text(prefix + name) for name in loose[:200]),
        )
    holders = sorted({above for folder in tree.images for above in _parents(folder) if above in tree.images})
    if holders:
        yield Finding(
            severity="warning",
            code="class-map",
            message=f"{_some(holders)}{where} hold images beside class folders; they are classes of their own",
            fix="move the images into a folder of their own, or the folders out",
            evidence={"folders": [as_text(name) for name in holders]},
        )
    if tree.empty:
        yield Finding(
            severity="note",
            code="empty-folder",
            message=f"{counted(len(tree.empty), 'folder')}{where} without an image: {_some(tree.empty)}",
            fix="none needed if that is intended",
            evidence={"folders": [as_text(name) for name in tree.empty[:200]]},
        )
    if tree.closed:
        yield Finding(
            severity="warning",
            code="unreadable",
            message=f"{counted(len(tree.closed), 'folder')}{where} cannot be listed: {_some(tree.closed)}",
            fix="check the permissions",
            evidence={"folders": [as_text(name) for name in tree.closed[:200]]},
        )
    foreign = {suffix: count for suffix, count in tree.other.items() if suffix in _FOREIGN}
    if foreign:
        listing = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(foreign.items()))
        yield Finding(
            severity="warning",
            code="ignored-files",
            message=f"{listing} files{where} were ignored: fovea does not open these formats",
            fix="convert them to JPEG or PNG",
            evidence={"count": foreign},
        )


def _parents(folder: str) -> Iterator[str]:
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        yield folder


def _some(names: list[str]) -> str:
    return listed([as_text(name) for name in names])
