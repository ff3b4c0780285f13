"""Open every file once: is it a whole image, how large, and what is the digest of its bytes?

Answers are remembered in a database under the cache folder, by absolute path, size and modification time, so a second
scan touches only what changed. The database may be shared between processes, killed or deleted at any moment: without
it a scan takes longer and nothing else. A bad file never stops a scan; it gets a reason instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import polars as pl

from fovea.core.cores import usable_cores
from fovea.core.errors import DataError
from fovea.core.files import cache_root
from fovea.data import decoding

Progress = Callable[[int, int], None]
COLUMNS = {"width": pl.Int32, "height": pl.Int32, "bytes": pl.Int64, "digest": pl.String, "excluded": pl.String}

_BATCH = 512  # files between two commits: what a kill loses at most
_IN_MEMORY_BYTES = 64 * 2**20  # larger files are hashed from disk, so that memory stays bounded
_SETTLED_S = 2.0  # a file changed this recently may change again within the same tick of its clock
_BUSY_S = 10.0
_TABLE = "scan1"  # raise the number when what is stored changes its meaning


class Scanned(NamedTuple):
    """What opening one file told: pixels after orientation, bytes, content digest, and why it is no use (or None)."""

    width: int | None
    height: int | None
    bytes: int | None
    digest: str | None
    excluded: str | None


class _Stamp(NamedTuple):
    """What identifies one state of a file."""

    path: str
    size: int
    mtime_ns: int


def scan(paths: Sequence[str], *, max_pixels: int, progress: Progress | None = None) -> pl.DataFrame:
    """Open every file that is not remembered, in threads.

    Args:
        paths: absolute paths, as text: a hundred thousand Path objects cost more than asking the disk about them.
        max_pixels: images with more pixels are excluded.
        progress: called with (files done, files in all) as the scan goes on.

    Returns:
        One row per path, in order: `width`, `height` (pixels, after orientation), `bytes`, `digest`, `excluded` (null,
        or the reason in words, such as "is empty (0 bytes)").
    """
    stamps = [_stamp(path) for path in paths]
    with _memory(max_pixels) as memory:
        known = memory.recall([stamp for stamp in stamps if isinstance(stamp, _Stamp)]) if memory else {}
        results = [known.get(stamp) if isinstance(stamp, _Stamp) else stamp for stamp in stamps]
        pending = [index for index, result in enumerate(results) if result is None]
        done = len(paths) - len(pending)
        if progress and done:
            progress(done, len(paths))
        with ThreadPoolExecutor(_threads(), thread_name_prefix="fovea-scan") as pool:
            for start in range(0, len(pending), _BATCH):
                batch = pending[start : start + _BATCH]
                fresh = pool.map(lambda index: _open(paths[index], max_pixels), batch)
                for index, result in zip(batch, fresh, strict=True):
                    results[index] = result
                    done += 1
                    if progress:
                        progress(done, len(paths))
                if memory:
                    memory.keep([(stamps[index], results[index]) for index in batch])
    return pl.DataFrame(results, schema=COLUMNS, orient="row")


def _threads() -> int:
    """Twice the usable cores: half of them may be waiting for a disk."""
    return min(32, 2 * usable_cores())


def _stamp(path: str) -> _Stamp | Scanned:
    """Return what identifies the file's state, or the reason it cannot be opened at all."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return _refused("is missing")
    except (OSError, ValueError) as error:
        return _refused(_reason(error))
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return _refused("is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
    return _Stamp(path, status.st_size, status.st_mtime_ns)


def _open(path: str, max_pixels: int) -> Scanned:
    size: int | None = None
    content: str | None = None
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= _IN_MEMORY_BYTES else None
            hashed = hashlib.file_digest(file, _blake2b) if data is None else _blake2b(data)
        size, content = (size if data is None else len(data)), hashed.hexdigest()
        found = decoding.probe(path if data is None else data, max_pixels=max_pixels)
    except DataError as error:
        reason = error.message.removeprefix(f"{path} ").removeprefix("the image ")
        if isinstance(error.__cause__, MemoryError):  # says nothing of the file, so nothing to remember
            content = None
        return Scanned(None, None, size, content, reason)
    except FileNotFoundError:
        return _refused("is missing")
    except (OSError, MemoryError) as error:
        return Scanned(None, None, size, None, _reason(error))
    return Scanned(found.width, found.height, size, content, None)


def _blake2b(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=16)


def _refused(reason: str) -> Scanned:
    return Scanned(None, None, None, None, reason)


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


class _Memory:
    """The answers of earlier scans under one limit of pixels."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._path = path
        self._max_pixels = max_pixels
        self._connection: sqlite3.Connection | None = sqlite3.connect(path, timeout=_BUSY_S)
        self._run(
            f"CREATE TABLE IF NOT EXISTS {_TABLE} (path TEXT, max_pixels INTEGER, size INTEGER, mtime_ns INTEGER, "
            "width INTEGER, height INTEGER, digest TEXT, excluded TEXT, PRIMARY KEY (path, max_pixels)) WITHOUT ROWID",
            [],
        )

    def recall(self, stamps: Sequence[_Stamp]) -> dict[_Stamp, Scanned]:
        """Return what is known of files that have not changed since."""
        known: dict[_Stamp, Scanned] = {}
        for start in range(0, len(stamps), _BATCH):
            names = [stamp.path for stamp in stamps[start : start + _BATCH]]
            rows = self._run(
                f"SELECT path, size, mtime_ns, width, height, digest, excluded FROM {_TABLE} "
                f"WHERE max_pixels = ? AND path IN ({','.join('?' * len(names))})",
                [self._max_pixels, *names],
            )
            for path, size, mtime_ns, width, height, content, excluded in rows:
                known[_Stamp(path, size, mtime_ns)] = Scanned(width, height, size, content, excluded)
        return known

    def keep(self, answers: Sequence[tuple[_Stamp | Scanned, Scanned | None]]) -> None:
        """Store answers that follow from the file's bytes alone, of files at rest."""
        newest_ns = int((time.time() - _SETTLED_S) * 1e9)
        rows = [
            (stamp.path, self._max_pixels, stamp.size, stamp.mtime_ns, *answer[:2], *answer[3:])
            for stamp, answer in answers
            if isinstance(stamp, _Stamp) and answer and answer.digest  # without a digest the bytes were not read
            if answer.bytes == stamp.size and stamp.mtime_ns < newest_ns
        ]
        self._run(f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows, many=True)

    def _run(self, command: str, values: Sequence, *, many: bool = False) -> list[tuple]:
        """Run one command in a transaction of its own. After a failure nothing more is remembered in this scan.

        A damaged database is removed, so that the next scan begins a new one; one that is only busy, full or read-only
        (an OperationalError) stays.
        """
        if self._connection is None:
            return []
        try:
            with self._connection:
                cursor = self._connection.executemany(command, values) if many else None
                return [] if cursor else self._connection.execute(command, values).fetchall()
        except sqlite3.Error as error:
            self.close()
            if not isinstance(error, sqlite3.OperationalError):
                with contextlib.suppress(OSError):
                    self._path.unlink()
            return []

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.contextmanager
def _memory(max_pixels: int) -> Iterator[_Memory | None]:
    """Yield the database, or None where there can be none."""
    path = cache_root() / "scan" / "files.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        memory = _Memory(path, max_pixels)
    except (OSError, sqlite3.Error):
        yield None
        return
    try:
        yield memory
    finally:
        memory.close()
