"""Open every file once: is it a whole image, how large, what is the digest of its bytes, and how does it look?

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
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from fovea.core.cores import usable_cores
from fovea.core.errors import DataError, Interrupted
from fovea.core.files import cache_root
from fovea.data.looks import Album, Look, Looks, Stored
from fovea.data.measure import measure, see

Progress = Callable[[int, int], None]
COLUMNS = {"width": pl.Int32, "height": pl.Int32, "bytes": pl.Int64, "digest": pl.String, "excluded": pl.String}

_CHUNK = 16  # files that one thread opens before it measures them together
_BATCH = 512  # files between two commits: what a kill loses at most; Ctrl-C loses none
_IN_MEMORY_BYTES = 64 * 2**20  # larger files are hashed from disk, so that memory stays bounded
_SETTLED_S = 2.0  # a file changed this recently may change again within the same tick of its clock
_BUSY_S = 10.0
_TABLE = "scan4"  # raise the number when what is stored changes its meaning


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


class Answer(NamedTuple):
    """All that one file told; one that cannot be used has no look."""

    scanned: Scanned
    look: Look | None = None


def scan(paths: Sequence[str], *, max_pixels: int, progress: Progress | None = None) -> tuple[pl.DataFrame, Looks]:
    """Open every file that is not remembered, in threads; each is decoded once.

    Args:
        paths: absolute paths, as text: a hundred thousand Path objects cost more than asking the disk about them.
        max_pixels: images with more pixels are excluded.
        progress: called with (files done, files in all) as the scan goes on; may raise `Interrupted` to end it.

    Raises:
        Interrupted: `progress` did; the message also says how many files are remembered.

    Returns:
        A table with one row per path, in order: `width`, `height` (pixels, after orientation), `bytes`, `digest`,
        `excluded` (null, or the reason in words, such as "is empty (0 bytes)"); and the looks at the same files, blank
        where a file is excluded.
    """
    results: list[Scanned] = []
    album = Album(len(paths))
    threads = ThreadPoolExecutor(_threads(), thread_name_prefix="fovea-scan")
    with _memory(max_pixels) as memory, _saying_what_is_remembered(memory, len(paths)), threads as pool:
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            stamps = [_stamp(path) for path in batch]
            known = memory.recall(stamps) if memory else {}
            answers = [known.get(stamp) if isinstance(stamp, _Stamp) else Answer(stamp) for stamp in stamps]
            pending = [place for place, answer in enumerate(answers) if answer is None]
            fresh = _opened(pool, [batch[place] for place in pending], max_pixels)
            done = start + len(batch) - len(pending)
            try:
                if progress and len(pending) < len(batch):
                    progress(done, len(paths))
                for place, answer in zip(pending, fresh, strict=True):
                    answers[place] = answer
                    done += 1
                    if progress:
                        progress(done, len(paths))
            finally:
                fresh.close()  # after an interruption, what has not begun need not begin
                if memory:
                    memory.keep([(stamps[place], answers[place]) for place in pending])
            for row, answer in enumerate(filter(None, answers), start=start):
                results.append(answer.scanned)
                if answer.look is not None:
                    album.put(row, answer.look)
    return pl.DataFrame(results, schema=COLUMNS, orient="row"), album.looks()


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


def _opened(pool: ThreadPoolExecutor, paths: Sequence[str], max_pixels: int) -> Generator[Answer, None, None]:
    """Open files in the threads of the pool, some in each task: numbers are cheaper to take of several pictures."""
    chunks = [paths[first : first + _CHUNK] for first in range(0, len(paths), _CHUNK)]
    for answers in pool.map(lambda chunk: _open_some(chunk, max_pixels), chunks):
        yield from answers


def _open_some(paths: Sequence[str], max_pixels: int) -> list[Answer]:
    opened = [_open(path, max_pixels) for path in paths]
    whole = [(stored, pixels) for _, stored, pixels in opened if stored is not None and pixels is not None]
    if not whole:
        return [Answer(scanned) for scanned, _, _ in opened]
    measured = measure(np.stack([pixels for _, pixels in whole]))
    looks = iter([Look(stored, *values) for (stored, _), *values in zip(whole, *measured, strict=True)])
    return [Answer(scanned, None if scanned.excluded else next(looks)) for scanned, _, _ in opened]


def _open(path: str, max_pixels: int) -> tuple[Scanned, Stored | None, np.ndarray | None]:
    """Return what is known of one file and, if it is whole, how it is stored and its pixels for `measure`."""
    size: int | None = None
    content: str | None = None
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= _IN_MEMORY_BYTES else None
            hashed = hashlib.file_digest(file, _blake2b) if data is None else _blake2b(data)
        size, content = (size if data is None else len(data)), hashed.hexdigest()
        found, stored, pixels = see(path if data is None else data, max_pixels=max_pixels)
    except DataError as error:
        reason = error.message.removeprefix(f"{path} ").removeprefix("the image ")
        if isinstance(error.__cause__, MemoryError):  # says nothing of the file, so nothing to remember
            content = None
        return Scanned(None, None, size, content, reason), None, None
    except FileNotFoundError:
        return _refused("is missing"), None, None
    except (OSError, MemoryError) as error:
        return Scanned(None, None, size, None, _reason(error)), None, None
    return Scanned(found.width, found.height, size, content, None), stored, pixels


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
        self.remembered = 0  # files whose answer was known or is stored now
        self._connection: sqlite3.Connection | None = sqlite3.connect(path, timeout=_BUSY_S)
        self._run(
            f"CREATE TABLE IF NOT EXISTS {_TABLE} (path TEXT, max_pixels INTEGER, size INTEGER, mtime_ns INTEGER, "
            "width INTEGER, height INTEGER, digest TEXT, excluded TEXT, stored TEXT, numbers BLOB, grey BLOB, "
            "color BLOB, PRIMARY KEY (path, max_pixels))",
            [],
        )

    def recall(self, stamps: Sequence[_Stamp | Scanned]) -> dict[_Stamp, Answer]:
        """Return what is known of at most `_BATCH` files that have not changed since."""
        names = [stamp.path for stamp in stamps if isinstance(stamp, _Stamp)]
        rows = self._run(
            "SELECT path, size, mtime_ns, width, height, digest, excluded, stored, numbers, grey, color "
            f"FROM {_TABLE} WHERE max_pixels = ? AND path IN ({','.join('?' * len(names))})",
            [self._max_pixels, *names],
        )
        known = {
            _Stamp(path, size, mtime_ns): Answer(
                Scanned(width, height, size, content, excluded), Look.unpack(*look) if look[0] else None
            )
            for path, size, mtime_ns, width, height, content, excluded, *look in rows
        }
        self.remembered += sum(stamp in known for stamp in stamps)
        return known

    def keep(self, answers: Sequence[tuple[_Stamp | Scanned, Answer | None]]) -> None:
        """Store answers that follow from the file's bytes alone, of files at rest."""
        newest_ns = int((time.time() - _SETTLED_S) * 1e9)
        rows = []
        for stamp, answer in answers:
            if not isinstance(stamp, _Stamp) or answer is None or not answer.scanned.digest:
                continue  # without a digest the bytes were not read
            if answer.scanned.bytes == stamp.size and stamp.mtime_ns < newest_ns:
                width, height, _, content, excluded = answer.scanned
                look = answer.look.pack() if answer.look else (None, None, None, None)
                about = (stamp.path, self._max_pixels, stamp.size, stamp.mtime_ns)
                rows.append((*about, width, height, content, excluded, *look))
        self._run(f"INSERT OR REPLACE INTO {_TABLE} VALUES ({','.join('?' * 12)})", rows, many=True)
        self.remembered += len(rows) if self._connection else 0

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
def _saying_what_is_remembered(memory: _Memory | None, total: int) -> Iterator[None]:
    try:
        yield
    except Interrupted as stopped:
        remembered = memory.remembered if memory else 0
        raise Interrupted(
            f"{stopped.message}; {remembered:,} of {total:,} files are remembered",
            hint="the same command goes on from there",
        ) from stopped


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
