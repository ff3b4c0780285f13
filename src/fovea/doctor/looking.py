"""The guard around all that the doctor does within a training."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fovea.doctor.watcher import Watcher


class Looking:
    """The time that the doctor takes: measured, without gradients; what goes wrong in it never reaches the training."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._depth = 0
        self._grad = True

    @property
    def active(self) -> bool:
        """Whether the doctor is at work."""
        return self._depth > 0

    def __enter__(self) -> None:
        if self._depth == 0:
            self._began = time.perf_counter()
            self._grad = torch.is_grad_enabled()
            torch._C._set_grad_enabled(False)  # no_grad() costs more than what it guards here
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._depth -= 1
        if self._depth == 0:
            torch._C._set_grad_enabled(self._grad)
            self._watcher.record.overhead_s += time.perf_counter() - self._began
        if isinstance(error, Exception) and not self._watcher.strict:
            self._watcher.trouble(error)
            return True
        return False
