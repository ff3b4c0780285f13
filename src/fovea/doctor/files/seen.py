"""What was seen of the files that a training reads: plain values and small arrays, which probes read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from fovea.data.looks import Look

Shape = Literal["whole", "centred", "elsewhere"]


class Box(NamedTuple):
    """A part of a file's picture, in shares of its width and height.

    >>> Box(0, 0, 0.5, 1).area
    0.5
    """

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def size(self, whole: tuple[int, int]) -> tuple[float, float]:
        """Return its width and height in px, given those of the whole."""
        return (self.right - self.left) * whole[0], (self.bottom - self.top) * whole[1]

    def shared(self, other: Box) -> float:
        """Return the area that both show."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    """What an input shows of its file."""

    path: str
    size: tuple[int, int]  # width and height of the file in px
    input_size: tuple[int, int]
    box: Box
    kind: Shape
    likeness: float  # correlation of the two pictures
    stretch: float  # how many times wider, against their height, things are in the input than in the file
    enlarged: float  # px of the input that one px of the file takes, the less of both directions
    colors: np.ndarray | None  # (2, 64, 3): input and file at the same places; None for inputs of other channels


@dataclass(frozen=True, eq=False)
class Stored:
    """How a training file is kept, what it looks like and what its label was."""

    path: str
    label: int
    width: int
    height: int
    size_bytes: int
    look: Look


@dataclass
class Judged:
    """A file that was evaluated: its size in px, its label, and whether the network told it."""

    size: tuple[int, int]
    label: int
    right: bool


@dataclass
class SeenFiles:
    """All that was seen of files; empty until the training is over."""

    opened: int = 0
    shown: dict[str, list[Shown]] = field(default_factory=lambda: {"train": [], "eval": []})
    unlike: dict[str, int] = field(default_factory=lambda: {"train": 0, "eval": 0})  # whose file is not to be found
    stored: list[Stored] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
