"""What a network costs: arithmetic, bytes, memory, receptive field and time, counted from what is really dispatched.

    costs = fovea.cost.cost_of(model, (1, 3, 224, 224))     # measure=False counts and predicts without running it
    costs.total["macs"], costs.reach.size_px, costs.findings

`fovea cost MODEL_OR_RUN` from a shell.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fovea.cost.costs import Costs as Costs
    from fovea.cost.costs import cost_of as cost_of
    from fovea.cost.counting import count as count

_MODULES = {"Costs": "costs", "cost_of": "costs", "count": "counting"}
__all__ = ["Costs", "cost_of", "count"]


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: importing the room alone does not import torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fovea.cost' has no attribute {name!r}")
    return getattr(import_module(f"fovea.cost.{_MODULES[name]}"), name)
