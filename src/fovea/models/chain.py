"""A network as a chain of units, each taking exactly what the one before it gives: what lets activations be cached,
stages be frozen, and the rest be trained alone.

The network's own forward is traced (torch.fx), with its blocks as black boxes, and cut wherever a single tensor
carries everything that comes later. Glue between modules (flatten, relu, pooling in functional form) is part of the
trace, so no list of known networks is needed. A chain is handed out only if it reproduces the outputs exactly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import get_notrace_functions, group_parameters
from torch import Tensor, fx, nn
from torch.nn import functional as F

from fovea.core.errors import ModelError
from fovea.models.heads import classifier_path

_NET = "net"
_TIMINGS = 3  # the least of them is reported: other programs only ever add
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one unit costs for one image: time of the forward pass, and the size of its output as float32."""

    forward_ms: float
    output_shape: tuple[int, ...]
    output_bytes: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A link of the chain: its name (that of its first layer), the modules it runs in order, its cost."""

    name: str
    module_names: tuple[str, ...]
    cost: Cost


class Chain:
    """A network as a sequence of units. Its parts share their parameters with the network, under the same names.

    Attributes:
        units: from stem to head.
        feature_unit: how many units come before the classifier's, so that `prefix(feature_unit)` gives what the
            classifier sees; None where the head is more than one linear layer.
    """

    def __init__(self, model: nn.Module, groups: list[list[fx.Node]], *, units: tuple[Unit, ...]) -> None:
        self._model = model
        self._groups = groups
        self.units = units
        self.feature_unit = _feature_unit(model, groups)

    def prefix(self, count: int) -> nn.Module:
        """Return the first `count` units as a module: images (B,3,H,W) -> the output of unit `count - 1`."""
        return _assemble(self._model, self._groups[:count])

    def suffix(self, count: int) -> nn.Module:
        """Return all but the first `count` units: the output of `prefix(count)` -> logits (B,K)."""
        return _assemble(self._model, self._groups[count:])

    def features(self) -> nn.Module:
        """Return a module from images to the pooled vectors (B,F) that `heads.set_linear_head` fits a head on.

        Raises:
            ModelError: `feature_unit` is None.
        """
        if self.feature_unit is None:
            raise ModelError(
                f"{type(self._model).__name__} has no single linear classifier on one feature vector",
                hint="train more than the head",
            )
        shape = self.units[self.feature_unit - 1].cost.output_shape
        prefix = self.prefix(self.feature_unit)
        return prefix if len(shape) == 1 else nn.Sequential(prefix, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def as_chain(model: nn.Module, example: Tensor) -> Chain | None:
    """Return the network as a chain, or None where it has no place to be cut or cannot be traced.

    Args:
        model: any network; its mode is left as it is.
        example: images (B,3,H,W), B ≥ 1, on the network's device; used to verify and to measure.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> [unit.name for unit in as_chain(net, torch.randn(2, 3, 8, 8)).units]
    ['0', '4']
    """
    was_training = model.training
    model.eval()
    try:
        groups = _group(model, _trace(model))
        if len(groups) < 2 or not _reproduces(model, groups, example):
            return None
        return Chain(model, groups, units=_measure(model, groups, example))
    finally:
        model.train(was_training)


def as_pieces(model: nn.Module, example: Tensor) -> list[nn.Module] | None:
    """Return the network in as many parts as it has places to be cut, or None where it has none.

    The parts share their parameters with the network and are as it is, in training or in eval mode. A unit of
    `as_chain` goes on to the next weights; these parts end after every step, activations and pooling too.

    Args:
        model: any network; its mode is left as it is.
        example: images (B,3,H,W) on the network's device; used to verify.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> len(as_pieces(net, torch.randn(2, 3, 8, 8)))
    5
    """
    was_training = model.training
    model.eval()
    try:
        pieces = _trace(model)
        if len(pieces) < 2 or not _reproduces(model, pieces, example):
            return None
    finally:
        model.train(was_training)
    return [_assemble(model, [piece]) for piece in pieces]


def parameter_stages(model: nn.Module) -> list[list[str]]:
    """Return the parameter names in groups from stem to head, for freezing and for learning rates by depth.

    timm's own coarse grouping where the network has one, else the units of the chain, else a single group. The
    classifier is always in the last group.

    >>> parameter_stages(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    [['0.weight', '0.bias'], ['3.weight', '3.bias']]
    """
    matcher = getattr(model, "group_matcher", None)
    if matcher is not None:
        grouped = group_parameters(model, matcher(coarse=True))
        return [grouped[key] for key in sorted(grouped)]
    groups = _group(model, _trace(model))
    stages = [[name for name, _ in _assemble(model, [group]).named_parameters()] for group in groups]
    stages = [stage for stage in stages if stage]
    found = [name for stage in stages for name in stage]
    complete = sorted(found) == sorted(name for name, _ in model.named_parameters())
    return stages if complete else [[name for name, _ in model.named_parameters()]]


class _Root(nn.Module):
    """Calls the network with images alone, so that its other arguments keep their defaults in the trace."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Any:
        return self.net(images)


class _Tracer(fx.Tracer):
    """Looks into the opened modules only; every other module is one step."""

    def __init__(self, opened: set[str]) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()), param_shapes_constant=True)
        self._opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._opened


