"""fovea: from a folder of images to a model you can trust.

The Python door. Each name is loaded on first use, so `import fovea` costs nothing and brings in neither torch nor
matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fovea.core.recipe_io import build_recipe as build_recipe
    from fovea.data.reading import read as read
    from fovea.workflows.auditing import audit as audit
    from fovea.workflows.augmenting import augment as augment
    from fovea.workflows.comparing import compare as compare
    from fovea.workflows.evaluating import evaluate as evaluate
    from fovea.workflows.loading import load as load
    from fovea.workflows.predicting import predict as predict
    from fovea.workflows.training import train as train

__version__ = "0.1.0"

_DOORS = {
    "audit": "fovea.workflows.auditing",
    "augment": "fovea.workflows.augmenting",
    "build_recipe": "fovea.core.recipe_io",
    "compare": "fovea.workflows.comparing",
    "evaluate": "fovea.workflows.evaluating",
    "load": "fovea.workflows.loading",
    "predict": "fovea.workflows.predicting",
    "read": "fovea.data.reading",
    "train": "fovea.workflows.training",
}
_ROOMS = ("cost", "doctor", "layers", "losses", "models")  # whose own doors are used as fovea.ROOM.NAME
__all__ = ["__version__", *_DOORS]


def __getattr__(name: str) -> Any:
    """Load a door or a room when it is first used (PEP 562)."""
    if name in _ROOMS:
        return importlib.import_module(f"fovea.{name}")
    if name not in _DOORS:
        raise AttributeError(f"module 'fovea' has no attribute {name!r}")
    value = getattr(importlib.import_module(_DOORS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_DOORS, *_ROOMS})
