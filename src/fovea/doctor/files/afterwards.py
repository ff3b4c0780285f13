"""A second look at some of the files, once the training is over: what of each a network was given, and how it is kept.

Files are decoded at reduced scale, within a budget of time. Inputs whose file is not known (all were read before the
training began) are recognised by their picture, where it is beyond doubt.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fovea.core.errors import DataError
from fovea.data.decoding import opened, orientation, to_rgb
from fovea.data.looks import Look
from fovea.data.measure import measure, see
from fovea.doctor.files.linking import FileWatch, Kept
from fovea.doctor.files.seen import Box, SeenFiles, Shown, Stored
from fovea.doctor.files.windows import SIDE, Picture, Window, find_window, inside, resized, turned, unit
from fovea.doctor.record import Phase

_COMPARED = 48  # inputs of each phase
_ENOUGH = 12  # of each phase, even if that takes more than the budget
_STORED = 400  # training files
_PATIENCE_S = 8.0  # of each look, even if files come slowly
_MOST_PIXELS = 60_000_000
_DECODED_PX = 256  # shorter side
_RECOGNISED = 0.97  # likeness of an input to its file
_DOUBT = 0.03  # by which no other file may come as near
_RECOGNISED_PX = 64  # shorter side
_TRIED = 300  # files, likewise
_FOUND = {"whole": 0.8, "centred": 0.8, "elsewhere": 0.9}  # likeness from which a part is believed to be the one
_SHARES = (1.0, 0.94, 0.88, 0.82, 0.76)  # of a side that is left by the usual ways of cropping
_PATCH = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, by which readers make grey of colours
_MEAN = np.full(3, 1 / 3, np.float32)


def look_at_files(watch: FileWatch, *, budget_s: float) -> SeenFiles:
    """Return what files tell.

    Args:
        watch: what is known of the files.
        budget_s: of computing, for each of three looks: whose files are whose, what was shown, how files are kept.
    """
    seen = SeenFiles(opened=len(watch.sizes), judged=list(watch.judged.values()))
    kept: dict[Phase, list[Kept]] = {"train": watch.kept("train"), "eval": watch.kept("eval")}
    clock = _Clock(budget_s)
    if any(each.path is None for each in itertools.chain(*kept.values())):
        kept = _recognise(kept, sorted(watch.sizes), clock)
        for each in kept["train"]:
            if each.path is not None and each.label is not None:
                watch.labels.setdefault(each.path, each.label)
        clock = _Clock(budget_s)
    for number, (phase, each) in enumerate(_alternating({phase: _distinct(kept[phase]) for phase in kept})):
        if clock.over(enough=number >= 2 * _ENOUGH):
            break
        found = _shown(each)
        if found is None:
            continue
        if found.likeness >= _FOUND[found.kind]:
            seen.shown[phase].append(found)
        else:
            seen.unlike[phase] += 1
    seen.stored = list(_stored(watch, _Clock(budget_s)))
    return seen


class _Clock:
    """A budget of computing time, and how long it may be overdrawn for what is enough."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._computed, self._began = time.thread_time(), time.perf_counter()

    def over(self, *, enough: bool) -> bool:
        spent = time.thread_time() - self._computed > self._budget_s
        return (spent and enough) or time.perf_counter() - self._began > _PATIENCE_S


def _distinct(kept: list[Kept]) -> list[Kept]:
    """Return inputs of different files, spread over the training, at most so many as are compared."""
    last = list({each.path: each for each in kept if each.path is not None}.values())
    places = np.linspace(0, len(last) - 1, min(len(last), _COMPARED)).round().astype(int)
    rng = np.random.default_rng(0)  # so that a budget that ends early leaves no class out
    return [last[place] for place in rng.permutation(places)]


def _alternating(kept: dict[Phase, list[Kept]]) -> Iterator[tuple[Phase, Kept]]:
    for pair in itertools.zip_longest(*([(phase, each) for each in kept[phase]] for phase in kept)):
        yield from (each for each in pair if each is not None)


