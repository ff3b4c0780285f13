"""Networks: one catalogue over timm, torchvision and our own, their weights, their parts, the folder they are kept in.

    model = fovea.models.create("resnet18", classes=10)   # random weights, or weights="hub", a folder or a file
    maps = fovea.models.features(model, images)           # one for each resolution, from fine to coarse
    found = fovea.models.search("resnet*")                # with paper, year, input size, cost and weights

`fovea models` lists them from a shell.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fovea.models.creating import create as create
    from fovea.models.listing import search as search
    from fovea.models.pyramid import Pyramid as Pyramid
    from fovea.models.pyramid import features as features

_MODULES = {"Pyramid": "pyramid", "create": "creating", "features": "pyramid", "search": "listing"}
__all__ = ["Pyramid", "create", "features", "search"]


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: importing the room alone does not import torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fovea.models' has no attribute {name!r}")
    return getattr(import_module(f"fovea.models.{_MODULES[name]}"), name)
