"""Which layers of a network can be exchanged: their kind, where they sit, and what a replacement is built from.

Knows the classes of torch, torchvision and timm, and our own. Pooling of windows (`pool`) and of whole maps
(`global_pool`) are two kinds. What only looks like one of a kind is left alone, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import timm.layers as timm_layers
from timm.layers import adaptive_avgmax_pool as timm_pooling
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from torch import nn
from torchvision.models.convnext import LayerNorm2d as VisionLayerNorm2d
from torchvision.ops import FrozenBatchNorm2d

from fovea.layers.activation import Maxout
from fovea.layers.normalisation import SwitchableNorm2d
from fovea.layers.windows import WindowPool2d, pair

KINDS = {"pool": "pooling", "global_pool": "global pooling", "norm": "normalisation", "act": "activation"}

_GLOBAL = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, timm_pooling.AdaptiveAvgMaxPool2d)
_GLOBAL_OF_TIMM = (
    timm_pooling.FastAdaptiveAvgPool,
    timm_pooling.FastAdaptiveMaxPool,
    timm_pooling.FastAdaptiveAvgMaxPool,
)
_LAYER_NORMS = (timm_layers.LayerNorm2d, timm_layers.LayerNormAct2d, VisionLayerNorm2d)
_NORMS = (
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    FrozenBatchNorm2d,
    SwitchableNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.LocalResponseNorm,
    *_LAYER_NORMS,
)
_ACTIVATIONS = (
    nn.Sigmoid,
    nn.Tanh,
    nn.ReLU,
    nn.Hardtanh,  # of which ReLU6 is one
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Mish,
    Maxout,
    *(getattr(timm_layers, name) for name in ("Swish", "HardSwish", "Mish", "GELU", "GELUTanh", "QuickGELU")),
)
# Blocks with an inner life of their own: their pooling is a summary and their sigmoid a gate, not layers of the trunk.
_GATES = frozenset(
    {
        *("SEModule", "SqueezeExcite", "SqueezeExcitation", "EffectiveSEModule", "EcaModule", "GlobalContext"),
        *("ChannelAttn", "SpatialAttn", "LightChannelAttn", "LightSpatialAttn", "CoordAttn", "SelectiveKernelAttn"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A layer that can be exchanged, or looks so.

    Attributes:
        name: as in `named_modules`.
        layer: what is there now.
        kind: one of `KINDS`.
        options: what a replacement is told, as far as it asks for it.
        left: why it stays where it is; None where it need not.
    """

    name: str
    layer: nn.Module
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    left: str | None = None


def survey(model: nn.Module) -> Iterator[Place]:
    """Yield every place of a network, in the order of its modules; a layer with two names comes under both.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    >>> [(place.name, place.kind) for place in survey(net)]
    [('1', 'norm'), ('2', 'act'), ('3', 'pool')]
    """
    gates: list[str] = []
    for name, layer in model.named_modules(remove_duplicate=False):
        if type(layer).__name__ in _GATES:
            gates.append(f"{name}.")
        elif not name.startswith(tuple(gates)) and (place := _place(name, layer)):
            yield place


def _place(name: str, layer: nn.Module) -> Place | None:
    if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
        return Place(name=name, layer=layer, kind="pool", options=_geometry(layer), left=_odd_window(layer))
    if isinstance(layer, WindowPool2d):
        kind = "global_pool" if layer.kernel_size is None else "pool"
        return Place(name=name, layer=layer, kind=kind, options=_geometry(layer))
    if isinstance(layer, _GLOBAL):
        size = layer.output_size
        left = None if size in (1, (1, 1), [1, 1]) else f"its output is {size}, not one place"
        return Place(name=name, layer=layer, kind="global_pool", options={"kernel_size": None}, left=left)
    if isinstance(layer, _GLOBAL_OF_TIMM):
        left = None if tuple(layer.dim) == (2, 3) else "its channels come last"
        options = {"kernel_size": None, "flatten": layer.flatten}
        return Place(name=name, layer=layer, kind="global_pool", options=options, left=left)
    if isinstance(layer, _NORMS):
        return Place(name=name, layer=layer, kind="norm", options=_normalisation(layer))
    if isinstance(layer, _ACTIVATIONS):
        return Place(name=name, layer=layer, kind="act")
    return None


def _geometry(layer: nn.MaxPool2d | nn.AvgPool2d | WindowPool2d) -> dict[str, Any]:
    if layer.kernel_size is None:
        return {"kernel_size": None}
    dilation = getattr(layer, "dilation", 1)
    geometry = {
        "kernel_size": pair(layer.kernel_size),
        "stride": pair(layer.kernel_size if layer.stride is None else layer.stride),
        "padding": pair(layer.padding),
        "ceil_mode": layer.ceil_mode,
    }
    return geometry if pair(dilation) == (1, 1) else geometry | {"dilation": pair(dilation)}


def _odd_window(layer: nn.Module) -> str | None:
    if isinstance(layer, (MaxPool2dSame, AvgPool2dSame)):
        return "its padding depends on the size of the map"
    if getattr(layer, "return_indices", False):
        return "it gives indices too"
    if getattr(layer, "divisor_override", None):
        return "it divides by a number of its own"
    return None


def _normalisation(layer: nn.Module) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if isinstance(layer, _LAYER_NORMS):
        options["channels"] = layer.normalized_shape[0]
    elif isinstance(layer, FrozenBatchNorm2d):
        options["channels"] = len(layer.weight)
    elif isinstance(layer, nn.GroupNorm):
        options["channels"] = layer.num_channels
    elif not isinstance(layer, nn.LocalResponseNorm):
        options["channels"] = layer.num_features
    for name in ("eps", "momentum"):
        if getattr(layer, name, None) is not None and not isinstance(layer, nn.LocalResponseNorm):
            options[name] = getattr(layer, name)
    return options