def _trace(model: nn.Module) -> list[list[fx.Node]]:
    """Return the steps of the network's forward pass, cut as `_pieces` does; nothing where it cannot be traced."""
    was_training = model.training
    try:
        root = _Root(model).eval()
        graph = _Tracer(_to_open(model)).trace(root)
    except Exception:  # control flow that depends on data stops a trace in many ways; such a network is no chain
        return []
    finally:
        model.train(was_training)
    for node in reversed(graph.nodes):  # what only feeds checks of shapes
        if not node.users and node.op in ("call_function", "call_method", "get_attr"):
            graph.erase_node(node)
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            node.target = str(node.target).removeprefix(f"{_NET}.")
    if any(node.op == "get_attr" and not _has_attribute(model, str(node.target)) for node in graph.nodes):
        return []  # a tensor made while tracing was frozen into the trace; it may be another one next time
    return _pieces(graph)


def _to_open(model: nn.Module) -> set[str]:
    """Return the names of modules to look into: containers, and whatever the classifier is inside of.

    A sequence with a single convolution in it (convolution, normalisation, activation) stays whole.
    """
    opened = {_NET}
    try:
        path = classifier_path(model).split(".")
        opened |= {".".join([_NET, *path[:depth]]) for depth in range(1, len(path))}
    except ModelError:
        pass
    for name, module in model.named_modules():
        container = isinstance(module, nn.Sequential) or type(module).__name__.endswith("Stage")
        container = container or any(child in ("blocks", "layers") for child, _ in module.named_children())
        parent = f"{_NET}.{name}".rpartition(".")[0]
        if name and container and parent in opened and sum(_is_weighted(child) for child in _leaves(module)) > 1:
            opened.add(f"{_NET}.{name}")
    return opened


def _group(model: nn.Module, pieces: list[list[fx.Node]]) -> list[list[fx.Node]]:
    """Join pieces to units. A unit begins with dropout or with weights, and goes on to the next such place."""
    groups: list[list[fx.Node]] = []
    for piece in pieces:
        if groups and not (_begins(model, piece[0]) and _is_closed(model, groups[-1])):
            groups[-1].extend(piece)
        else:
            groups.append(list(piece))
    return groups


def _pieces(graph: fx.Graph) -> list[list[fx.Node]]:
    """Cut the trace wherever a single tensor carries everything that comes later."""
    steps = [node for node in graph.nodes if node.op not in ("placeholder", "get_attr", "output")]
    position = {node: index for index, node in enumerate(steps)}
    end = len(steps)
    last_use = {
        node: max((position.get(user, end) for user in node.users), default=-1) for node in graph.nodes
    }  # the output node counts as the end
    pieces: list[list[fx.Node]] = []
    for index, node in enumerate(steps):
        crossing = [other for other in (*_placeholders(graph), *steps[:index]) if last_use[other] >= index]
        if not index or crossing == [steps[index - 1]]:
            pieces.append([])
        pieces[-1].append(node)
    return pieces


def _begins(model: nn.Module, node: fx.Node) -> bool:
    return _is_dropout(model, node) or _has_weights(model, node)


def _is_closed(model: nn.Module, group: list[fx.Node]) -> bool:
    return any(_has_weights(model, node) for node in group)


