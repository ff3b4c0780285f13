"""Watching a network run, operator by operator: what PyTorch really dispatches, and which module asked for it.

`watch` tells observers of every call; what they make of it (a count, a ledger of memory, receptive fields) is theirs.
`faked` gives a copy of a network whose tensors have shapes and no data, so that a run costs neither time nor memory
and still dispatches what a CPU would.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fovea.core.errors import ModelError

_VIEWS = ("aten._unsafe_view", "aten.unsafe_split", "aten.unsafe_split_with_sizes")  # whose schemas do not say so
_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
_NO_WORK = ("prim", "profiler")  # questions that Python code asks of tensors and of the profiler


@dataclass(frozen=True)
class Call:
    """One operator that was dispatched.

    Attributes:
        path: the innermost module that was running, as `named_modules` calls it; "" is the network itself.
        result: a tensor, or a tuple or list of them.
    """

    operator: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    path: str

    @cached_property
    def name(self) -> str:
        """The operator without its overload, and without the underscore of one that works in place: "aten.add"."""
        space, _, rest = str(self.operator.overloadpacket).partition(".")
        return f"{space}.{rest.rstrip('_')}" if not rest.startswith("__") else f"{space}.{rest}"

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """Every argument under its name in the operator's schema, defaults included."""
        values = {}
        for position, argument in enumerate(self.operator._schema.arguments):
            given = self.args[position] if position < len(self.args) else argument.default_value
            values[argument.name] = self.kwargs.get(argument.name, given)
        return values

    @cached_property
    def inputs(self) -> list[Tensor]:
        """The tensors among the arguments, lists of tensors flattened."""
        return [leaf for leaf in tree_leaves((self.args, dict(self.kwargs))) if isinstance(leaf, Tensor)]

    @cached_property
    def outputs(self) -> list[Tensor]:
        """The tensors that came out."""
        return [leaf for leaf in tree_leaves(self.result) if isinstance(leaf, Tensor)]

    @property
    def is_view(self) -> bool:
        """Whether the result is another look at an argument's memory; nothing is computed or moved then."""
        returned = self.operator._schema.returns
        if self.name in _VIEWS or torch.Tag.inplace_view in self.operator.tags:
            return True
        return bool(returned) and all(one.alias_info is not None and not one.alias_info.is_write for one in returned)


class Observer(Protocol):
    """Who is told of a run."""

    def begins(self, images: Tensor) -> None:
        """Take note of the input."""

    def saw(self, call: Call) -> None:
        """Take note of one call, after it has run."""


class _Watch(TorchDispatchMode):
    def __init__(self, observers: Sequence[Observer], place: Place) -> None:
        super().__init__()
        self.observers = observers
        self.place = place

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace not in _NO_WORK:
            call = Call(func, args, kwargs or {}, result, self.place.path)
            for observer in self.observers:
                observer.saw(call)
        return result


class Place:
    """Where in a network the program is, and how often it has been in each module.

    Attributes:
        visits: path → how often that module ran.
    """

    def __init__(self) -> None:
        self.visits: Counter[str] = Counter()
        self._paths: list[str] = []  # of the modules that are running, outermost first

    @property
    def path(self) -> str:
        """The innermost running module; "" outside of all."""
        return self._paths[-1] if self._paths else ""

    @contextlib.contextmanager
    def followed(self, model: nn.Module) -> Iterator[None]:
        """Follow the modules of `model` while the context lasts."""
        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(functools.partial(self._enter, path)))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._paths.clear()

    def _enter(self, path: str, *_: Any) -> None:
        self._paths.append(path)
        self.visits[path] += 1

    def _leave(self, *_: Any) -> None:
        self._paths.pop()


@contextlib.contextmanager
def watch(model: nn.Module, *observers: Observer) -> Iterator[Place]:
    """Tell `observers` of every operator that runs while the context lasts, with the module of `model` it ran in.

    Multi-head attention takes its ordinary path meanwhile: its fused one hides which layer does what.
    """
    place = Place()
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with place.followed(model), _Watch(observers, place):
            yield place
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextlib.contextmanager
def faked(model: nn.Module, shape: Sequence[int]) -> Iterator[tuple[nn.Module, Tensor]]:
    """Yield a copy of `model` and an input of this shape (B,3,H,W), both without data and laid out channels-last.

    Works for networks on any device, "meta" included. Gradients and optimisers work on the copy, too.

    Raises:
        ModelError: the network is TorchScript, quantised or not in float32; or, within the context, it refused the
            images.
        ValueError: the shape is not one of images.
    """
    _check(model, shape)
    images_last = torch.channels_last
    with FakeTensorMode():
        copies: dict[int, Any] = {}
        for tensor in [*model.parameters(), *model.buffers()]:
            layout = images_last if tensor.dim() == 4 else torch.contiguous_format
            twin = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", memory_format=layout)
            is_parameter = isinstance(tensor, nn.Parameter)
            copies[id(tensor)] = nn.Parameter(twin, requires_grad=tensor.requires_grad) if is_parameter else twin
        reporter = logging.getLogger(FakeTensorMode.__module__)  # it logs the traceback of every refusal
        quiet, reporter.disabled = reporter.disabled, True
        try:
            yield copy.deepcopy(model, copies), torch.empty(*shape, device="cpu").contiguous(memory_format=images_last)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise _refused(shape, error) from error
        finally:
            reporter.disabled = quiet


def observe(model: nn.Module, shape: Sequence[int], *observers: Observer) -> Place:
    """Tell observers of one forward pass on images (B,3,H,W) without data; returns where it has been.

    Raises:
        ModelError: the network does not take such images.
    """
    with faked(model, shape) as (twin, images), torch.no_grad(), watch(twin, *observers) as place:
        for observer in observers:
            observer.begins(images)
        twin(images)
    return place


def _check(model: nn.Module, shape: Sequence[int]) -> None:
    """Refuse what cannot be followed without data, and would stop far from the reason."""
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"shape is {tuple(shape)}; expected images, channels, height and width, each from 1 on")
    for path, module in model.named_modules():
        where = path or "the network"
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{where} is TorchScript, whose operators cannot be followed without data",
                hint="count the network that it was made from",
            )
        if type(module).__module__.startswith(_QUANTISED):
            raise ModelError(
                f"{where} is quantised, and its operators cannot be followed without data",
                hint="count the network as it was before: its MACs are the same, the bytes four times as many",
            )
    other = {
        str(tensor.dtype): None for tensor in model.parameters() if tensor.dtype in (torch.float16, torch.bfloat16)
    }
    if other:
        raise ModelError(
            f"the network has weights of {', '.join(other)}, and costs are those of float32",
            hint="count a copy of it: copy.deepcopy(model).float()",
        )


def _refused(shape: Sequence[int], error: Exception) -> ModelError:
    if isinstance(error, (DataDependentOutputException, DynamicOutputShapeException)):
        return ModelError(
            "what the network does depends on the values of the images, so it cannot be followed without running it",
            hint="count the parts of it that do not, with fovea.cost.counting.count",
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    of_size = re.search(r"siz|shape|kernel|height|width|spatial|grid|img", reason, re.IGNORECASE)
    if "channel" in reason:
        hint = "give an input of as many channels as its first layer takes"
    elif of_size:
        hint = "choose another --size; some networks take only their own"
    else:
        hint = "run it on torch.randn of this shape: if that works, it does what cannot be followed without data"
    return ModelError(f"the network does not run on an input of {' × '.join(map(str, shape))}: {reason}", hint=hint)
