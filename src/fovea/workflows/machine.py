"""This machine, prepared for a training: threads, memory allocator, devices, and a clean answer to Ctrl-C."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric

from fovea.core.cores import usable_cores
from fovea.core.errors import RecipeError
from fovea.core.progress import Progress
from fovea.core.recipe import TrainRecipe

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_KEEP_BYTES = 2**31 - 1


def prepare(settings: TrainRecipe) -> None:
    """Set the threads for arithmetic, and keep freed memory for the next step instead of giving it back.

    glibc returns every block above 32 MB to the kernel at once, and the next step pays for fresh, zeroed pages: on
    MobileNetV2 at 224 px a training step takes 1.8 times as long that way (bench/allocator.py).
    """
    torch.set_num_threads(settings.threads or usable_cores())
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def build_fabric(settings: TrainRecipe) -> Fabric:
    """Return the devices that the recipe asks for; under `torchrun`, every process of it.

    Raises:
        RecipeError: the device that was asked for is not here.
    """
    accelerator = _accelerator(settings.device)
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    precision: dict[str, Any] = {
        "fp32": "32-true",
        "bf16": "bf16-mixed",
        "fp16": "16-mixed",
        "auto": _precision(accelerator),
    }
    fabric = Fabric(
        accelerator=accelerator,
        devices=local if world > 1 else 1,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision=precision[settings.precision],
    )
    fabric.launch()
    return fabric


def _accelerator(device: str) -> str:
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if here["cuda"] else "mps" if here["mps"] else "cpu"
    if not here[device]:
        found = ", ".join(name for name, present in here.items() if present)
        raise RecipeError(f"train.device is {device!r}, which this machine lacks", hint=f"found here: {found}")
    return device


def _precision(accelerator: str) -> str:
    """bf16 where a GPU has it, fp16 on older ones; on CPU fp32, because depthwise gradients are slower in bf16."""
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "32-true"


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
