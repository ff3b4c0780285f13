"""All families of layers by name, and the one door to build any of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from fovea.core.errors import UnknownName
from fovea.core.registry import Registry
from fovea.layers.activation import ACTIVATION
from fovea.layers.attention import ATTENTION
from fovea.layers.convolution import CONVOLUTION
from fovea.layers.normalisation import NORMALISATION
from fovea.layers.pooling import POOLING
from fovea.layers.roi import ROI
from fovea.layers.windows import Geometry

Build = Callable[..., nn.Module]

FAMILIES: dict[str, Registry[Build]] = {
    "pool": POOLING,
    "norm": NORMALISATION,
    "act": ACTIVATION,
    "attention": ATTENTION,
    "conv": CONVOLUTION,
    "roi": ROI,
}


def create(family: str, name: str, **options: Any) -> nn.Module:
    """Build a layer by name.

    Args:
        family: pool, norm, act, attention, conv or roi.
        name: of an entry of that family.
        options: what the entry takes.

    Raises:
        UnknownName: no such family or entry.
        ValueError: an option that the entry does not take, or one that is missing.

    >>> create("norm", "group", channels=48).num_groups
    16
    """
    if family not in FAMILIES:
        raise UnknownName("family of layers", family, FAMILIES)
    build = FAMILIES[family][name].build
    try:
        return build(**options)
    except TypeError as error:
        raise ValueError(f"{family} {name!r} takes {', '.join(options_of(build)) or 'no options'}: {error}") from error


def options_of(build: Build) -> dict[str, bool]:
    """Return the names of what an entry is built from, each with whether it must be given.

    >>> options_of(POOLING["lip"].build)["channels"], options_of(ACTIVATION["prelu"].build)["num_parameters"]
    (True, False)
    """
    found: dict[str, bool] = {}
    for name, parameter in inspect.signature(build).parameters.items():
        if parameter.annotation == "Unpack[Geometry]":
            found |= {each: each in Geometry.__required_keys__ for each in Geometry.__annotations__}
        elif parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            found[name] = parameter.default is inspect.Parameter.empty
    return found
