"""Layers by name, one family a file; and what changes the layers of a network that is there.

    pool = fovea.layers.create("pool", "softpool", kernel_size=2)           # or POOLING["softpool"].build(…)
    fovea.layers.swap(model, pool="softpool", act="mish", where="layer4.*")  # in place; says how many matched
    fovea.layers.recalibrate(model, batches)                                # BatchNorm's statistics, anew
    maps = fovea.layers.fully_convolutional(model, images)                  # a map of scores on larger images

Families: pool, norm, act, attention, conv, roi (`FAMILIES`). `docs/reference/layers.md` says when to use which.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fovea.layers.activation import ACTIVATION as ACTIVATION
    from fovea.layers.attention import ATTENTION as ATTENTION
    from fovea.layers.convolution import CONVOLUTION as CONVOLUTION
    from fovea.layers.convolution import dilation_fault as dilation_fault
    from fovea.layers.families import FAMILIES as FAMILIES
    from fovea.layers.families import create as create
    from fovea.layers.heads import fully_connected as fully_connected
    from fovea.layers.heads import fully_convolutional as fully_convolutional
    from fovea.layers.initialisation import INITIALISATION as INITIALISATION
    from fovea.layers.initialisation import initialise as initialise
    from fovea.layers.normalisation import NORMALISATION as NORMALISATION
    from fovea.layers.pooling import POOLING as POOLING
    from fovea.layers.pretraining import pretrain_layerwise as pretrain_layerwise
    from fovea.layers.recalibration import recalibrate as recalibrate
    from fovea.layers.roi import ROI as ROI
    from fovea.layers.roi import deformable_roi_align as deformable_roi_align
    from fovea.layers.swapping import Swapped as Swapped
    from fovea.layers.swapping import swap as swap

_MODULES = {
    "ACTIVATION": "activation",
    "ATTENTION": "attention",
    "CONVOLUTION": "convolution",
    "FAMILIES": "families",
    "INITIALISATION": "initialisation",
    "NORMALISATION": "normalisation",
    "POOLING": "pooling",
    "ROI": "roi",
    "Swapped": "swapping",
    "create": "families",
    "deformable_roi_align": "roi",
    "dilation_fault": "convolution",
    "fully_connected": "heads",
    "fully_convolutional": "heads",
    "initialise": "initialisation",
    "pretrain_layerwise": "pretraining",
    "recalibrate": "recalibration",
    "swap": "swapping",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: importing the room alone does not import torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fovea.layers' has no attribute {name!r}")
    return getattr(import_module(f"fovea.layers.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
