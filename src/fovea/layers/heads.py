"""Fully connected heads as convolutions, and back: the same numbers on images of one size, a map on larger ones.

A linear layer on a flattened map (C,h,w) is a convolution with a kernel of h × w that fits in once; the layers behind
it are 1×1 convolutions. Source: Long, Shelhamer & Darrell 2015, "Fully convolutional networks for semantic
segmentation", section 3.1. The network's own forward is traced (torch.fx), so flattening may be a module or a function.
"""

from __future__ import annotations

import copy
import math

import torch
from timm.models import get_notrace_functions
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from fovea.core.errors import ModelError
from fovea.layers.headparts import is_flattening, is_pointwise, sliding_pool
from fovea.layers.windows import Size, pair

_LARGEST_ERROR = 1e-4  # relative to the largest output: sums in another order differ by 1e-6, a wrong head by 1


def linear_as_convolution(linear: nn.Linear, *, size: Size = 1) -> nn.Conv2d:
    """Return the convolution that equals a linear layer on a flattened map.

    Args:
        linear: (B,C*h*w) -> (B,K).
        size: h and w.

    Returns:
        (B,C,h,w) -> (B,K,1,1); on larger maps (B,K,H-h+1,W-w+1). Its weights are a copy.

    >>> linear_as_convolution(nn.Linear(8 * 7 * 7, 10), size=7)
    Conv2d(8, 10, kernel_size=(7, 7), stride=(1, 1))
    """
    height, width = pair(size)
    if linear.in_features % (height * width):
        raise ValueError(f"{linear.in_features} inputs are no map of {height} × {width}")
    channels = linear.in_features // (height * width)
    conv = nn.Conv2d(channels, linear.out_features, (height, width), bias=linear.bias is not None).to(linear.weight)
    _copy(linear, conv)
    return conv.train(linear.training)


def convolution_as_linear(conv: nn.Conv2d) -> nn.Linear:
    """Return the linear layer that equals a convolution on a map of exactly the kernel's size, flattened.

    Raises:
        ValueError: the convolution pads, dilates or has groups, so that it is no linear layer with the same weights.

    >>> convolution_as_linear(nn.Conv2d(8, 10, 7))
    Linear(in_features=392, out_features=10, bias=True)
    """
    if conv.padding not in ((0, 0), "valid") or conv.dilation != (1, 1) or conv.groups != 1:
        raise ValueError(f"{conv} is no linear layer: it needs padding 0, dilation 1 and one group")
    inputs = conv.in_channels * math.prod(conv.kernel_size)
    linear = nn.Linear(inputs, conv.out_channels, bias=conv.bias is not None).to(conv.weight)
    _copy(conv, linear)
    return linear.train(conv.training)