def _decoded(path: str, *, shorter_px: int = _DECODED_PX) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Return the pictures (H, W, 3) as which a file may be read, at reduced scale, and its width and height."""
    with opened(Path(path), _MOST_PIXELS) as image:
        size = image.size
        image.draft(None, (shorter_px, shorter_px))
        as_people_see = to_rgb(image)  # upright, on white, of 16 bits the upper 8
        plain = image.mode not in ("RGB", "L", "1", "CMYK", "YCbCr") or orientation(image) != 1
        ways = [as_people_see]
        if plain and not image.mode.startswith(("I", "F")):
            ways.insert(0, np.asarray(image.convert("RGB")))
    return ways, size


def _shown(kept: Kept) -> Shown | None:
    """Return what an input shows of its file; None where that is no image any more."""
    assert kept.path is not None
    try:
        ways, size = _decoded(kept.path)
    except DataError:
        return None
    given, weights = _grey(kept.picture)
    best: tuple[Window, np.ndarray, tuple[int, int]] | None = None
    for pixels in ways:
        lies = size if (pixels.shape[1] >= pixels.shape[0]) == (size[0] >= size[1]) else size[::-1]
        window = find_window(given, Picture(pixels @ weights, lies), input_size=kept.input_size)
        if best is None or window.likeness > best[0].likeness + 0.01:
            best = window, pixels, lies
    assert best is not None
    window, pixels, size = best
    width, height = window.content.size(kept.input_size)
    if window.turn // 2 % 2:
        width, height = height, width
    across, down = width / window.box.size(size)[0], height / window.box.size(size)[1]
    return Shown(
        path=kept.path,
        size=size,
        input_size=kept.input_size,
        box=window.seen,
        kind=window.kind,
        likeness=window.likeness,
        stretch=across / down,
        enlarged=min(across, down),
        colors=_colors(kept, window, pixels) if kept.picture.shape[2] == 3 else None,
    )


def _grey(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an input in grey (SIDE, SIDE), and the weights of red, green and blue that make its file as grey."""
    rows = picture.astype(np.float32).reshape(SIDE * SIDE, -1).T
    if len(rows) == 1 or min(float(unit(rows[0]) @ unit(row)) for row in rows) > 0.999:
        return rows.mean(axis=0).reshape(SIDE, SIDE), _LUMA
    return rows.mean(axis=0).reshape(SIDE, SIDE), _MEAN


def _colors(kept: Kept, window: Window, pixels: np.ndarray) -> np.ndarray:
    """Return the colours of an input and of its file at the same places, (2, 64, 3)."""
    whole = Box(0, 0, 1, 1)
    content = inside(kept.picture.astype(np.float32), window.content)
    planes = [resized(Image.fromarray(content[..., place].copy()), whole, (SIDE, SIDE)) for place in range(3)]
    lying = turned(np.stack(planes, axis=2))[window.turn]
    given = [resized(Image.fromarray(lying[..., place].copy()), whole, (_PATCH, _PATCH)) for place in range(3)]
    file = resized(Image.fromarray(pixels), window.box, (_PATCH, _PATCH))
    return np.stack([np.stack(given, axis=2), file]).reshape(2, -1, 3).astype(np.float32)


def _recognise(kept: dict[Phase, list[Kept]], paths: list[str], clock: _Clock) -> dict[Phase, list[Kept]]:
    """Find the files of inputs by their pictures: all of each or its middle, as it is or mirrored."""
    places = [(phase, place) for phase, some in kept.items() for place, each in enumerate(some) if each.path is None]
    greys = [_grey(kept[phase][place].picture) for phase, place in places]
    rows = np.stack([unit(grey) for grey, _ in greys])
    weights = _LUMA if all(weights is _LUMA for _, weights in greys) else _MEAN
    best, second = np.full(len(places), -1.0), np.full(len(places), -1.0)
    owner = np.full(len(places), -1)
    for tried, number in enumerate(np.random.default_rng(0).permutation(len(paths))):
        if clock.over(enough=tried >= _TRIED):
            break
        try:
            ways, _ = _decoded(paths[number], shorter_px=_RECOGNISED_PX)
        except DataError:
            continue
        likeness = (rows @ np.stack([cut for pixels in ways for cut in _cuts(pixels @ weights)]).T).max(axis=1)
        second = np.maximum(second, np.minimum(best, likeness))
        owner = np.where(likeness > best, number, owner)
        best = np.maximum(best, likeness)
    known = {phase: list(some) for phase, some in kept.items()}
    for row in np.flatnonzero((best > _RECOGNISED) & (best > second + _DOUBT)):
        phase, place = places[row]
        known[phase][place] = replace(known[phase][place], path=paths[owner[row]])
    return known


def _cuts(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a file in grey (H, W) as the usual ways of preparing it show it, as rows of length 1."""
    height, width = pixels.shape
    picture = Picture(pixels, (width, height))
    across, down = min(1.0, height / width), min(1.0, width / height)
    for share in _SHARES:
        for wide, tall in ((share, share), (share * across, share * down)):
            cut = picture.cut(Box((1 - wide) / 2, (1 - tall) / 2, (1 + wide) / 2, (1 + tall) / 2), SIDE)
            yield unit(cut)
            yield unit(cut[:, ::-1])


def _stored(watch: FileWatch, clock: _Clock) -> Iterator[Stored]:
    """Yield how training files with known labels are kept, drawn at random."""
    paths = sorted(watch.labels)
    for number, place in enumerate(np.random.default_rng(0).permutation(len(paths))[:_STORED]):
        if clock.over(enough=number >= 6 * _ENOUGH):
            return
        path = paths[place]
        try:
            probe, stored, pixels = see(Path(path), max_pixels=_MOST_PIXELS)
            size_bytes = Path(path).stat().st_size
        except (DataError, OSError):
            continue
        measured = measure(pixels[None])
        look = Look(stored, measured.numbers[0], measured.grey[0], measured.color[0])
        yield Stored(path, watch.labels[path], probe.width, probe.height, size_bytes, look)
