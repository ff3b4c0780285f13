"""Which files are opened while a training runs, and which of the images that a network is given came from which.

Files that are opened while a loader fetches a batch, or between two calls of a network, as many as there are images,
are those images, in this order. What was read long before is kept by name, to be recognised by its picture in the end
(see `afterwards`). Only names and sizes are kept, and some inputs as small pictures; no file stays open.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from fovea.doctor.files.seen import Judged, SeenFiles
from fovea.doctor.files.windows import SIDE
from fovea.doctor.record import Phase
from fovea.doctor.tensors import are_pictures, is_class_labels

if TYPE_CHECKING:
    from fovea.doctor.pending import Forward

MOST_FILES = 5000
_KEPT = 192  # inputs of each phase
_CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class Kept:
    """An input as a small picture."""

    picture: np.ndarray  # (SIDE, SIDE, C) float16
    input_size: tuple[int, int]  # width and height
    path: str | None  # of its file, where that is known
    label: int | None


@dataclass
class _Sample:
    """Every n-th input of a phase, n growing, so that they spread over all of it."""

    stride: int = 1
    passed: int = 0
    kept: list[Kept] = field(default_factory=list)

    def rows(self, count: int) -> list[int]:
        """Return which of the next inputs to keep."""
        first = -self.passed % self.stride
        self.passed += count
        return list(range(first, count, self.stride))

    def add(self, more: Sequence[Kept]) -> None:
        self.kept += more
        while len(self.kept) > _KEPT:
            self.kept = self.kept[::2]
            self.stride *= 2


class FileWatch:
    """Owns what is known of the files of one training."""

    def __init__(self) -> None:
        self.sizes: dict[str, tuple[int, int]] = {}  # of every file by its path: width and height in px, 0 unknown
        self.labels: dict[str, int] = {}  # of training files
        self.judged: dict[str, Judged] = {}  # evaluated files
        self._thread = threading.get_ident()
        self._since: list[tuple[str, int, int]] = []  # opened, and not yet asked for
        self._samples: dict[Phase, _Sample] = {"train": _Sample(), "eval": _Sample()}

    def kept(self, phase: Phase) -> list[Kept]:
        """Return the inputs that were kept."""
        return self._samples[phase].kept

    def opened(self, path: str, width: int, height: int) -> None:
        """A file is opened: this runs within the training's own reading, on any of its threads."""
        if len(self._since) < MOST_FILES and threading.get_ident() == self._thread:
            self._since.append((path, width, height))

    def take(self, images: int | None = None) -> tuple[str, ...] | None:
        """Return the files that were opened since this was last asked, if they are so many, each of one image."""
        since, self._since = self._since, []
        if not since:
            return None
        paths = [str(Path(path).absolute()) for path, _, _ in since]
        for path, (_, width, height) in zip(paths, since, strict=True):
            if len(self.sizes) < MOST_FILES:
                self.sizes.setdefault(path, (width, height))
        if images is not None and len(paths) != images:  # some open a file twice, to look at it first
            paths = [path for place, path in enumerate(paths) if not place or path != paths[place - 1]]
        return tuple(paths) if len(paths) == images else None

    def listed(self, paths: Iterable[str]) -> None:
        """A dataset whose files other processes read has these."""
        for path in paths:
            if len(self.sizes) < MOST_FILES:
                self.sizes.setdefault(str(Path(path).absolute()), (0, 0))

    def given(self, phase: Phase, call: Forward) -> None:
        """A network was given images, in training or in evaluation."""
        inputs, files = call.inputs, call.files
        if not self.sizes or inputs is None or not are_pictures(inputs.shape) or inputs.shape[1] not in _CHANNELS:
            return
        if files is not None and len(files) != len(inputs):
            files = None
        labels = call.labels if is_class_labels(call.labels, call.scores) else None
        if files is not None and labels is not None:
            self._tell(phase, files, labels, call.scores)
        sample = self._samples[phase]
        rows = sample.rows(len(inputs))
        if rows:
            small = functional.interpolate(inputs[rows].float(), size=(SIDE, SIDE), mode="area")
            pictures = small.permute(0, 2, 3, 1).half().cpu().numpy()  # (n,C,S,S) -> (n,S,S,C)
            size = (inputs.shape[3], inputs.shape[2])
            paths = [None] * len(rows) if files is None else [files[row] for row in rows]
            told = [None] * len(rows) if labels is None else labels[rows].tolist()
            sample.add([Kept(picture, size, *rest) for picture, *rest in zip(pictures, paths, told, strict=True)])

    def _tell(self, phase: Phase, files: tuple[str, ...], labels: torch.Tensor, scores: torch.Tensor) -> None:
        new = [path in self.sizes and path not in self.labels for path in files]
        if phase == "train" and any(new):
            told = zip(files, labels.tolist(), new, strict=True)
            self.labels.update({path: label for path, label, unknown in told if unknown})
        elif phase == "eval":
            right = (scores.argmax(1) == labels.to(scores.device)).tolist()
            for path, label, told_right in zip(files, labels.tolist(), right, strict=True):
                if path in self.sizes:
                    self.judged[path] = Judged(self.sizes[path], label, told_right)

    def finish(self, *, seconds: float) -> SeenFiles:
        """After the training: look at some of the files again, and return what they tell.

        Args:
            seconds: that the training took, of which this may take a part.
        """
        self.take()
        if not self.sizes:
            return SeenFiles()
        from fovea.doctor.files.afterwards import look_at_files  # it decodes images, which most trainings need not

        return look_at_files(self, budget_s=min(4.0, max(0.3, 0.03 * seconds)))


def paths_of(dataset: Any) -> list[str]:
    """Return the files that a dataset has listed, one for each of its items as ImageFolder has them in `samples`."""
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        listed = paths_of(dataset.dataset)
        return [listed[place] for place in dataset.indices] if listed else []
    count = len(dataset) if hasattr(dataset, "__len__") else 0
    for values in getattr(dataset, "__dict__", {}).values():
        if count and isinstance(values, (list, tuple)) and len(values) == count:
            places = _place_of_path(values[0])
            if places is not None:
                return [str(each if places < 0 else each[places]) for each in values]
    return []


def _place_of_path(item: Any) -> int | None:
    """Return where in an item the path of a file stands, -1 for the item itself, or None."""
    if isinstance(item, (str, Path)):
        return -1 if Path(item).is_file() else None
    if isinstance(item, (list, tuple)):
        return next((place for place, each in enumerate(item) if _place_of_path(each) == -1), None)
    return None


def name_of(file: Any) -> str | None:
    """Return the path that was given to a reader, by itself or as a file object that has one, or None."""
    if isinstance(file, (str, Path)):
        return str(file)
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and not name.startswith("<") else None
