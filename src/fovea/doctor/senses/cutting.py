"""Pictures that Pillow cuts down to their middle, as torchvision's and fastai's transforms have it do.

How much of a picture is left is written to the picture itself, so that a crop behind a resize is held against the
whole. Crops that are not of the middle are cut on purpose: at random, or by a box.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import PIL.Image
from PIL.Image import Image

from fovea.doctor.record import Cut
from fovea.doctor.senses.patching import Patches
from fovea.doctor.watcher import Watcher

_MOST = 400  # sizes of pictures and parts
_ROUNDED_PX = 2.0  # by which the middle of a crop may lie off that of the picture
_MARK = "_fovea_cut"


class Cutting:
    """Writes down what is left of each picture that is cut down to its middle."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()
        self._known: dict[tuple[tuple[int, int], tuple[int, int], bool], Cut] = {}

    def install(self) -> None:
        """Begin to listen."""
        self._patches.wrap(PIL.Image.Image, "crop", self._around_crop)
        for name in ("resize", "convert"):
            self._patches.wrap(PIL.Image.Image, name, _handing_on)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()

    def _around_crop(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def heard(image: Image, *args: Any, **kwargs: Any) -> Image:
            part = real(image, *args, **kwargs)
            with contextlib.suppress(Exception):  # nobody's loading of pictures must fail for this
                self._cut(image, part, kwargs.get("box", args[0] if args else None))
            return part

        return heard

    def _cut(self, image: Image, part: Image, box: Any) -> None:
        if box is None:
            return
        (width, height), (left, top, right, bottom) = image.size, box
        inside = max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(bottom, height) - max(top, 0))
        centred = abs(left + right - width) <= 2 * _ROUNDED_PX and abs(top + bottom - height) <= 2 * _ROUNDED_PX
        whole, kept = getattr(image, _MARK, (image.size, 1.0))
        kept *= inside / max(1, width * height)
        setattr(part, _MARK, (whole, kept))
        key = (whole, part.size, centred)
        if key not in self._known and len(self._known) < _MOST:
            self._known[key] = Cut(*key, kept)
            self._watcher.record.cuts.append(self._known[key])
        if key in self._known:
            self._known[key].count += 1


def _handing_on(real: Callable[..., Any]) -> Callable[..., Any]:
    def heard(image: Image, *args: Any, **kwargs: Any) -> Image:
        other = real(image, *args, **kwargs)
        if other is not image:
            setattr(other, _MARK, getattr(image, _MARK, (image.size, 1.0)))
        return other

    return heard