def _is_dropout(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), _DROPOUTS)
    return node.op == "call_function" and node.target is F.dropout


def _has_weights(model: nn.Module, node: fx.Node) -> bool:
    if node.op != "call_module":
        return any(argument.op == "get_attr" for argument in node.all_input_nodes)
    return any(parameter.ndim > 1 for parameter in model.get_submodule(str(node.target)).parameters())


def _is_weighted(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    return (child for child in module.modules() if not list(child.children()))


def _placeholders(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "placeholder"]


def _assemble(model: nn.Module, groups: list[list[fx.Node]]) -> nn.Module:
    """Return consecutive groups as one module that shares the network's modules, under their own names.

    Functional dropout was frozen as "off" by the trace; it becomes a dropout module, which training switches on.
    """
    steps = [node for group in groups for node in group]
    if not steps:
        return nn.Identity()
    graph, parts, copies = fx.Graph(), dict[str, Any](), dict[fx.Node, fx.Node]()
    entry = graph.placeholder("x")

    def copied(node: fx.Node) -> fx.Node:
        if node.op == "get_attr" and node not in copies:
            parts[str(node.target)] = _attribute(model, str(node.target))
            copies[node] = graph.node_copy(node)
        return copies.get(node, entry)  # what lies before these groups arrives as the input

    for node in steps:
        for needed in node.all_input_nodes:
            copied(needed)
        if node.op == "call_function" and node.target is F.dropout:
            name = f"dropout_{node.name}"
            rate: Any = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
            parts[name] = nn.Dropout(float(rate)).train(model.training)
            copies[node] = graph.call_module(name, (copied(node.all_input_nodes[0]),))
            continue
        if node.op == "call_module":
            parts[str(node.target)] = model.get_submodule(str(node.target))
        copies[node] = graph.node_copy(node, copied)
    graph.output(copies[steps[-1]])
    assembled = fx.GraphModule(parts, graph, class_name=f"{type(model).__name__}Part")
    assembled.training = model.training
    return assembled


def _has_attribute(model: nn.Module, path: str) -> bool:
    try:
        _attribute(model, path)
    except AttributeError:
        return False
    return True


def _attribute(model: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(model.get_submodule(parent), name)


@torch.no_grad()
def _reproduces(model: nn.Module, groups: list[list[fx.Node]], example: Tensor) -> bool:
    """Whether the chain's outputs equal the network's exactly, for another batch size and other values too."""
    parts = [_assemble(model, [group]) for group in groups]
    other = torch.cat([example.flip(0, 3), -0.5 * example[:1]])
    for images in (example, other):
        x = images.clone()
        try:
            for part in parts:
                x = part(x)
                if not isinstance(x, Tensor):
                    return False
        except (RuntimeError, TypeError, ValueError):
            return False
        expected = model(images)
        if not isinstance(expected, Tensor) or not torch.equal(x, expected):
            return False
    return True


@torch.no_grad()
def _measure(model: nn.Module, groups: list[list[fx.Node]], example: Tensor) -> tuple[Unit, ...]:
    units, x = [], example.clone()
    for group in groups:
        part = _assemble(model, [group])
        times_ms = []
        for _ in range(_TIMINGS):
            images = x.clone()  # a part may work in place
            start = time.perf_counter()
            output = part(images)
            if output.is_cuda:
                torch.cuda.synchronize()
            times_ms.append(1000 * (time.perf_counter() - start))
        shape = tuple(output.shape[1:])
        names = tuple(str(node.target) for node in group if node.op == "call_module")
        weighted = [str(node.target) for node in group if node.op == "call_module" and _has_weights(model, node)]
        cost = Cost(forward_ms=min(times_ms) / len(example), output_shape=shape, output_bytes=4 * output[0].numel())
        units.append(Unit(name=(weighted or list(names) or ["input"])[0], module_names=names, cost=cost))
        x = output
    return tuple(units)


def _feature_unit(model: nn.Module, groups: list[list[fx.Node]]) -> int | None:
    """The last unit's index if it is one linear layer, with nothing but dropout, pooling and reshaping around it."""
    weighted = [str(node.target) for node in groups[-1] if node.op == "call_module" and _has_weights(model, node)]
    return len(groups) - 1 if weighted == [classifier_path(model)] else None
