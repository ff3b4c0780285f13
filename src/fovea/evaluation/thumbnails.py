"""Small pictures of image files, for pages: decoded at reduced scale, several at a time, within a budget of bytes.

What a picture says beside the image is decided by whoever shows it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from fovea.core.cores import usable_cores
from fovea.core.errors import DataError
from fovea.core.report import Picture, Tone
from fovea.data.decoding import decode
from fovea.data.manifest import Manifest

SIDE_PX = 128
SMALL_PX = 112
BUDGET_BYTES = 9_000_000  # as text in a page they take 4/3 of it
_GONE = "cannot be shown: the file is gone or damaged"
_NO_ROOM = "not shown, to keep the page small"


def thumbnail(path: Path | str, *, side_px: int = SIDE_PX, quality: int = 82) -> bytes | None:
    """Return a small JPEG of an image, its longer side at most `side_px`; None if it can no longer be read."""
    from PIL import Image

    try:
        pixels = decode(path, at_least=side_px)
    except DataError:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()


class Thumbnails:
    """Pictures of one data set's images, each made once and captioned with its class and split.

    Args:
        manifest: says where the files are and what is known of them.
        budget_bytes: once the pictures weigh this much, others get words in their place, so that a page stays small.
    """

    def __init__(self, manifest: Manifest, *, side_px: int = SMALL_PX, budget_bytes: int = BUDGET_BYTES) -> None:
        self.manifest = manifest
        self.side_px = side_px
        self.left_bytes = budget_bytes
        self._images: dict[str, bytes | None] = {}
        self._rows: dict[str, dict] = {}

    def load(self, paths: Iterable[str]) -> None:
        """Make the thumbnails of these files (paths as in the manifest), on all cores; they are kept."""
        wanted = [path for path in dict.fromkeys(paths) if path not in self._images]
        if not wanted:
            return
        known = self.manifest.table.filter(pl.col("path").is_in(wanted))
        self._rows |= {row["path"]: row for row in known.iter_rows(named=True)}
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="fovea-thumbnail") as pool:
            made = pool.map(lambda path: thumbnail(self.manifest.absolute(path), side_px=self.side_px), wanted)
            self._images |= dict(zip(wanted, made, strict=True))

    def label(self, path: str) -> str:
        """Return the class of an image in words, "" where it has none; it must have been loaded."""
        target = self._rows.get(path, {}).get("target")
        if target is None:
            return ""
        names = [self.manifest.classes[index] for index in (target if isinstance(target, list) else [target])]
        return ", ".join(names) or "no class"

    def split(self, path: str) -> str:
        """Return the split of an image, "" where it has none; it must have been loaded."""
        return self._rows.get(path, {}).get("split") or ""

    def picture(
        self, path: str, *, caption: str | None = None, detail: str | None = None, tone: Tone = "plain"
    ) -> Picture:
        """Return the picture of a file that was loaded.

        Args:
            caption: its class when None.
            detail: its split when None.
        """
        caption = self.label(path) if caption is None else caption
        detail = self.split(path) if detail is None else detail
        image, alt = self._images[path], f"{caption}: {path}" if caption else path
        if image is not None and len(image) > self.left_bytes:
            image, alt = None, _NO_ROOM
        elif image is None:
            alt = f"cannot be shown: {excluded}" if (excluded := self._rows.get(path, {}).get("excluded")) else _GONE
        else:
            self.left_bytes -= len(image)
        return Picture(image, caption, detail, file=path, alt=alt, tone=tone)
