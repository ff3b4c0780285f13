"""What belongs together among images, as numbers of groups; `copies` finds it, `remembered` keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Copies:
    """Groups among N images.

    Attributes:
        exact: number of the group with the same bytes, -1 where an image is alone (N,).
        near: number of the group of copies, exact ones included.
        scene: number of the group of photos of one scene, copies included.
    """

    exact: np.ndarray
    near: np.ndarray
    scene: np.ndarray
