"""This machine, prepared for work: threads, memory allocator, and a clean answer to Ctrl-C."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from fovea.core.cores import usable_cores
from fovea.core.progress import Progress
from fovea.core.recipe import TrainRecipe

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_KEEP_BYTES = 2**31 - 1


def prepare(settings: TrainRecipe) -> None:
    """Set the threads for arithmetic, and keep freed memory."""
    import torch

    torch.set_num_threads(settings.threads or usable_cores())
    keep_memory()


def keep_memory() -> None:
    """Keep freed memory for the next step instead of giving it back.

    glibc returns every block above 32 MB to the kernel at once, and the next step pays for fresh, zeroed pages: on
    MobileNetV2 at 224 px a training step takes 1.8 times as long that way (bench/allocator.py).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


@contextlib.contextmanager
def stop_on_signal(progress: Progress) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether the user pressed Ctrl-C (or the system sent SIGTERM) meanwhile.

    The first signal asks for a clean end, the second one ends at once. Outside the main thread nothing changes.
    """
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        progress.say("stopping after this step; press Ctrl-C again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
