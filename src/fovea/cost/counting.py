"""Counting what one pass of a network takes: parameters, MACs, FLOPs, activations and bytes, for each layer and in sum.

Counted are the operators that PyTorch dispatches (`watching`), by `formulas`; an operator without a formula is named in
`unknown`. Time and memory are other files' work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from fovea.core.errors import ModelError
from fovea.cost.formulas import ATTENTION, CREATION, FORMULAS, PRODUCTS, Work
from fovea.cost.watching import Call, Observer, observe

_WRITE_ONLY = frozenset(f"aten.{name}" for name in (*CREATION, "fill", "zero"))
_LOOKUPS = frozenset(f"aten.{name}" for name in ("index", "index_select", "gather", "embedding"))


@dataclass(frozen=True)
class Operation:
    """One operator that ran, and what it took.

    Attributes:
        name: such as "aten.convolution".
        path: the module it ran in.
        shapes: of the tensors that went in and came out, (in, out).
        groups: of a convolution; 1 for every other operator.
    """

    name: str
    path: str
    work: Work
    activations: int
    bytes_read: int
    bytes_written: int
    is_view: bool
    shapes: tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]
    groups: int = 1

    @property
    def flops(self) -> int:
        """All arithmetic: two for a MAC, and the others."""
        return 2 * self.work.macs + self.work.other_flops

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.bytes_read + self.bytes_written


@dataclass
class Layer:
    """One module that has parameters or ran operators of its own (not those of modules inside it).

    Attributes:
        name: the module's path; "" is the network itself.
        kind: its class.
        calls: how often it ran.
    """

    name: str
    kind: str
    params: int = 0
    trainable: int = 0
    calls: int = 0
    operations: list[Operation] = field(default_factory=list)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(one.work.macs for one in self.operations)

    @property
    def bytes(self) -> int:
        """Read and written."""
        return sum(one.bytes for one in self.operations)

    @property
    def output(self) -> tuple[int, ...] | None:
        """The shape of what its last operator wrote."""
        shapes = [one.shapes[1][0] for one in self.operations if one.shapes[1]]
        return shapes[-1] if shapes else None

    def as_dict(self) -> dict[str, Any]:
        """Return its numbers as JSON-ready values."""
        ran = Counter(one.name for one in self.operations)
        about = {
            "name": self.name,
            "kind": self.kind,
            "calls": self.calls,
            "output": self.output,
            "operators": dict(ran),
        }
        return {**about, **_numbers([self])}


@dataclass(frozen=True)
class Count:
    """What one forward pass takes.

    Attributes:
        shape: of the input.
        layers: in the order in which they first ran, then those that only hold parameters.
        unknown: operators without a formula, and how often each ran: their arithmetic is missing in the sums.
    """

    shape: tuple[int, ...]
    layers: list[Layer]
    unknown: dict[str, int]

    @property
    def total(self) -> dict[str, Any]:
        """The sums over the layers: `params`, `trainable`, `macs`, `flops` (2 × `macs`), `other_flops`, …"""
        return _numbers(self.layers)

    @property
    def operations(self) -> list[Operation]:
        """Every operator, layer by layer."""
        return [one for layer in self.layers for one in layer.operations]


class Tally:
    """Observes a run and writes down what every operator took.

    Args:
        strict: raise on an operator without a formula, in place of naming it.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.operations: list[Operation] = []
        self.unknown: Counter[str] = Counter()

    def begins(self, images: Tensor) -> None:
        """The input costs nothing."""

    def saw(self, call: Call) -> None:
        """Count one operator.

        Raises:
            ModelError: it has no formula, and `strict` was asked for.
        """
        work = Work()
        if call.name in FORMULAS:
            work = FORMULAS[call.name].build(call)
        elif not call.is_view:
            self.unknown[call.name] += 1
            if self.strict:
                raise ModelError(
                    f"{call.name} in {call.path or 'the network'} has no formula",
                    hint="without strict it is a named gap",
                )
        outputs, is_product = call.outputs, call.name in PRODUCTS or call.name in ATTENTION
        self.operations.append(
            Operation(
                name=call.name,
                path=call.path,
                work=work,
                activations=outputs[0].numel() if is_product else 0,
                bytes_read=_bytes_read(call),
                bytes_written=0 if call.is_view else sum(map(_bytes_of, outputs)),
                is_view=call.is_view,
                shapes=(_shapes(call.inputs), _shapes(outputs)),
                groups=call.arguments["groups"] if call.name == "aten.convolution" else 1,
            )
        )


def count(model: nn.Module, shape: Sequence[int], *, strict: bool = False, also: Sequence[Observer] = ()) -> Count:
    """Count one forward pass of `model` on images (B,3,H,W), in the mode (train or eval) that it is in.

    Nothing is computed: the pass runs on tensors without data, so the network may lie on "meta".

    Args:
        strict: an operator without a formula is an error.
        also: observers who are told of the same pass.

    Raises:
        ModelError: the network does not take such images, or `strict` found a gap.

    >>> found = count(nn.Conv2d(3, 8, 3), (1, 3, 10, 10))
    >>> found.total["params"], found.total["macs"], found.total["activations"]
    (224, 13824, 512)
    """
    tally = Tally(strict=strict)
    place = observe(model, shape, tally, *also)
    return Count(tuple(shape), _layers(model, tally.operations, place.visits), dict(tally.unknown))


def _layers(model: nn.Module, operations: Sequence[Operation], visits: Counter[str]) -> list[Layer]:
    modules = dict(model.named_modules())
    order = dict.fromkeys([*(one.path for one in operations), *modules])
    layers = {path: Layer(path, type(modules[path]).__name__, calls=visits[path]) for path in order}
    for one in operations:
        layers[one.path].operations.append(one)
    counted: set[nn.Parameter] = set()  # a parameter that two modules share is counted with the first
    for path, module in modules.items():
        for parameter in module.parameters(recurse=False):
            if parameter not in counted:
                counted.add(parameter)
                layers[path].params += parameter.numel()
                layers[path].trainable += parameter.numel() * parameter.requires_grad
    return [layer for layer in layers.values() if layer.params or layer.operations]


def _numbers(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the sums over some layers."""
    operations = [one for layer in layers for one in layer.operations]
    macs = sum(one.work.macs for one in operations)
    moved = sum(one.bytes for one in operations)
    return {
        "params": sum(layer.params for layer in layers),
        "trainable": sum(layer.trainable for layer in layers),
        "macs": macs,
        "flops": 2 * macs,
        "other_flops": sum(one.work.other_flops for one in operations),
        "activations": sum(one.activations for one in operations),
        "bytes": moved,
        "bytes_read": sum(one.bytes_read for one in operations),
        "bytes_written": sum(one.bytes_written for one in operations),
        "arithmetic_intensity": sum(one.flops for one in operations) / moved if moved else None,
    }


def _bytes_read(call: Call) -> int:
    if call.is_view or call.name in _WRITE_ONLY:
        return 0
    if call.name in _LOOKUPS:  # reads what it hands out, not the whole table
        return sum(map(_bytes_of, call.outputs))
    return sum(map(_bytes_of, call.inputs[1:] if call.name == "aten.copy" else call.inputs))


def _bytes_of(tensor: Tensor) -> int:
    """What a tensor takes in memory: an expanded one no more than what lies behind it."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _shapes(tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in tensors)
