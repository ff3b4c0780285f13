"""Batches, as DataLoaders hand them out."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from fovea.doctor.senses.fastai import FastaiLoader, loader_behind
from fovea.doctor.senses.patching import Patches
from fovea.doctor.watcher import Watcher


class Loaders:
    """Tells the watcher when a DataLoader begins anew, and what each batch is."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()
        self._of: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._fastai: dict[int, tuple[Any, Any]] = {}  # view and loader, which is kept so that its id stays its own

    def install(self) -> None:
        """Begin to listen."""
        self._patches.wrap(DataLoader, "__iter__", self._around_iter)
        self._patches.wrap(_BaseDataLoaderIter, "__next__", self._around_next)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()

    def _around_iter(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(loader: DataLoader[Any]) -> Any:
            iterator = real(loader)
            with self._watcher.looking():
                self._of[iterator] = loader
                self._watcher.round_begins(loader)
            return iterator

        return heard

    def _around_next(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(iterator: Any) -> Any:
            batch = real(iterator)
            with self._watcher.looking():
                if iterator not in self._of:
                    self._meet_fastai(iterator)
                if iterator in self._of:
                    self._watcher.loaded(self._of[iterator], batch)
            return batch

        return heard

    def _meet_fastai(self, iterator: Any) -> None:
        """An iterator that no DataLoader of PyTorch's has made."""
        real = loader_behind(iterator)
        if real is not None:
            view = self._fastai.setdefault(id(real), (FastaiLoader(real), real))[0]
            self._of[iterator] = view
            self._watcher.round_begins(view)
