"""Image files as they are opened in this process, by Pillow, OpenCV or torchvision.

OpenCV and torchvision are listened to once a script has imported them; nothing here imports them. Processes of their
own, such as workers of a loader, are not heard.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import PIL.Image
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from fovea.doctor.files.linking import name_of, paths_of
from fovea.doctor.senses.patching import Patches
from fovea.doctor.watcher import Watcher

_CV2, _TORCHVISION = "cv2", "torchvision.io.image"
WORKERS = "files that worker processes read"


class Files:
    """Tells the watcher which files are opened, and which of them a loader has opened for a batch."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()
        self._known: set[str] = set()  # modules that are listened to
        self._datasets: dict[int, Any] = {}  # that workers read, kept so that each id stays its own

    def install(self) -> None:
        """Begin to listen."""
        self._patches.listen_within(PIL.Image.open, self._around_open)  # type: ignore[arg-type]
        self._patches.wrap(DataLoader, "__iter__", self._around_iter)
        self._patches.wrap(_BaseDataLoaderIter, "__next__", self._around_next)
        self._meet_readers()

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()
        self._known.clear()

    def _meet_readers(self) -> None:
        """A script may import its readers at any time before its first batch."""
        if _CV2 not in self._known and hasattr(sys.modules.get(_CV2), "imread"):
            self._known.add(_CV2)
            self._patches.wrap(sys.modules[_CV2], "imread", self._around_imread)
        if _TORCHVISION not in self._known and hasattr(sys.modules.get(_TORCHVISION), "read_file"):
            self._known.add(_TORCHVISION)
            self._patches.listen_within(sys.modules[_TORCHVISION].read_file, self._around_read_file)

    def _heard(self, file: Any, width: int, height: int) -> None:
        """Tell of a file; not within the watcher's guard, which minds one thread only."""
        with contextlib.suppress(Exception):
            name = name_of(file)
            if name is not None:
                self._watcher.files.opened(name, width, height)

    def _around_open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(fp: Any, mode: Any, formats: Any) -> Any:
            image = real(fp, mode, formats)
            self._heard(fp, *image.size)
            return image

        return heard

    def _around_imread(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(*args: Any, **kwargs: Any) -> Any:
            image = real(*args, **kwargs)
            if image is not None:  # of a file that is none, OpenCV returns nothing
                self._heard(args[0] if args else kwargs.get("filename"), image.shape[1], image.shape[0])
            return image

        return heard

    def _around_read_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(path: Any) -> Any:
            content = real(path)
            self._heard(path, 0, 0)
            return content

        return heard

    def _around_iter(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(loader: DataLoader[Any]) -> Any:
            with self._watcher.looking():
                self._meet_readers()
                if loader.num_workers and not isinstance(loader.dataset, TensorDataset):
                    self._miss(loader.dataset)
            return real(loader)

        return heard

    def _miss(self, dataset: Any) -> None:
        """Workers read what the dataset lists, if it does, or else who knows what."""
        if id(dataset) in self._datasets:
            return
        self._datasets[id(dataset)] = dataset
        paths = paths_of(dataset)
        self._watcher.files.listed(paths)
        unseen = self._watcher.record.unseen
        if not paths and WORKERS not in unseen:
            unseen.append(WORKERS)

    def _around_next(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(iterator: Any) -> Any:
            with self._watcher.looking():
                self._meet_readers()
                self._watcher.files.take()
            return real(iterator)

        return heard
