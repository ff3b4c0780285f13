"""Backward passes and steps of optimisers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from fovea.doctor.senses.fastai import FastaiOptimizer, optimizer_class
from fovea.doctor.senses.patching import Patches, out_of_sight
from fovea.doctor.tensors import tensors_of
from fovea.doctor.watcher import Watcher


class Steps:
    """Tells the watcher when gradients are computed, when a step is taken, and when a gradient scaler skips one."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()
        self._handles: list[RemovableHandle] = []
        self._fastai: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._fastai_known = False

    def install(self) -> None:
        """Begin to listen."""
        self._handles = [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]
        self._patches.wrap(torch.autograd, "backward", self._around_backward)  # which Tensor.backward calls
        self._patches.wrap(torch.amp.GradScaler, "step", self._around_scaler)
        self._patches.wrap(torch.amp.GradScaler, "scale", self._around_scale)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()
        self._fastai_known = False
        while self._handles:
            self._handles.pop().remove()

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if out_of_sight():
            return
        with self._watcher.looking():
            self._watcher.step_begins(optimizer)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if out_of_sight():
            return
        with self._watcher.looking():
            self._watcher.step_ends(optimizer)

    def _around_backward(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if self._watcher.in_backward or out_of_sight():  # a checkpoint begins one of its own
                return real(tensors, *args, **kwargs)
            with self._watcher.looking():
                self._meet_fastai()
                self._watcher.backward_begins()
            self._watcher.in_backward = True
            try:
                result = real(tensors, *args, **kwargs)
            finally:
                self._watcher.in_backward = False
            with self._watcher.looking():
                self._watcher.backward_ends(list(tensors_of([tensors])))
            return result

        return heard

    def _meet_fastai(self) -> None:
        """A script may import fastai at any time before its first backward."""
        kind = None if self._fastai_known else optimizer_class()
        if kind is not None:
            self._fastai_known = True
            self._patches.wrap(kind, "step", self._around_fastai)

    def _around_fastai(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            with self._watcher.looking():
                view = self._fastai.setdefault(optimizer, FastaiOptimizer(optimizer))
                self._watcher.step_begins(view)
            result = real(optimizer, *args, **kwargs)
            with self._watcher.looking():
                self._watcher.step_ends(view)
            return result

        return heard

    def _around_scale(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            self._watcher.scaled_by(scaler.get_scale)
            return real(scaler, *args, **kwargs)

        return heard

    def _around_scaler(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(scaler: Any, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
            before = self._watcher.pace.steps
            result = real(scaler, optimizer, *args, **kwargs)
            with self._watcher.looking():
                if self._watcher.pace.steps == before:
                    self._watcher.step_skipped()
            return result

        return heard
