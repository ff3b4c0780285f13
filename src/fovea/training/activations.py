"""Activations of a frozen network, computed once and kept: the cheap rungs of training stand on them.

Rows are addressed by content: what the network, the view and the image are decides the key, so runs, folders and
processes share them. They lie in shards that are either complete or absent; a kill loses at most the shard being
gathered. Nothing here trains.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from fovea.core.files import atomic_open, digest, write_json
from fovea.training.session import BATCH

SHARD_ROWS = 512


class ActivationStore:
    """Activation rows of one network and view, addressed by image digest.

    Args:
        folder: where the shards lie; made when the first shard is added.
        identity: everything that decides the values besides the image, in a fixed order.
    """

    def __init__(self, folder: Path, *, identity: Sequence[str]) -> None:
        self.folder = folder / digest(*identity)
        self._shards: list[np.ndarray] = []
        self._rows: dict[str, tuple[int, int]] = {}
        if self.folder.is_dir():
            for index in sorted(self.folder.glob("*.json")):
                self._open(index)

    def missing(self, digests: Sequence[str]) -> list[int]:
        """Return the positions of `digests` that have no row yet; a repeated digest counts once."""
        seen: set[str] = set()
        wanted = []
        for position, key in enumerate(digests):
            if key not in self._rows and key not in seen:
                seen.add(key)
                wanted.append(position)
        return wanted

    def add(self, digests: Sequence[str], rows: np.ndarray) -> None:
        """Write one shard; the index comes last, so a shard without one does not count."""
        name = secrets.token_hex(8)
        with atomic_open(self.folder / f"{name}.npy") as file:
            np.save(file, rows)
        index = self.folder / f"{name}.json"
        write_json(index, {"digests": list(digests), "bytes": (self.folder / f"{name}.npy").stat().st_size})
        self._open(index)

    def gather(self, digests: Sequence[str]) -> np.ndarray:
        """Return the rows of `digests` (n, …) in their order."""
        places = [self._rows[key] for key in digests]
        model = self._shards[places[0][0]]
        rows = np.empty((len(places), *model.shape[1:]), model.dtype)
        for position, (shard, row) in enumerate(places):
            rows[position] = self._shards[shard][row]
        return rows

    def has(self, digests: Sequence[str]) -> np.ndarray:
        """Return which of `digests` have a row, as booleans (n,)."""
        return np.array([key in self._rows for key in digests], dtype=bool)

    def _open(self, index: Path) -> None:
        """Take a shard in; one that is truncated or unreadable is dropped and will be computed again."""
        data = index.with_suffix(".npy")
        try:
            entry = json.loads(index.read_text(encoding="utf-8"))
            if data.stat().st_size != entry["bytes"]:
                raise ValueError("truncated")
            rows = np.load(data, mmap_mode="r", allow_pickle=False)
            if len(rows) != len(entry["digests"]):
                raise ValueError("index and rows disagree")
        except (OSError, ValueError, KeyError):
            index.unlink(missing_ok=True)
            data.unlink(missing_ok=True)
            return
        shard = len(self._shards)
        self._shards.append(rows)
        for row, key in enumerate(entry["digests"]):
            self._rows.setdefault(key, (shard, row))


def extract(
    store: ActivationStore,
    *,
    digests: Sequence[str],
    pixels: Callable[[Sequence[int]], torch.Tensor],
    forward: Callable[[torch.Tensor], torch.Tensor],
    dtype: type = np.float16,
    advance: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> None:
    """Fill `store` with the rows it lacks; ends early, with whole shards written, when `stop` says so.

    Args:
        store: where rows go.
        digests: content digest of each image (N,).
        pixels: normalised inputs (n, 3, H, W) of the images at these positions.
        forward: the frozen network; (n, 3, H, W) to (n, …).
        dtype: number format of the rows on disk.
        advance: told (done, total) after each batch.
        stop: asked before each batch.
    """
    wanted = store.missing(digests)
    # A seeded shuffle: when time or the user ends it early, the rows so far are a sample of all classes.
    wanted = [wanted[place] for place in np.random.default_rng(0).permutation(len(wanted))]
    keys: list[str] = []
    rows: list[np.ndarray] = []
    saved = time.monotonic()
    done = 0
    for positions, inputs in _ahead(wanted, pixels):
        if stop():
            break
        outputs = forward(_full(inputs))[: len(positions)]
        rows.append(outputs.float().cpu().numpy().astype(dtype))
        keys += [digests[position] for position in positions]
        done += len(positions)
        advance(done, len(wanted))
        if len(keys) >= SHARD_ROWS or time.monotonic() - saved > 10:
            store.add(keys, np.concatenate(rows))
            keys, rows, saved = [], [], time.monotonic()
    if keys:
        store.add(keys, np.concatenate(rows))


def _ahead(
    wanted: Sequence[int], pixels: Callable[[Sequence[int]], torch.Tensor]
) -> Iterator[tuple[Sequence[int], torch.Tensor]]:
    """Yield batches of positions with their inputs, two batches being prepared while one is used."""
    chunks = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
    with ThreadPoolExecutor(1) as pool:
        pending = [(chunk, pool.submit(pixels, chunk)) for chunk in chunks[:2]]
        try:
            for number in range(len(chunks)):
                chunk, future = pending.pop(0)
                if number + 2 < len(chunks):
                    pending.append((chunks[number + 2], pool.submit(pixels, chunks[number + 2])))
                yield chunk, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def _full(inputs: torch.Tensor) -> torch.Tensor:
    """Pad a last, smaller batch to BATCH images."""
    if len(inputs) == BATCH:
        return inputs
    padding = inputs.new_zeros((BATCH - len(inputs), *inputs.shape[1:]))
    return torch.cat([inputs, padding])
