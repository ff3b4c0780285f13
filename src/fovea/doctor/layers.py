"""What the layers of a network put out at samples: spread, zeros, saturation, and which units ever fire.

A unit is a channel of a convolution or a feature of a linear layer. Values are not kept; sums of them are, and how they
are spread over magnitudes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AvgPoolNd, _MaxPoolNd

from fovea.doctor.describing import named_modules
from fovea.doctor.magnitudes import shares, thinned
from fovea.doctor.record import Layer, Network
from fovea.doctor.seeing import Seeing
from fovea.doctor.tensors import is_leaf, read_all

FIRES = 1e-5  # TheDeepChecker's limit below which a unit is silent
_ENDS: dict[type[nn.Module], tuple[float, float]] = {nn.Sigmoid: (0, 1), nn.Tanh: (-1, 1), nn.Hardsigmoid: (0, 1)}
_END_SHARE = 0.05  # of the range, at each end
_COUNTED = 1 << 18  # values among which zeros are counted, which is slow: of larger maps, of some images
_HANDS_ON = (nn.Identity, nn.Flatten, nn.Unflatten, _DropoutNd, _MaxPoolNd, _AvgPoolNd, _AdaptiveAvgPoolNd)


@dataclass
class _Seen:
    """One layer at one sample, as tensors on its device: reading them one by one would stall a GPU."""

    layer: nn.Module
    numbers: torch.Tensor  # mean, std, largest magnitude, share of zeros, share of saturated units
    fires: torch.Tensor  # (units,)
    values: torch.Tensor  # (n,) some of them; none of a layer that hands on what it is given
    shape: tuple[int, ...]
    graph: list[bool]  # of its output, whether a gradient came back to it; empty without one


@dataclass
class _Read:
    """The same, as it was read."""

    numbers: np.ndarray
    fires: np.ndarray
    spread: np.ndarray  # (magnitudes.BINS,)
    shape: tuple[int, ...]
    graph: list[bool]


class LayerWatch:
    """Collects what layers put out, and writes it to the networks when the sample is over."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[int, str]] = {}
        self._seen: list[_Seen] = []
        self._step = 0
        # (pointer, size) -> id of the layer, version, and whether that memory is still the same tensor's
        self._source: dict[tuple[int, int], tuple[int, int, StorageWeakRef]] = {}
        self._follows: list[tuple[int, int]] = []
        self._order: dict[int, int] = {}
        self._seeing = Seeing()

    def learn_names(self, network: nn.Module, place: int) -> None:
        """Learn which layers belong to which network."""
        for name, module in named_modules(getattr(network, "_orig_mod", network)):
            if is_leaf(module):
                self._names.setdefault(id(module), (place, name))

    def begins(self, module: nn.Module, args: Any) -> None:
        """A module is called: note whose very output it takes, if nothing has touched that since."""
        if not is_leaf(module) or not args or not isinstance(args[0], torch.Tensor):
            return
        came = self._source.get((args[0].data_ptr(), args[0].numel()))
        if came is not None and came[1] == args[0]._version and not came[2].expired():
            pair = (came[0], id(module))
            if pair not in self._follows:
                self._follows.append(pair)

    def seen(self, module: nn.Module, output: Any, *, step: int) -> None:
        """A module has put something out."""
        self._seeing.layer(module, output)
        if not is_leaf(module) or not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return
        if output.numel() == 0 or output.ndim < 2:
            return
        self._step = step
        self._order.setdefault(id(module), len(self._order))
        memory = StorageWeakRef(output.untyped_storage())
        self._source[(output.data_ptr(), output.numel())] = (id(module), output._version, memory)
        values = output.detach().float()
        axis = 1 if values.ndim in (2, 4) else values.ndim - 1  # of the units
        others = [each for each in range(values.ndim) if each != axis]
        # Plain reductions, which are many times faster than std_mean and than those of values.abs().
        mean = values.mean()
        std = (torch.linalg.vector_norm(values).square() / values.numel() - mean.square()).clamp_min(0).sqrt()
        largest = torch.maximum(values.amax(dim=others).abs(), values.amin(dim=others).abs())  # (units,)
        some = values[:: -(-values.numel() // _COUNTED)]  # images
        zeros = 1 - torch.count_nonzero(some) / some.numel()
        numbers = [mean, std, largest.max(), zeros, _saturated(module, values, axis)]
        kept = output.new_zeros(0) if isinstance(module, _HANDS_ON) else thinned(output)
        shape, graph = tuple(output.shape), _listened_to(output)
        self._seen.append(_Seen(module, torch.stack(numbers), largest > FIRES, kept, shape, graph))

    def given(
        self, module: nn.Module, inputs: torch.Tensor | None, networks: list[Network], place: int, *, step: int
    ) -> None:
        """A network, which is at a place of the record, was called."""
        self._seeing.forward(module, inputs, networks[place], place, step=step)

    def write(self, networks: list[Network]) -> str | None:
        """Write what was seen to the layers of the networks; return the first layer whose output was not finite."""
        broken = None
        by_layer: dict[int, list[_Read]] = {}
        for seen, read in zip(self._seen, _read(self._seen), strict=True):
            by_layer.setdefault(id(seen.layer), []).append(read)
        names = self._names
        for key, several in by_layer.items():
            if key not in names:
                continue
            place, name = names[key]
            if name in networks[place].layers:
                layer = networks[place].layers[name]
                self._add(layer, several)
                layer.order = self._order[key]
                broken = broken or (None if math.isfinite(layer.largest[-1]) else name)
        for before, after in self._follows:
            if before in names and after in names and names[before][0] == names[after][0]:
                pair = (names[before][1], names[after][1])
                follows = networks[names[before][0]].follows
                if pair not in follows:
                    follows.append(pair)
        self._seeing.write(networks, step=self._step)
        self._seen.clear()
        self._source.clear()
        self._follows.clear()
        return broken

    def finish(self, networks: list[Network], *, step: int) -> None:
        """The training is over."""
        self._seeing.finish(networks, step=step)

    def _add(self, layer: Layer, several: list[_Read]) -> None:
        numbers = np.mean([read.numbers for read in several], axis=0).tolist()
        width = len(several[-1].fires)  # one module may be called with several widths: its units are those of the last
        fires = np.any([read.fires for read in several if len(read.fires) == width], axis=0)
        layer.out_shape = several[-1].shape
        graphs = [read.graph[0] for read in several if read.graph]
        layer.passes.append((len(graphs), sum(graphs)))
        layer.steps.append(self._step)
        columns = (layer.mean, layer.std, layer.largest, layer.zeros, layer.saturated)
        for column, value in zip(columns, numbers, strict=True):
            column.append(value)
        if layer.fired_at is None or len(layer.fired_at) != len(fires):
            layer.fired_at = np.full(len(fires), -1)
        layer.fired_at[fires] = self._step
        spread = np.mean([read.spread for read in several], axis=0)
        if spread.any():
            layer.outputs.add(self._step, spread)


def _read(several: list[_Seen]) -> list[_Read]:
    read = read_all([part for seen in several for part in (seen.numbers, seen.fires, seen.values)])
    spreads = shares(read[2::3])
    parts = zip(read[::3], read[1::3], spreads, several, strict=True)
    return [_Read(numbers, fires > 0, spread, seen.shape, seen.graph) for numbers, fires, spread, seen in parts]


def _listened_to(output: torch.Tensor) -> list[bool]:
    """Return a place where it will stand whether a gradient came back to an output; none where it has no graph."""
    if not output.requires_grad:
        return []
    came = [False]

    def hear(gradient: torch.Tensor) -> None:
        came[0] = True

    output.register_hook(hear)
    return came


def _saturated(module: nn.Module, values: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the share of units that lie at the ends of their range on average; 0 for layers without such ends."""
    if type(module) not in _ENDS:
        return torch.zeros((), device=values.device)
    units = values.movedim(axis, 0).flatten(1)  # (units, n)
    low, high = _ENDS[type(module)]
    near = _END_SHARE * (high - low)
    at_end = ((units < low + near) | (units > high - near)).float().mean(dim=1)
    return (at_end > 0.85).float().mean()
