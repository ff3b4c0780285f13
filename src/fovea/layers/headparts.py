"""What the steps of a traced head are: flattening, pooling of the whole map, or something done to each number alike."""

from __future__ import annotations

import copy
from typing import Any

import timm.layers as timm_layers
import torch
from timm.layers import adaptive_avgmax_pool as timm_pooling
from torch import fx, nn
from torch.nn import functional as F

from fovea.core.errors import ModelError
from fovea.layers.kinds import survey
from fovea.layers.windows import WindowPool2d

_FLATTENING = {"flatten", "view", "reshape", "squeeze", torch.flatten, torch.reshape, torch.squeeze}
_MEANS = {"mean", torch.mean, F.adaptive_avg_pool2d}
_MAXIMA = {"amax", torch.amax, F.adaptive_max_pool2d}
_POINTWISE = {F.dropout, F.relu, torch.relu, "relu", F.relu6, F.gelu, F.silu, F.hardswish, torch.sigmoid, torch.tanh}
_DROPOUTS = (nn.Dropout, nn.Identity)


def is_flattening(node: fx.Node, layer: nn.Module | None) -> bool:
    """Whether a step makes a vector of a map, or leaves a vector as it is."""
    return isinstance(layer, nn.Flatten) if layer is not None else node.target in _FLATTENING


def is_pointwise(node: fx.Node, layer: nn.Module | None) -> bool:
    """Whether a step does the same to each number."""
    if layer is None:
        return node.target in _POINTWISE
    return isinstance(layer, _DROPOUTS) or any(place.kind == "act" for place in survey(layer) if not place.name)


def sliding_pool(
    node: fx.Node, layer: nn.Module | None, *, came: tuple[int, ...], gives: tuple[int, ...]
) -> nn.Module | None:
    """Return what pools windows as this step pools the whole map (B,C,H,W), or None where it is no such step.

    Args:
        node, layer: the step and the module that it calls, if it calls one.
        came, gives: its shapes for the example. If it gives one place, the window is the whole map and moves by one; if
            it gives several, windows lie side by side.
    """
    pool = _whole_map_pool(node, layer)
    if pool is None or came[1] != gives[1]:
        return None
    height, width = gives[2:] if len(gives) == 4 else (1, 1)
    if came[2] % height or came[3] % width:
        raise ModelError(
            f"a map of {came[2]} × {came[3]} is pooled to {height} × {width}, in windows of different sizes",
            hint="give an example of a size that divides, for VGG and AlexNet the 224 of their training",
        )
    kernel = (came[2] // height, came[3] // width)
    stride = (1, 1) if (height, width) == (1, 1) else kernel
    if isinstance(pool, WindowPool2d):
        pool = copy.deepcopy(pool)
        pool.kernel_size, pool.stride = kernel, stride
        return pool
    return pool(kernel, stride)


def _whole_map_pool(node: fx.Node, layer: nn.Module | None) -> Any:
    """Return torch's class for windows that does what this step does to the whole map, our own layer, or None."""
    if isinstance(layer, timm_layers.SelectAdaptivePool2d):
        layer = layer.pool
    if isinstance(layer, WindowPool2d):
        return layer if layer.kernel_size is None else None
    if isinstance(layer, (nn.AdaptiveAvgPool2d, timm_pooling.FastAdaptiveAvgPool)) or node.target in _MEANS:
        return nn.AvgPool2d
    if isinstance(layer, (nn.AdaptiveMaxPool2d, timm_pooling.FastAdaptiveMaxPool)) or node.target in _MAXIMA:
        return nn.MaxPool2d
    return None
