"""fastai's own optimisers and loaders, shown as PyTorch's are.

Nothing here imports fastai: a script that uses it does.
"""

from __future__ import annotations

import sys
from typing import Any

from torch.utils.data import RandomSampler, SequentialSampler

_NAMES = {"mom": "momentum", "wd": "weight_decay"}
_KINDS = {"adam_step": "Adam", "radam_step": "RAdam", "rms_prop_step": "RMSprop", "lamb_step": "Lamb"}
_APART = "weight_decay"  # the callback that takes the decay from the weights rather than from the gradient


def optimizer_class() -> Any | None:
    """Return fastai's Optimizer if a script has imported it, or else None."""
    return getattr(sys.modules.get("fastai.optimizer"), "Optimizer", None)


class FastaiOptimizer:
    """The view of an optimiser of fastai that the watcher reads: parameter groups in PyTorch's words."""

    def __init__(self, real: Any) -> None:
        self._real = real
        steps = [getattr(getattr(each, "func", each), "__name__", "") for each in real.cbs]  # some are partial
        self.kind = next((_KINDS[name] for name in steps if name in _KINDS), "SGD")
        if self.kind == "Adam" and _APART in steps:
            self.kind = "AdamW"

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Its parameters and settings as they are now."""
        groups = []
        for parameters, settings in zip(self._real.param_lists, self._real.hypers, strict=True):
            group = {_NAMES.get(name, name): value for name, value in settings.items()}
            if self.kind != "SGD" and "sqr_mom" in group:
                group["betas"] = (group.pop("momentum"), group.pop("sqr_mom"))
            groups.append({**group, "params": list(parameters)})
        return groups


class FastaiLoader:
    """The view of a loader of fastai that the watcher reads."""

    def __init__(self, real: Any) -> None:
        self.dataset = real.dataset
        self.batch_size = real.bs
        self.drop_last = real.drop_last
        self.sampler = RandomSampler(real.dataset) if real.shuffle else SequentialSampler(real.dataset)
        self.batch_sampler = None


def loader_behind(iterator: Any) -> Any | None:
    """Return the loader of fastai that has made an iterator of PyTorch's for itself, or None."""
    within = getattr(iterator, "_dataset", None)
    return getattr(within, "d", None) if type(within).__name__ == "_FakeLoader" else None
