"""The loss functions of `torch.nn.functional`, which the modules of `torch.nn` call too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch.nn import functional

from fovea.doctor.senses.patching import Patches, out_of_sight
from fovea.doctor.watcher import Watcher

NAMES = (
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss",
    "smooth_l1_loss", "huber_loss", "kl_div", "multi_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss",
)  # fmt: skip


class Losses:
    """Tells the watcher of each call: function, scores, targets, options and value."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()
        self._within = False

    def install(self) -> None:
        """Begin to listen; scripts have often bound these functions to names of their own by now."""
        for name in NAMES:
            self._patches.listen_within(getattr(functional, name), self._around(name))

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()

    def _around(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def around(real: Callable[..., Any]) -> Callable[..., Any]:
            names = list(inspect.signature(real).parameters)

            def heard(*args: Any) -> Any:
                if self._within or self._watcher.in_backward or out_of_sight():
                    return real(*args)  # kinds of tensors call the function anew
                self._within = True
                try:
                    value = real(*args)
                finally:
                    self._within = False
                with self._watcher.looking():
                    self._watcher.loss(name, dict(zip(names, args, strict=True)), value)
                return value

            return heard

        return around
