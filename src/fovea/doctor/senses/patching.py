"""Put functions in place of others, and take them back; what the doctor does must never break or change a training."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Protocol

import torch
from torch._C import _functorch
from torch.jit._builtins import _get_builtin_table

_MARK = "the function that listens"
_INHERITED = object()  # what stands for an attribute of a base class, or of a class where the owner is an instance


class Sense(Protocol):
    """Something that listens from `install` to `remove`."""

    def install(self) -> None:
        """Begin to listen."""

    def remove(self) -> None:
        """Leave everything as it was."""


def transformed() -> bool:
    """Whether a transform of `torch.func` (vmap, grad, jvp ...) is at work: its tensors stand for others."""
    return _functorch.peek_interpreter_stack() is not None


def out_of_sight() -> bool:
    """Whether there are no values to look at: while PyTorch compiles, or within a transform of `torch.func`."""
    return torch.compiler.is_compiling() or _functorch.peek_interpreter_stack() is not None  # asked for every layer


class Patches:
    """Attributes that were replaced, in order.

    >>> import types
    >>> module = types.SimpleNamespace(double=lambda x: 2 * x)
    >>> patches = Patches()
    >>> patches.wrap(module, "double", lambda real: lambda x: real(x) + 1)
    >>> module.double(4)
    9
    >>> patches.undo()
    >>> module.double(4)
    8
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []
        self._scripted: list[Callable[..., Any]] = []

    def wrap(self, owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace `owner.name` by `around(owner.name)`, with the name and the documentation of what it replaces."""
        real = getattr(owner, name)
        heard = functools.wraps(real)(around(real))
        self._replaced.append((owner, name, real if name in getattr(owner, "__dict__", {}) else _INHERITED))
        setattr(owner, name, heard)
        known = _get_builtin_table()
        if id(real) in known:  # TorchScript knows PyTorch's own functions by identity
            known[id(heard)] = known[id(real)]
            self._scripted.append(heard)

    def listen_within(self, function: FunctionType, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Let whoever calls `function`, however long ago it was bound to a name, call `around(function)`.

        The function stays the object that it is, and so what is kept by it (`from ... import cross_entropy`, tables of
        overrides, what a compiler knows of it) stays valid; its code is replaced by a call.

        >>> def double(x, times=2):
        ...     return times * x
        >>> bound, patches = double, Patches()
        >>> patches.listen_within(double, lambda real: lambda x, times: real(x, times=times) + 1)
        >>> bound(4)
        9
        >>> patches.undo()
        >>> bound(4)
        8
        """
        real = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
        real.__kwdefaults__ = function.__kwdefaults__
        self._replaced.append((function, "__code__", function.__code__))
        function.__code__ = _calling(functools.wraps(real)(around(real)), like=function)

    def undo(self) -> None:
        """Put back what was replaced, last first."""
        while self._replaced:
            owner, name, real = self._replaced.pop()
            if real is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, real)
        while self._scripted:
            _get_builtin_table().pop(id(self._scripted.pop()), None)


def _calling(heard: Callable[..., Any], *, like: FunctionType) -> Any:
    """Return the code of a function with the parameters of another, without a closure, that hands all to `heard`."""
    names = list(inspect.signature(like).parameters)
    found: dict[str, Any] = {}
    exec(f"def call({', '.join(names)}):\n    to = '{_MARK}'\n    return to({', '.join(names)})", found)
    code, old = found["call"].__code__, like.__code__
    return code.replace(
        co_consts=tuple(heard if each == _MARK else each for each in code.co_consts),
        co_filename=old.co_filename,  # who looks for its source finds that of the function itself
        co_firstlineno=old.co_firstlineno,
        co_name=old.co_name,
        co_qualname=old.co_qualname,
    )
