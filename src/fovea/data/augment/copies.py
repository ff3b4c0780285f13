"""What becomes of each image when variants are written to files: the names of its copies, and which are made at all.

Names follow from the data alone, in an order that does not depend on the file system, so that a second call finds the
files of the first. No file is opened but the head of a WebP, which may or may not be lossless.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from fovea.core.errors import DataError
from fovea.core.files import digest
from fovea.data.boxes import IMAGES, VocFolder
from fovea.data.formats.tree import as_text, is_text
from fovea.data.manifest import Manifest

_LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
_LONGEST = 200  # bytes of a name: file systems take 255, and a temporary name is longer than the final one
LeftOut = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One image of the data and the files it becomes.

    Args:
        source: absolute path.
        name: of the unchanged copy, relative to the output.
        variants: names of the random variants; none for an image that is not for training.
        label: the class, or `a|b`; "" for data with boxes.
        split, group: as in a manifest.
        annotation: the file with its boxes.
    """

    source: Path
    name: str
    variants: tuple[str, ...] = ()
    label: str = ""
    split: str | None = None
    group: str = ""
    annotation: Path | None = None


def copies_of_manifest(manifest: Manifest, factor: int) -> tuple[list[Copy], LeftOut]:
    """Return what becomes of the usable images, and (path, reason) of the others.

    Raises:
        DataError: a class has a name that a table cannot hold.
    """
    if odd := next((name for name in manifest.classes if "|" in name or not name.strip()), None):
        raise DataError(
            f"the class {odd!r} has a name that a table cannot hold: | stands between several labels",
            hint="rename the class",
        )
    rows = manifest.usable()
    paths = manifest.paths(rows)
    places = _Names(_place(path) for path in rows["path"])
    copies = []
    for source, row in zip(paths, rows.select("path", "target", "split", "group").iter_rows(named=True), strict=True):
        name = places.original(_place(row["path"]))
        classes = row["target"] if manifest.multilabel else [row["target"]]
        copies.append(
            Copy(
                source=source,
                name=name,
                variants=places.variants(name, source, factor) if row["split"] in (None, "train") else (),
                label="|".join(manifest.classes[target] for target in classes),
                split=row["split"],
                group=row["group"] or row["path"],
            )
        )
    out = manifest.excluded().filter(~pl.col("path").is_in(rows["path"].implode()))
    return copies, [(path, reason) for path, reason in out.select("path", "excluded").iter_rows()]


def copies_of_voc(voc: VocFolder, factor: int) -> tuple[list[Copy], LeftOut]:
    """Return what becomes of the images of a folder in VOC's layout, and (name, reason) of those left out."""
    whole = [image for image in voc.images if is_text(image)]
    places = _Names(f"{IMAGES}/{image}" for image in whole)
    copies = []
    for image in whole:
        name, source = places.original(f"{IMAGES}/{image}"), (voc.root / IMAGES / image).absolute()
        training = Path(image).stem in voc.training
        variants = places.variants(name, source, factor) if training else ()
        copies.append(Copy(source=source, name=name, variants=variants, annotation=voc.annotation(image)))
    return copies, [(as_text(name), "has a name that is not valid UTF-8") for name in voc.images if not is_text(name)]


def _place(path: str) -> str:
    """Return where an image goes: the place it has below its root, or a folder for those from elsewhere."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return f"outside/{digest(path)[:8]}/{pure.name}"
    return str(pure)


class _Names:
    """Gives every file a name that no other one has, whatever its ending and its capitals."""

    def __init__(self, originals: Iterable[str]) -> None:
        self._taken = {_stem(name).casefold() for name in originals}

    def original(self, place: str) -> str:
        """Return the name of an unchanged copy: its own, unless that is too long for a temporary name beside it."""
        pure = PurePosixPath(place)
        if len(pure.name.encode()) <= _LONGEST:
            return place
        return str(pure.with_name(_short(pure.stem, digest(place)[:8]) + pure.suffix))

    def variants(self, name: str, source: Path, factor: int) -> tuple[str, ...]:
        """Return `name_1.jpg` … for the random variants; where that is taken, the name gets a digest of its source."""
        suffix = ".jpg" if _lossy(source) else ".png"
        found = []
        for look in range(1, factor):
            stem = f"{_stem(name)}_{look}"
            if stem.casefold() in self._taken:
                stem = f"{_stem(name)}_{look}_{digest(name)[:8]}"
            self._taken.add(stem.casefold())
            found.append(stem + suffix)
        return tuple(found)


def _stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


def _short(text: str, mark: str) -> str:
    """Cut a text to fit a file name, at a whole letter, and tell it from others that begin alike."""
    return f"{text.encode()[: _LONGEST - 40].decode(errors='ignore')}_{mark}"


def _lossy(source: Path) -> bool:
    """Return whether the source has lost detail already, so that JPEG costs it nothing that matters."""
    suffix = source.suffix.casefold()
    if suffix != ".webp":
        return suffix in _LOSSY
    try:
        with source.open("rb") as file:
            return b"VP8L" not in file.read(64)  # the name of the lossless kind, RFC 9649 section 2.6
    except OSError:
        return True
