"""Layers exchanged in a network of the catalogue, as part of what it is: recorded among its constructor arguments.

So the model folder builds it again, with what was exchanged, and caches tell it from the network as it was. timm, which
would silently build the network without, stops at the argument it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fovea.core.errors import ModelError
from fovea.core.wording import listed
from fovea.layers.swapping import swap as swap_layers

ARGUMENT = "fovea_swap"  # of model_args: a list of what `fovea.layers.swap` is given, in order


def without_exchange(model_args: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return the arguments of the network's own constructor, and what is exchanged afterwards.

    >>> without_exchange({"pad_type": "same", "fovea_swap": [{"act": "mish", "where": "*"}]})
    ({'pad_type': 'same'}, [{'act': 'mish', 'where': '*'}])
    """
    own = {key: value for key, value in model_args.items() if key != ARGUMENT}
    return own, [dict(swap) for swap in model_args.get(ARGUMENT, [])]


def with_exchange(model_args: Mapping[str, Any], swap: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments with one more exchange recorded."""
    own, before = without_exchange(model_args)
    return {**own, ARGUMENT: [*before, dict(swap)]}


def exchange(
    model: nn.Module, swap: Mapping[str, str], *, side: int, channels: int, say: Callable[[str], object]
) -> None:
    """Exchange layers in place.

    Args:
        model: a network for images (B, channels, side, side).
        swap: kinds of layers and what comes in their place, and `where`.
        say: told how many layers matched, and which.

    Raises:
        ModelError: the network has no such layer, or not what the new one must know.
        UnknownName: there is no layer of that name.
    """
    given: dict[str, Any] = dict(swap)
    try:
        swap_layers(model, **given, example=torch.zeros(2, channels, side, side), say=say)
    except ValueError as error:
        asked = listed([f"{kind}={name}" for kind, name in swap.items() if kind != "where"])
        raise ModelError(
            f"{asked} cannot be put into {type(model).__name__}: {error}",
            hint="choose another layer, or name with model.where those that it fits",
        ) from error
