"""The nearest few of many unit vectors, without comparing all with all.

Up to some thousands of vectors every pair is compared, in blocks. Beyond that the vectors are dealt into about 2 √N
cells around centres found by k-means on a sample, and each is compared with those in the few cells nearest to it. So
the work grows as N √N: a million vectors take minutes on two cores. What is lost is a neighbour in a cell that was not
looked into; how many that are stands in bench/audit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from fovea.data.audit.threads import side_by_side

EXACT = 20_000  # up to here every pair is compared
_BLOCK = 2048
_ASKING = 1 << 17  # queries dealt into cells together: enough to fill blocks, and no more memory than that
_PROBES = 24  # cells looked into: of 100,000 pictures (bench/audit_scale.py) 96 in 100 copies are found; with 8, 88
_SAMPLE_PER_CELL = 20
_ROUNDS = 8  # of k-means

Advance = Callable[[int, int], None]
Variant = Callable[[np.ndarray], np.ndarray]


def nearest(
    vectors: np.ndarray, *, count: int, variant: Variant | None = None, seed: int = 0, advance: Advance | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the `count` vectors nearest to each query, and their cosines.

    Args:
        vectors: of unit length (N, D) float32.
        count: how many neighbours to find.
        variant: makes the query of each of some vectors, (P, D) -> (P, D); None asks for the vectors themselves. It is
            called on a few at a time, so that the queries need no memory. A vector is no neighbour of its own query.
        seed: of the cells.
        advance: told (queries done, queries in all).

    Returns:
        Rows (N, count) int64, -1 where there is no further one, and cosines (N, count) float32, best first.

    >>> corners = np.eye(3, dtype=np.float32)
    >>> rows, cosines = nearest(corners, count=1, variant=lambda some: np.roll(some, 1, axis=1))
    >>> rows[:, 0].tolist(), cosines[:, 0].tolist()
    ([1, 2, 0], [1.0, 1.0, 1.0])
    """
    total = len(vectors)
    best = torch.full((total, count), -2.0)
    rows = torch.full((total, count), -1, dtype=torch.int64)
    base = torch.from_numpy(vectors)

    def queries(some: torch.Tensor) -> torch.Tensor:
        return some if variant is None else torch.from_numpy(variant(some.numpy()))

    def compare(task: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        askers, members = task
        cosines = queries(base[askers]) @ base[members].T  # (Q, M)
        cosines[askers[:, None] == members] = -2.0
        found = cosines.topk(min(count, len(members)), dim=1)
        return askers, found.values, members[found.indices]

    done = 0
    for askers, cosines, others in side_by_side(compare, _work(base, queries, seed)):
        merged = torch.cat([best[askers], cosines], dim=1).topk(count, dim=1)
        best[askers], rows[askers] = merged.values, torch.cat([rows[askers], others], dim=1).gather(1, merged.indices)
        done += len(askers)
        if advance:
            advance(done, total if total <= EXACT else total * _PROBES)
    rows[best < -1.5] = -1
    return rows.numpy(), best.numpy()


def _work(
    base: torch.Tensor, queries: Callable[[torch.Tensor], torch.Tensor], seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield rows of queries and the rows of vectors to compare them with."""
    total = len(base)
    if total <= EXACT:
        everyone = torch.arange(total)
        for block in everyone.split(_BLOCK):
            yield block, everyone
        return
    centres = _centres(base, cells=int(2 * total**0.5), seed=seed)
    members = _by_cell(_cells(base, centres, 1), len(centres))
    for start in range(0, total, _ASKING):
        askers = _by_cell(_cells(base[start : start + _ASKING], centres, _PROBES, queries), len(centres))
        for cell in range(len(centres)):
            if len(members[cell]):
                for block in askers[cell].split(_BLOCK):
                    yield start + block, members[cell]


def _centres(base: torch.Tensor, *, cells: int, seed: int) -> torch.Tensor:
    """Spherical k-means on a sample: centres of unit length (cells, D). An empty cell keeps its centre."""
    generator = torch.Generator().manual_seed(seed)
    sample = base[torch.randperm(len(base), generator=generator)[: cells * _SAMPLE_PER_CELL]]
    centres = sample[torch.randperm(len(sample), generator=generator)[:cells]].clone()
    for _ in range(_ROUNDS):
        cell = _cells(sample, centres, 1)[:, 0].long()
        sums = torch.zeros_like(centres).index_add_(0, cell, sample)
        filled = sums.norm(dim=1) > 0
        centres[filled] = torch.nn.functional.normalize(sums[filled], dim=1)
    return centres


def _cells(
    vectors: torch.Tensor,
    centres: torch.Tensor,
    count: int,
    queries: Callable[[torch.Tensor], torch.Tensor] = lambda some: some,
) -> torch.Tensor:
    """Return the cells nearest to the query of each vector, (N, count)."""
    found = torch.empty(len(vectors), count, dtype=torch.int32)
    for start in range(0, len(vectors), _BLOCK):
        some = slice(start, start + _BLOCK)
        found[some] = (queries(vectors[some]) @ centres.T).topk(count, dim=1).indices
    return found


def _by_cell(cells: torch.Tensor, count: int) -> list[torch.Tensor]:
    """Return the rows that each cell was chosen by: (N, k) cell numbers -> one list of rows a cell."""
    sizes = cells.flatten().bincount(minlength=count).tolist()
    order = cells.flatten().argsort(stable=True)
    return list(order.div_(cells.shape[1], rounding_mode="floor").split(sizes))
