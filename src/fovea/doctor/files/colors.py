"""Whether red and blue of the inputs are those of their files.

Each channel of the inputs is standardised over all images, which undoes whatever normalisation they went through; then
the first less the last is compared with red less blue of the files, at the same places of each picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fovea.doctor.files.seen import Shown
from fovea.doctor.record import Record

_LEAST = 8  # images with colour
_COLORED = 4.0  # standard deviation of red less blue, in levels of 0 to 255, from which a picture has colour
_SWAPPED = -0.6
_EACH = 0.8  # share of the images that go against their file: a strong change of hue turns only some around


@dataclass(frozen=True)
class Order:
    """How red less blue of inputs goes with that of their files."""

    correlation: float
    against: float  # share of the images of which it is negative
    images: int

    @property
    def swapped(self) -> bool:
        return self.correlation < _SWAPPED and self.against >= _EACH

    @property
    def right(self) -> bool:
        return self.correlation > -_SWAPPED


def order_of(shown: Sequence[Shown]) -> Order | None:
    """Return the order of colours of inputs, or None where too few of them have any."""
    colors = [each.colors for each in shown if each.colors is not None]
    colored = [each for each in colors if (each[1, :, 0] - each[1, :, 2]).std() + abs(_tint(each)) > _COLORED]
    if len(colored) < _LEAST:
        return None
    given, file = np.stack(colored, axis=1)  # (images, 64, 3) each
    spread = given.std(axis=(0, 1))
    if (spread <= 1e-6).any():
        return None
    given = given / spread
    one, other = given[..., 0] - given[..., 2], file[..., 0] - file[..., 2]
    if one.std() < 0.02:
        return None  # grey
    one, other = one - one.mean(), other - other.mean()
    correlation = float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))
    return Order(correlation, float(((one * other).sum(axis=1) < 0).mean()), len(colored))


def orders(record: Record) -> tuple[Order | None, Order | None]:
    """Return the order of colours in training and in evaluation."""
    return order_of(record.files.shown["train"]), order_of(record.files.shown["eval"])


def _tint(colors: np.ndarray) -> float:
    return float((colors[1, :, 0] - colors[1, :, 2]).mean())
