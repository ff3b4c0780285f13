"""What a network sees: the kernels of its first layer, and what several layers make of one image.

Kernels are copied when a network is first given pictures, before a step has changed them, and once more at the end. Of
the layers in the order in which they run, eight are chosen after the first sample; what they make of the first image of
a sample's first batch replaces what was kept of the sample before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from fovea.doctor.record import FeatureMap, Features, Kernels, Layer, Network
from fovea.doctor.tensors import are_pictures, read_all

_KERNELS = 64
_MOST_WEIGHTS = 2**20  # of all kernels together: fewer are kept of a linear layer on large pictures
_LAYERS, _CHANNELS, _SIDE_PX, _IMAGE_PX = 8, 8, 32, 64
ACTIVATIONS = frozenset(
    (
        *(
            "ReLU",
            "ReLU6",
            "LeakyReLU",
            "PReLU",
            "ELU",
            "CELU",
            "SELU",
            "GELU",
            "SiLU",
            "Mish",
            "Hardswish",
            "Softplus",
        ),
        *("Tanh", "Sigmoid", "Hardsigmoid", "BatchNormAct2d", "GroupNormAct", "LayerNormAct2d"),
    )
)
"""Kinds of layers whose maps are shown rather than others'."""
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm)  # of images (B, H, W, C), as in Swin
_NORMS = ("LayerNorm", "RMSNorm")
_TOKENS_BESIDE = (0, 1, 2, 5)  # tokens of no place in the image: of the class, of a teacher, four registers


class _Maps(NamedTuple):
    """What a layer made of one image, on its device."""

    values: torch.Tensor  # (channels, h, w) of the first channels, made smaller
    shape: tuple[int, ...]  # of all of it
    images: int  # in the batch that it put out


class Seeing:
    """Knows first layers and chosen ones by identity."""

    def __init__(self) -> None:
        self._networks: dict[int, nn.Module] = {}  # place in the record -> module
        self._stems: dict[int, tuple[nn.Module, tuple[int, ...]]] = {}  # place -> layer, shape of the pictures
        self._chosen: dict[int, dict[int, str]] = {}  # place -> id of a layer -> its name
        self._wanted: set[int] = set()  # ids of all that are chosen
        self._maps: dict[int, _Maps] = {}  # of this sample
        self._images: dict[int, torch.Tensor] = {}  # place -> image of this sample

    def layer(self, module: nn.Module, output: object) -> None:
        """At a sample: a layer has put something out."""
        if id(module) in self._wanted and id(module) not in self._maps and isinstance(output, torch.Tensor):
            maps = as_maps(module, output)
            if maps is not None:
                small = smaller(maps[:_CHANNELS], _SIDE_PX)
                self._maps[id(module)] = _Maps(small, tuple(maps.shape), len(output))

    def forward(
        self, module: nn.Module, inputs: torch.Tensor | None, network: Network, place: int, *, step: int
    ) -> None:
        """A network was called."""
        if inputs is None or not are_pictures(inputs.shape) or not len(inputs):
            return
        if place not in self._networks:
            self._networks[place] = getattr(module, "_orig_mod", module)
            stem = first_layer(self._networks[place], inputs.shape)
            if stem is not None:
                self._stems[place] = stem[1], tuple(inputs.shape)
                weight = kernels(*self._stems[place])
                network.kernels = Kernels(stem[0], len(weight), [step], read_all([some(weight)]))
        own = self._maps.keys() & self._chosen.get(place, {}).keys()
        if own and place not in self._images:
            self._images[place] = smaller(inputs[0], _IMAGE_PX)
            for key in own:
                if self._maps[key].images != len(inputs):  # parts of images, or tokens before images
                    del self._maps[key]

    def write(self, networks: Sequence[Network], *, step: int) -> None:
        """A sample is over: write down what was seen in it; choose layers of networks that are new."""
        for place, image in self._images.items():
            chosen = [(key, name) for key, name in self._chosen[place].items() if key in self._maps]
            read = read_all([image, *(self._maps[key].values for key, _ in chosen)])
            layers = networks[place].layers
            maps = [
                FeatureMap(name, layers[name].kind, self._maps[key].shape, values)
                for (key, name), values in zip(chosen, read[1:], strict=True)
            ]
            networks[place].features = Features(step, read[0], maps)
        self._maps.clear()
        self._images.clear()
        for place, module in self._networks.items():
            if place not in self._chosen and any(layer.steps for layer in networks[place].layers.values()):
                modules = dict(module.named_modules())
                names = choose(networks[place].layers, modules)
                self._chosen[place] = {id(modules[name]): name for name in names}
                self._wanted |= self._chosen[place].keys()

    def finish(self, networks: Sequence[Network], *, step: int) -> None:
        """The training is over: copy the kernels once more."""
        for place, stem in self._stems.items():
            known = networks[place].kernels
            if known is not None:
                known.steps[1:] = [step]
                known.values[1:] = read_all([some(kernels(*stem))])


