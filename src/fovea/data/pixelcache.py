"""Decoded pixels in a memory-mapped file, so that epochs and runs after the first decode nothing.

One cache holds the images of one data set in one geometry: a `Preprocess` (evaluation: squares of one size) or a
`WholeImage` (training: the shorter side brought to a size, aspect kept, so that every epoch crops differently). Its
place follows from the geometry and the images' content digests; their order and paths do not matter. Rows are filled
by `fill` with a pool of threads, or one by one as they are asked for. Each row has a mark, the CRC-32 of its pixels,
written after them: a kill at any moment loses at most the rows in flight, several processes may fill and read the
same cache, and a torn or damaged row is decoded again.

Nothing about the cache can stop a training: too little room, a full disk or a folder without permission leave images
to be decoded on the fly and say so in `notes`. What does fail is an unreadable image: a `DataError` with its name.
It does not augment, and it checks a file's proportions against the manifest, not its digest.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import weakref
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fovea.core.cores import usable_cores
from fovea.core.errors import DataError
from fovea.core.files import cache_root, digest
from fovea.core.findings import Finding
from fovea.data.decoding import MAX_PIXELS, decode
from fovea.data.preprocess import FILTERS, Preprocess

_VERSION = "1"  # part of every cache's place: raise it when pixels come out differently
_DEFAULT_LIMIT = 20 * 10**9  # bytes
_CHUNK = 256  # images handed to the pool at a time: bounds the memory of pending work, and the time to stop


@dataclass(frozen=True)
class Photo:
    """One image as the manifest knows it: where it is, what its bytes hash to, its upright size in pixels."""

    path: Path
    digest: str
    width: int
    height: int


@dataclass(frozen=True)
class WholeImage:
    """The whole image with its shorter side brought down to `shorter_px` pixels; a smaller image stays as it is."""

    shorter_px: int

    @property
    def geometry(self) -> str:
        """What decides the pixels, as a key."""
        return f"whole {self.shorter_px}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the stored width and height."""
        scale = min(1.0, self.shorter_px / min(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def read(self, photo: Photo, *, max_pixels: int) -> np.ndarray:
        """Decode a photo at the smallest scale that suffices and resize it, antialiased: uint8 (h, w, 3)."""
        image = decode(photo.path, at_least=self.shorter_px, max_pixels=max_pixels)
        scales = [(math.ceil(photo.height / s), math.ceil(photo.width / s), 3) for s in (1, 2, 4, 8)]  # JPEG's own
        if image.shape not in scales:
            raise DataError(
                f"{photo.path} decodes to {image.shape[1]} x {image.shape[0]} pixels, expected {photo.width} x "
                f"{photo.height}: it has changed since the data was read",
                hint="read the data again",
            )
        size = self.size(photo.width, photo.height)
        if size == (image.shape[1], image.shape[0]):
            return image
        return np.array(Image.fromarray(image).resize(size, FILTERS["bicubic"]))


class PixelCache(Sequence[np.ndarray]):
    """The pixels of some images, `cache[i]` being those of `photos[i]`, decoded once and kept.

    Make one with `open`. Reading is safe from any number of threads.
    """

    def __init__(
        self, photos: Sequence[Photo], geometry: Preprocess | WholeImage, max_pixels: int, files: _Files | None
    ) -> None:
        self._photos = photos
        self._geometry = geometry
        self._max_pixels = max_pixels
        self._files = files
        self.notes: list[Finding] = []

    @classmethod
    def open(
        cls,
        photos: Sequence[Photo],
        *,
        geometry: Preprocess | WholeImage,
        max_pixels: int = MAX_PIXELS,
        enabled: bool = True,
    ) -> PixelCache:
        """Open the cache of these images under `cache_root()/pixels`, or make an empty one.

        Args:
            photos: the images, in the order of `cache[i]`.
            geometry: a `Preprocess` keeps exactly its `read`; a `WholeImage` keeps images to crop from.
            max_pixels: as in `decode`.
            enabled: False decodes on the fly, always.

        The file may take no more than half of the free disk and no more than `$FOVEA_CACHE_GB` (default 20) together
        with all other pixel caches, of which the least recently used make way. Where it cannot be had, images are
        decoded on the fly and `notes` says why.
        """
        cache = cls(photos, geometry, max_pixels, None)
        if enabled and photos:
            try:
                cache._files = _Files.open(photos, geometry)
            except _NoRoom as reason:
                cache._note(str(reason))
            except OSError as error:
                cache._note(f"the cache folder {cache_root() / 'pixels'} cannot be used: {error}")
        return cache

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # one image at a time
        """Return the pixels of one image, uint8 (h, w, 3). Do not write to them: they may be the cache itself."""
        photo = self._photos[index]
        pixels = self._files.get(photo.digest) if self._files else None
        if pixels is None:
            pixels = self._decoded(photo)
            self._keep(photo, pixels)
        return pixels

    def take(self, indices: Sequence[int] | np.ndarray) -> Sequence[np.ndarray]:
        """Return some of the images as a lazy sequence; each is read where and when it is asked for."""
        return _Taken(self, indices)

    def batch(self, indices: Sequence[int] | np.ndarray, *, pool: Executor | None = None) -> np.ndarray:
        """Return images of one size as a new array, uint8 (B, S, S, 3). Only for the geometry of a `Preprocess`."""
        if not isinstance(self._geometry, Preprocess):
            raise ValueError("images of a WholeImage cache differ in size; use take")
        side = self._geometry.input_size
        out = np.empty((len(indices), side, side, 3), np.uint8)

        def work(row: int) -> None:
            out[row] = self[int(indices[row])]

        for _ in pool.map(work, range(len(indices))) if pool else map(work, range(len(indices))):
            pass
        return out

    def fill(
        self, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> dict[int, DataError]:
        """Decode every image that is not kept yet; return the failures by index.

        Does nothing where there is no cache to fill.

        Args:
            workers: threads; the usable cores when None.
            progress: called with (done, total) in the calling thread.
        """
        if self._files is None:
            return {}
        files = self._files
        missing = [index for index, photo in enumerate(self._photos) if not files.has(photo.digest)]
        failures: dict[int, DataError] = {}
        done = len(self) - len(missing)
        with ThreadPoolExecutor(workers or usable_cores()) as pool:
            for start in range(0, len(missing), _CHUNK):
                chunk = missing[start : start + _CHUNK]
                for index, error in zip(chunk, pool.map(self._fill_one, chunk), strict=True):
                    if error is not None:
                        failures[index] = error
                    done += 1
                    if progress:
                        progress(done, len(self))
                if self._files is None:  # the disk filled up; decoding the rest now would be for nothing
                    break
        return failures

    def _fill_one(self, index: int) -> DataError | None:
        try:
            self[index]
        except DataError as error:
            return error
        return None

    def _decoded(self, photo: Photo) -> np.ndarray:
        if isinstance(self._geometry, WholeImage):
            return self._geometry.read(photo, max_pixels=self._max_pixels)
        return self._geometry.read(photo.path, max_pixels=self._max_pixels)

    def _keep(self, photo: Photo, pixels: np.ndarray) -> None:
        files = self._files
        if files is None:
            return
        try:
            files.put(photo.digest, pixels)
        except OSError as error:  # most often a full disk: go on without, whatever it is
            self._files = None
            self._note(f"decoded pixels could not be written: {error}")

    def _note(self, reason: str) -> None:
        fix = "free disk space, set FOVEA_CACHE to a folder with room, or raise FOVEA_CACHE_GB"
        note = Finding(severity="note", code="pixel-cache-off", message=f"images are decoded anew: {reason}", fix=fix)
        if note not in self.notes:
            self.notes.append(note)


class _Taken(Sequence[np.ndarray]):
    def __init__(self, cache: PixelCache, indices: Sequence[int] | np.ndarray) -> None:
        self._cache, self._indices = cache, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> np.ndarray:  # type: ignore[override]
        return self._cache[int(self._indices[position])]


class _NoRoom(Exception):
    """Why no cache is made, in words."""


class _Files:
    """The two files of a cache: `pixels.u8`, row after row, and `marks.u32`, one mark a row, 0 for an empty one.

    Rows are written with pwrite, never through the map: on a full disk that is an OSError, where a write through the
    map would kill the process with SIGBUS.
    """

    def __init__(self, folder: Path, shapes: dict[str, tuple[int, int, int]]) -> None:
        sizes = [math.prod(shape) for shape in shapes.values()]
        starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._rows = {name: row for row, name in enumerate(shapes)}
        self._shapes, self._starts = list(shapes.values()), starts
        self._checked = np.zeros(len(shapes), bool)
        self._pixels_handle = os.open(folder / "pixels.u8", os.O_RDWR)
        weakref.finalize(self, os.close, self._pixels_handle)
        self._marks_handle = os.open(folder / "marks.u32", os.O_RDWR)
        weakref.finalize(self, os.close, self._marks_handle)
        # "r+" although nothing writes here: torch warns of arrays that are not writable, and a private map ("c") is
        # charged against the machine's memory, so one larger than that is refused.
        self._pixels = np.memmap(folder / "pixels.u8", np.uint8, "r+", shape=(int(starts[-1]),))
        self._marks = np.memmap(folder / "marks.u32", np.uint32, "r", shape=(len(shapes),))

    @classmethod
    def open(cls, photos: Sequence[Photo], geometry: Preprocess | WholeImage) -> _Files:
        """Open the files of these images; make them where they are absent or not of the right size."""
        shapes = {photo.digest: _stored_shape(photo, geometry) for photo in sorted(photos, key=lambda p: p.digest)}
        parts = [f"{name} {shape}" for name, shape in shapes.items()]
        folder = cache_root() / "pixels" / digest(_VERSION, geometry.geometry, *parts)
        sizes = {"pixels.u8": sum(map(math.prod, shapes.values())), "marks.u32": 4 * len(shapes)}
        if not _whole(folder, sizes):
            _discard(folder)
            _make_room(folder.parent, sum(sizes.values()))
            _create(folder, sizes)
        os.utime(folder)  # says "used now" to `_make_room`
        return cls(folder, shapes)

    def has(self, name: str) -> bool:
        """Return whether the image with this digest has been written; `get` also checks that it is undamaged."""
        return bool(self._marks[self._rows[name]])

    def get(self, name: str) -> np.ndarray | None:
        """Return the pixels of the image with this digest, or None where they are absent or damaged."""
        row = self._rows[name]
        mark = int(self._marks[row])
        if not mark:
            return None
        pixels = np.asarray(self._pixels[self._starts[row] : self._starts[row + 1]]).reshape(self._shapes[row])
        if not self._checked[row]:  # once per opening: later reads trust the memory of this machine
            if _mark(pixels) != mark:
                return None
            self._checked[row] = True
        return pixels

    def put(self, name: str, pixels: np.ndarray) -> None:
        """Write the pixels of one image and then its mark."""
        row = self._rows[name]
        if pixels.shape != self._shapes[row]:
            raise ValueError(f"{name} has pixels of shape {pixels.shape}, expected {self._shapes[row]}")
        _write_all(self._pixels_handle, np.ascontiguousarray(pixels).data.cast("B"), int(self._starts[row]))
        _write_all(self._marks_handle, memoryview(_mark(pixels).to_bytes(4, "little")), 4 * row)


def _stored_shape(photo: Photo, geometry: Preprocess | WholeImage) -> tuple[int, int, int]:
    if isinstance(geometry, Preprocess):
        return geometry.input_size, geometry.input_size, 3
    width, height = geometry.size(photo.width, photo.height)
    return height, width, 3


def _mark(pixels: np.ndarray) -> int:
    """The CRC-32 of the pixels; the one that would be 0 becomes 1, because 0 says that the row is empty."""
    return zlib.crc32(np.ascontiguousarray(pixels).data) or 1


def _write_all(handle: int, content: memoryview, offset: int) -> None:
    while content:  # a nearly full disk takes a part, and refuses only the next
        written = os.pwrite(handle, content, offset)
        content, offset = content[written:], offset + written


def _whole(folder: Path, sizes: dict[str, int]) -> bool:
    try:
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def _create(folder: Path, sizes: dict[str, int]) -> None:
    """Make empty files in a temporary folder and rename it, so that nobody opens half a cache."""
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    temporary.mkdir(parents=True)
    try:
        for name, size in sizes.items():
            with (temporary / name).open("wb") as file:
                file.truncate(size)  # sparse: takes room as rows come
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not _whole(folder, sizes):  # otherwise another process was faster, and its cache is as good
            raise


def _make_room(parent: Path, need: int) -> None:
    """Remove the least recently used caches until `need` bytes fit under the limit; raise where they cannot."""
    limit = _limit()
    if need > limit:
        raise _NoRoom(f"they would take {need / 1e9:.1f} GB, and the caches may take {limit / 1e9:g} GB in all")
    parent.mkdir(parents=True, exist_ok=True)
    others = sorted((entry for entry in parent.iterdir() if entry.is_dir()), key=_last_used)
    taken = {entry: _size(entry) for entry in others}
    for entry in others:
        if need + sum(taken.values()) <= limit:
            break
        _discard(entry)
        del taken[entry]
    free = shutil.disk_usage(parent).free
    if need > free // 2:
        raise _NoRoom(f"they would take {need / 1e9:.1f} GB, more than half of the {free / 1e9:.1f} GB free")


def _limit() -> int:
    """The bytes that all pixel caches together may take."""
    given = os.environ.get("FOVEA_CACHE_GB")
    try:
        return int(float(given) * 1e9) if given else _DEFAULT_LIMIT
    except (ValueError, OverflowError) as error:
        raise _NoRoom(f"FOVEA_CACHE_GB is {given!r}, expected a number of gigabytes") from error


def _last_used(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def _size(folder: Path) -> int:
    """The bytes that a cache takes or has been promised."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            total += entry.stat().st_size
    return total


def _discard(folder: Path) -> None:
    """Remove a cache. A process that has it open keeps its files until it closes them."""
    shutil.rmtree(folder, ignore_errors=True)
