"""Forward passes: which module is called from outside any other, and, at samples, what each layer puts out.

A compiled module is seen from outside only. While it runs there are no hooks, so that it is compiled as it is without
the doctor: `torch.compile(model)` makes a wrapper, `model.compile()` a call that stands in for the module's own.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from fovea.doctor.senses.patching import Patches, out_of_sight, transformed
from fovea.doctor.watcher import Watcher

_DYNAMO = "torch._dynamo.eval_frame"


class Modules:
    """Global hooks on all modules, and a place in front of compiled ones."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._handles: list[RemovableHandle] = []
        self._running: list[nn.Module] = []
        self._patches = Patches()
        self._compiled: list[tuple[nn.Module, Callable[..., Any]]] = []  # in place, with the call they had
        self._wrapper_known = False

    def install(self) -> None:
        """Begin to listen."""
        self._running.clear()
        self._listen()
        self._patches.wrap(nn.Module, "compile", self._around_compile)
        self._patches.wrap(torch, "compile", self._around_torch_compile)
        if _DYNAMO in sys.modules:
            self._know_wrapper()
            for thing in gc.get_objects():  # modules that were compiled in place before
                if issubclass(type(thing), nn.Module) and thing.__dict__.get("_compiled_call_impl") is not None:
                    self._front(thing)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()
        self._wrapper_known = False
        while self._compiled:
            module, real = self._compiled.pop()
            module._compiled_call_impl = real
        self._deafen()

    def _listen(self) -> None:
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]

    def _deafen(self) -> None:
        while self._handles:
            handle = self._handles.pop()
            handle.remove()
            _global_forward_hooks_with_kwargs.pop(handle.id, None)  # PyTorch leaves it there, as if it were a hook

    @contextlib.contextmanager
    def _deaf(self) -> Iterator[None]:
        """No hooks in here; a compiled module within another finds none to take away."""
        heard = bool(self._handles)
        self._deafen()
        try:
            yield
        finally:
            if heard:
                self._listen()

    def _enter(self, module: nn.Module, args: Any) -> None:
        if out_of_sight() or self._watcher.in_backward:
            if not torch.compiler.is_compiling() and transformed():
                self._watcher.not_seen(
                    "networks within a transform of torch.func (vmap, grad ...): it gives them no values"
                )
            return
        self._running.append(module)
        if len(self._running) > 1 and not self._watcher.pace.sampling:
            return
        with self._watcher.looking():
            if len(self._running) == 1:
                self._watcher.forward_begins(module)
            else:
                self._watcher.layer_begins(module, args)

    def _leave(self, module: nn.Module, args: Any, *rest: Any) -> None:
        """Called with keywords and output; where a forward raised, PyTorch gives the output alone."""
        kwargs, output = rest if len(rest) == 2 else ({}, *rest)
        if out_of_sight() or self._watcher.in_backward or not self._running:
            return
        while self._running and self._running.pop() is not module:
            pass  # a forward that raised leaves modules behind
        if self._running and not self._watcher.pace.sampling:
            return
        with self._watcher.looking():
            if self._running:
                self._watcher.layer(module, output)
            else:
                self._watcher.forward(module, args, kwargs, output)

    # -- compiled modules -------------------------------------------------------------------------------------------

    def _around_torch_compile(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(*args: Any, **kwargs: Any) -> Any:
            compiled = real(*args, **kwargs)
            with self._watcher.looking():
                self._know_wrapper()
            return compiled

        return heard

    def _know_wrapper(self) -> None:
        """Stand in front of the wrapper that torch.compile makes; importing it takes a second, so not before."""
        if not self._wrapper_known:
            self._wrapper_known = True
            self._patches.wrap(sys.modules[_DYNAMO].OptimizedModule, "__call__", self._around_wrapper)

    def _around_wrapper(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return self._called(module, lambda: real(module, *args, **kwargs), args, kwargs)

        return heard

    def _around_compile(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            real(module, *args, **kwargs)
            with self._watcher.looking():
                self._front(module)

        return heard

    def _front(self, module: nn.Module) -> None:
        """Stand in front of a module that was compiled in place."""
        real: Callable[..., Any] = module._compiled_call_impl  # type: ignore[assignment]

        def heard(*args: Any, **kwargs: Any) -> Any:
            return self._called(module, lambda: real(*args, **kwargs), args, kwargs)

        self._compiled.append((module, real))
        module._compiled_call_impl = heard

    def _called(self, module: nn.Module, call: Callable[[], Any], args: Any, kwargs: Any) -> Any:
        """Call a compiled module without hooks, and tell of it as if it had some."""
        if out_of_sight() or not self._handles:
            return call()
        self._enter(module, args)
        output = None
        try:
            with self._deaf():
                output = call()
        finally:
            self._leave(module, args, kwargs, output)
        return output
