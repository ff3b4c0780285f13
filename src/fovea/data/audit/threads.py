"""Many small pieces of torch arithmetic side by side: a thread for each core, and no threads within a piece.

Left to itself torch spreads each small operation over all cores and waits for the slowest; when other programs want the
cores too, most of the time goes into waiting.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fovea.core.cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order; only a few results wait at any time.

    >>> list(side_by_side(lambda number: number * number, range(4)))
    [0, 1, 4, 9]
    """
    cores = usable_cores()
    waiting: deque[Future[Result]] = deque()
    with _undivided(), ThreadPoolExecutor(cores, thread_name_prefix="audit") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def _undivided() -> Iterator[None]:
    """Keep torch from dividing its operations; threads begun meanwhile keep to it."""
    torch = sys.modules.get("torch")
    if torch is None:  # so the work is none of its
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
