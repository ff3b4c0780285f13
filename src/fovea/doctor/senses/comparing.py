"""Comparisons of two tensors for equality: where somebody's own evaluation counts right answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fovea.doctor.senses.patching import Patches, out_of_sight
from fovea.doctor.watcher import Watcher

_NAMES = ("eq", "ne")


class Comparing:
    """Tells the watcher of each pair of tensors that is compared."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()

    def install(self) -> None:
        """Begin to listen."""
        for name in _NAMES:
            self._patches.wrap(torch, name, self._around)
            self._patches.wrap(torch.Tensor, name, self._around)
            self._patches.wrap(torch.Tensor, f"__{name}__", self._around)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            if len(args) < 2 or not isinstance(args[1], torch.Tensor) or out_of_sight():
                return result
            looking = self._watcher.looking()
            if not looking.active and not self._watcher.in_backward:
                with looking:
                    self._watcher.compared(args[0], args[1])
            return result

        return heard