def first_layer(module: nn.Module, shape: Sequence[int]) -> tuple[str, nn.Module] | None:
    """Return name and layer of what sees pictures of a shape (B, C, H, W) first, or None where that is unclear.

    A convolution over as many channels; or, as the first of all weights, a linear layer over all the pixels or, where
    there is one channel, over square patches that fill the picture.

    >>> first_layer(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (32, 1, 8, 8))
    ('1', Linear(in_features=64, out_features=10, bias=True))
    """
    first = True
    for name, layer in module.named_modules():
        weight = _weight(layer)
        if weight is None or weight.ndim < 2:
            continue
        if isinstance(layer, nn.Conv2d) and weight.shape[1] == shape[1]:
            return name, layer
        if first and isinstance(layer, nn.Linear) and _kernel_shape(weight.shape[1], shape) is not None:
            return name, layer
        first = False
    return None


def kernels(layer: nn.Module, shape: Sequence[int]) -> torch.Tensor:
    """Return the weights of a layer that `first_layer` found for pictures of a shape, as kernels (n, C, h, w)."""
    weight = _weight(layer)
    assert weight is not None
    if weight.ndim == 4:
        return weight.detach()
    kernel = _kernel_shape(weight.shape[1], shape)
    assert kernel is not None
    return weight.detach().reshape(-1, *kernel)  # (out, C*h*w) -> (out, C, h, w)


def _weight(layer: nn.Module) -> torch.Tensor | None:
    """Return a weight that is a parameter; one that is computed may change by being looked at (spectral norm)."""
    return layer._parameters.get("weight")


def _kernel_shape(pixels: int, shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Return the shape (C, h, w) of what a linear layer sees of pictures (B, C, H, W), or None if that is unclear."""
    _, channels, height, width = shape
    if pixels == channels * height * width:
        return channels, height, width
    side = math.isqrt(pixels)
    if channels == 1 and side > 1 and side * side == pixels and height % side == 0 and width % side == 0:
        return 1, side, side
    return None


def some(weight: torch.Tensor) -> torch.Tensor:
    return weight[: max(1, min(_KERNELS, _MOST_WEIGHTS // weight[0].numel()))]


def choose(layers: Mapping[str, Layer], modules: Mapping[str, nn.Module]) -> list[str]:
    """Return the names of at most eight layers whose output can be shown as maps, from the first to the last.

    Where there are enough of them, activations of convolutions or normalised tokens; else whatever has maps.
    """
    seen = sorted(
        (layer for layer in layers.values() if layer.steps and layer.name in modules), key=lambda it: it.order
    )
    seen = [layer for layer in seen if map_shape(modules[layer.name], layer.out_shape) is not None]
    liked = [layer for layer in seen if layer.kind in (ACTIVATIONS if len(layer.out_shape) == 4 else _NORMS)]
    shown = [*seen[:1], *(layer for layer in liked if layer is not seen[0])] if len(liked) >= _LAYERS // 2 else seen
    places = sorted({round(part * (len(shown) - 1) / (_LAYERS - 1)) for part in range(_LAYERS)}) if shown else []
    return [shown[place].name for place in places]


def map_shape(module: nn.Module, shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Return the shape (C, h, w) of what a layer makes of one image, or None if these are no maps.

    >>> map_shape(nn.Conv2d(3, 8, 3), (32, 8, 30, 30)), map_shape(nn.GELU(), (32, 197, 768))
    ((8, 30, 30), (768, 14, 14))
    """
    if len(shape) == 4:
        channels, height, width = (shape[3], *shape[1:3]) if isinstance(module, _CHANNELS_LAST) else shape[1:]
        return (channels, height, width) if min(height, width) > 1 else None
    if len(shape) == 3:
        for beside in _TOKENS_BESIDE:
            side = math.isqrt(max(0, shape[1] - beside))
            if side > 1 and side * side == shape[1] - beside:
                return shape[2], side, side
    return None


def as_maps(module: nn.Module, output: torch.Tensor) -> torch.Tensor | None:
    """Return what a layer made of the first image of a batch as maps (C, h, w), or None."""
    shape = map_shape(module, output.shape)
    if shape is None or not output.is_floating_point():
        return None
    image = output.detach()[0]
    if image.ndim == 2:
        return image[-shape[1] * shape[2] :].T.unflatten(1, shape[1:])  # (N,C) -> (C,h*w) -> (C,h,w)
    return image.movedim(-1, 0) if isinstance(module, _CHANNELS_LAST) else image


def smaller(maps: torch.Tensor, side_px: int) -> torch.Tensor:
    """Return a copy of maps (C, h, w), averaged over squares until both sides are at most so long."""
    square = -(-max(maps.shape[1:]) // side_px)
    values = maps.detach().float()
    return functional.avg_pool2d(values, square, ceil_mode=True) if square > 1 else values.clone()
