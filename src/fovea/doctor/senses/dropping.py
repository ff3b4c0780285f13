"""The dropout functions of `torch.nn.functional`, where somebody's own code calls them: no module tells their mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from fovea.doctor.record import Drop
from fovea.doctor.senses.patching import Patches, out_of_sight
from fovea.doctor.senses.places import place_of_call
from fovea.doctor.watcher import Watcher

NAMES = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
_FILE = functional.dropout.__code__.co_filename
_MOST = 100  # lines


class Dropping:
    """Counts calls for each line and share; calls that modules make are theirs to tell."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()
        self._known: dict[tuple[Any, float], Drop] = {}

    def install(self) -> None:
        """Begin to listen."""
        for name in NAMES:
            self._patches.listen_within(getattr(functional, name), self._around)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(inputs: Any, p: float, training: bool, inplace: bool) -> Any:
            if not self._watcher.in_backward and not out_of_sight():
                gradients = torch.is_grad_enabled()  # looking turns gradients off
                with self._watcher.looking():
                    self._called(float(p), on=bool(training) and p > 0, with_gradients=gradients)
            return real(inputs, p, training, inplace)

        return heard

    def _called(self, p: float, *, on: bool, with_gradients: bool) -> None:
        place = place_of_call(_FILE)
        if place is None:
            return
        drop = self._known.get((place, p))
        if drop is None:
            if len(self._known) >= _MOST:
                return  # a share that changes from call to call
            drop = self._known[place, p] = Drop(place, p)
            self._watcher.record.drops.append(drop)
        if not on:
            drop.off += 1
        elif with_gradients:
            drop.on += 1
        else:
            drop.on_without_gradients += 1
