"""Sigmoids that somebody's own evaluation takes of a network's answers: two in a row make every answer a yes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fovea.doctor.senses.patching import Patches, out_of_sight
from fovea.doctor.watcher import Watcher


class Sigmoids:
    """Tells the watcher of each call without gradients; those of a training show in autograd's graph."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()

    def install(self) -> None:
        """Begin to listen; `torch.nn.functional.sigmoid` calls the method."""
        for owner in (torch, torch.Tensor):
            self._patches.wrap(owner, "sigmoid", self._around)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            if out_of_sight() or not args or result.requires_grad:
                return result
            looking = self._watcher.looking()
            if not looking.active and not self._watcher.in_backward:
                with looking:
                    self._watcher.sigmoid(args[0])
            return result

        return heard