def fully_convolutional(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Return a copy of a classifier whose head is convolutions: on larger images it gives a map of scores.

    Flattened heads (AlexNet, VGG, LeNet) and linear layers on a pooled map (ResNet, DenseNet, MobileNet) are both
    known. Global pooling becomes pooling over windows of the size that the map has for `example`, so each place of the
    answer is what the classifier says of one window of the image (but for padding at the window's border).

    Args:
        model: (B,3,H,W) -> (B,K). It stays as it is.
        example: images (B,3,H,W) of the size for which outputs are to be equal, usually that of training.

    Returns:
        (B,3,H,W) -> (B,K,1,1), and (B,K,H',W') for larger images; parameters keep their names. Functional dropout is
        off in it.

    Raises:
        ModelError: the network cannot be traced, or what lies behind the map cannot be converted.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    >>> tuple(fully_convolutional(net, torch.randn(1, 3, 8, 8))(torch.randn(1, 3, 10, 12)).shape)
    (1, 5, 3, 5)
    """
    net = copy.deepcopy(model).eval()
    converted = fx.GraphModule(net, _trace(net), class_name=f"Convolutional{type(model).__name__}")
    with torch.no_grad():
        ShapeProp(converted).propagate(example)
        expected = net(example)
    if not _Rewriting(converted).rewrite():
        raise ModelError(
            f"{type(model).__name__} flattens no map before its head",
            hint="it may have a head for sequences, or be convolutional already",
        )
    with torch.no_grad():
        given = converted(example)
    if given.shape != (*expected.shape, 1, 1) or (given.flatten(1) - expected).abs().max() > _LARGEST_ERROR * (
        expected.abs().max()
    ):
        raise ModelError(
            f"the head of {type(model).__name__} as convolutions does not give the same numbers",
            hint="convert its linear layers one by one with linear_as_convolution",
        )
    return converted.train(model.training)


@torch.no_grad()
def fully_connected(converted: nn.Module, *, into: nn.Module) -> None:
    """Write the weights of what `fully_convolutional` made, trained or not, back into the classifier, in place.

    Args:
        converted: from `fully_convolutional(into, …)`.
        into: the classifier; its outputs on images of the example's size are then those of `converted`.

    Raises:
        ValueError: `converted` was made from another network.

    >>> net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 4, 5))
    >>> everywhere = fully_convolutional(net, example=(example := torch.ones(1, 3, 6, 6)))
    >>> _ = nn.init.constant_(list(everywhere.parameters())[-1], 1.0)  # as if it had been trained
    >>> fully_connected(everywhere, into=net)
    >>> torch.allclose(net(example), everywhere(example).flatten(1), atol=1e-5)
    True
    """
    target = into.state_dict()
    source = converted.state_dict()
    if source.keys() - target.keys():
        raise ValueError(f"{type(into).__name__} has no {min(source.keys() - target.keys())}; converted from another?")
    for name, value in source.items():
        target[name].copy_(value.reshape(target[name].shape))  # (K,C,h,w) -> (K,C*h*w)


@torch.no_grad()
def _copy(source: nn.Linear | nn.Conv2d, target: nn.Linear | nn.Conv2d) -> None:
    target.weight.copy_(source.weight.reshape(target.weight.shape))  # (K,C*h*w) <-> (K,C,h,w)
    if source.bias is not None and target.bias is not None:
        target.bias.copy_(source.bias)


class _Tracer(fx.Tracer):
    """Looks into the modules that hold the head only; every other module is one step."""

    def __init__(self, opened: set[str]) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()), param_shapes_constant=True)
        self._opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._opened


def _trace(net: nn.Module) -> fx.Graph:
    linears = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linears or linears == [""]:
        raise ModelError(
            f"{type(net).__name__} has no fully connected head",
            hint="a lone nn.Linear is converted by linear_as_convolution(linear, size=…)",
        )
    try:
        return _Tracer(_to_open(net, linears)).trace(net)
    except Exception as error:  # control flow that depends on data stops a trace in many ways
        raise ModelError(
            f"the forward of {type(net).__name__} cannot be traced: {error}",
            hint="convert its linear layers one by one with linear_as_convolution",
        ) from error


def _to_open(net: nn.Module, linears: list[str]) -> set[str]:
    """Return the names of what holds the last linear layer, and of the sequences beside it that hold others."""
    path = linears[-1].split(".")
    opened = {".".join(path[:depth]) for depth in range(len(path))}  # "" is the network itself
    for name, module in net.named_modules():
        holds = isinstance(module, nn.Sequential) and any(linear.startswith(f"{name}.") for linear in linears)
        if holds and name.rpartition(".")[0] in opened:
            opened.add(name)
    return opened


class _Rewriting:
    """Walks a traced network and keeps the map where it was flattened.

    Attributes:
        readers: steps that read a vector which is now a map, with the height and width that the vector was.
    """

    def __init__(self, net: fx.GraphModule) -> None:
        self.net = net
        self.readers: dict[fx.Node, tuple[int, int]] = {}

    def rewrite(self) -> bool:
        """Change the steps and the modules they call; say whether there was a map to keep."""
        for node in list(self.net.graph.nodes):
            if node.op == "output" or not node.all_input_nodes:
                continue
            source = node.all_input_nodes[0]
            if node in self.readers:
                self._on_vector(node, source, self.readers[node])
            elif len(_shape(source)) == 4 and len(_shape(node)) in (2, 4):
                self._on_map(node, source)
        self.net.graph.eliminate_dead_code()
        self.net.delete_all_unused_submodules()
        self.net.recompile()
        return bool(self.readers)

    def _on_map(self, node: fx.Node, source: fx.Node) -> None:
        """Pooling of the whole map slides, and flattening is left out."""
        came, gives = _shape(source), _shape(node)
        layer = self._layer(node)
        pool = sliding_pool(node, layer, came=came, gives=gives)
        if pool is not None:
            name = str(node.target) if layer is not None else f"sliding_{node.name}"
            self.net.set_submodule(name, pool)
            with self.net.graph.inserting_before(node):
                slid = self.net.graph.call_module(name, (source,))
            slid.meta = dict(node.meta)
            self._replace(node, slid, vector=(1, 1) if len(gives) == 2 else None)
        elif len(gives) == 2:
            if not is_flattening(node, layer) or math.prod(came[1:]) != gives[1]:
                raise self._unknown(node)
            self._replace(node, source, vector=(came[2], came[3]))

    def _on_vector(self, node: fx.Node, source: fx.Node, size: tuple[int, int]) -> None:
        """Linear layers become convolutions; what treats each number alike stays."""
        layer = self._layer(node)
        if is_flattening(node, layer) and len(_shape(node)) == 2:
            self._replace(node, source, vector=size)
        elif isinstance(layer, nn.Linear):
            self.net.set_submodule(str(node.target), linear_as_convolution(layer, size=size))
            self._note_readers(node, (1, 1))
        elif isinstance(layer, nn.BatchNorm1d) and size == (1, 1):
            self.net.set_submodule(str(node.target), _for_maps(layer))
            self._note_readers(node, size)
        elif is_pointwise(node, layer):
            self._note_readers(node, size)
        else:
            raise self._unknown(node)

    def _note_readers(self, node: fx.Node, size: tuple[int, int]) -> None:
        self.readers.update(dict.fromkeys(node.users, size))

    def _replace(self, node: fx.Node, other: fx.Node, *, vector: tuple[int, int] | None) -> None:
        """Let `other` stand for a step; `vector` says what map its result was flattened from, if it was."""
        if vector is not None:
            self._note_readers(node, vector)
        node.replace_all_uses_with(other)
        self.net.graph.erase_node(node)

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.net.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _unknown(self, node: fx.Node) -> ModelError:
        return ModelError(
            f"the head passes its features through {node.target}, which has no form on maps",
            hint="convert its linear layers one by one with linear_as_convolution",
        )


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of what a step gave for the example; empty where that is no tensor."""
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _for_maps(norm: nn.BatchNorm1d) -> nn.BatchNorm2d:
    new = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    new.load_state_dict(norm.state_dict())
    return new.train(norm.training)
