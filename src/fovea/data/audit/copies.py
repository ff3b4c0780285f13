"""Which images are copies of each other, and which show the same scene: candidates by signature, proof by alignment.

Copies: the same photo, perhaps rescaled, recompressed, cropped a little, bordered, brightened, mirrored, turned by a
few degrees or overprinted, and photos so alike that it makes no difference. Same scene: photos taken one after the
other, or the same arrangement from another spot. Both come as groups: what is linked, over any number of steps, belongs
together. No file is opened; everything follows from looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from fovea.data.audit.alignment import Fit, align
from fovea.data.audit.corners import Pictures, find_corners
from fovea.data.audit.grouped import Advance, Copies
from fovea.data.audit.lookalikes import nearest
from fovea.data.audit.overlays import Guess, overlay
from fovea.data.audit.signatures import insides, mirrored, signatures
from fovea.data.audit.threads import side_by_side
from fovea.data.looks import Looks

# Calibrated on grocery photos and 33 kinds of copies of them (bench/audit.py repeats it).
_NEIGHBOURS = 6
_LEAST_COSINE = 0.38  # 99 in 100 pairs of unrelated photos are less alike
_LEAST_CORRELATION, _TINY_CORRELATION = 0.70, 0.97  # of the first guess; 99 in 100 copies are above 0.9
_COPY, _SCENE = 0.90, 0.70  # lower quartile of the blocks for a copy, their median for a scene
_LEAST_DETAIL, _LEAST_OVERLAP = 6, 0.45
# of overprinted copies: lower quartile and median, share of the area that has changed, and how far one way
_OVERPRINTED, _STILL_ALIKE, _PRINT_SHARE, _ONE_WAY = 0.45, 0.78, 0.45, 0.6
_SIMPLE, _IN_PLACE = 15.5, 0.05  # blocks that few outlines fill; half sides that copies of such pictures may be off by
_ROUGH = 0.005  # what photos, even of cells through a microscope, have; enlarged thumbnails have less
_SMOOTH = 0.995  # correlation that makes pictures without fine structure copies
_TINY_PX, _TINY = 32, 0.999  # images with a shorter side are all coarse structure, and must agree to this
_ROUNDS = 4
_PAIRED = 1 << 17  # rows whose pairs are made together
_OVERLAID, _ALIGNED = 2048, 768  # pairs between two reports of progress


class _Links(NamedTuple):
    """Verified pairs of rows: (P, 2), and whether each is a copy; the others show the same scene."""

    pairs: np.ndarray
    copy: np.ndarray


def find_copies(
    looks: Looks,
    digests: Sequence[str | None],
    sides_px: np.ndarray,
    *,
    seed: int = 0,
    advance: Advance | None = None,
) -> Copies:
    """Group images by what they show.

    Args:
        looks: at N images.
        digests: of their bytes; None where unknown.
        sides_px: their shorter sides (N,).
        seed: of the search among very many images.
        advance: told (label, done, total).
    """
    total, same = len(looks), _same(digests)
    exact_pairs = np.stack([np.arange(total), same], axis=1)[same != np.arange(total)]
    rims = np.stack([looks.column(f"rim_{side}") for side in ("left", "top", "right", "bottom")], axis=1)
    rims = np.nan_to_num(rims).astype(np.float32)
    links = _search(looks.grey, rims, sides_px < _TINY_PX, np.unique(same), seed, advance or _untold)
    near = np.concatenate([exact_pairs, links.pairs[links.copy]])
    scene = np.concatenate([exact_pairs, links.pairs])
    return Copies(*(_groups(pairs, total) for pairs in (exact_pairs, near, scene)))


def group_pictures(grey: np.ndarray, *, side_px: int) -> np.ndarray:
    """Return the number of the group of copies that each picture belongs to, -1 where it is alone (N,).

    Args:
        grey: pictures without borders, (N, 64, 64) uint8.
        side_px: the shorter side of what they were made from.
    """
    total = len(grey)
    tiny, rims = np.full(total, side_px < _TINY_PX), np.zeros((total, 4), np.float32)
    links = _search(grey, rims, tiny, np.arange(total), 0, _untold)
    return _groups(links.pairs[links.copy], total)


def _untold(label: str, done: int, total: int) -> None:
    """Tell nobody."""


def _same(digests: Sequence[str | None]) -> np.ndarray:
    """Return for each digest (N,) the first row that has it too; its own where it is unknown."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(key or f"row {row}", row) for row, key in enumerate(digests)], dtype=np.int64)


def _search(
    grey: np.ndarray, rims: np.ndarray, tiny: np.ndarray, rows: np.ndarray, seed: int, advance: Advance
) -> _Links:
    """Link rows with different bytes.

    An image with more copies than it has neighbours may never see the other half of them. So the groups found are
    looked at again, one image standing for each, until nothing more comes together.
    """
    total = len(grey)
    pictures = find_corners(grey, rims)
    pairs, copy = np.empty((0, 2), np.int64), np.empty(0, bool)
    tried = np.empty(0, np.int64)
    for _ in range(_ROUNDS):
        candidates = _candidates(pictures, rims, rows, seed, advance)
        if len(tried):
            candidates = candidates[~np.isin(candidates, tried)]
        tried = np.concatenate([tried, candidates])
        is_copy, is_scene = _verify(pictures, rims, tiny, candidates, advance)
        pairs = np.concatenate([pairs, _decoded(candidates[is_scene], total)[:, :2]])
        copy = np.concatenate([copy, is_copy[is_scene]])
        groups = _groups(pairs[copy], total)
        sizes = np.bincount(groups[groups >= 0], minlength=1)
        if not is_copy.any() or sizes.max() <= _NEIGHBOURS:
            break
        degree = np.bincount(pairs[copy].ravel(), minlength=total)
        by_degree = rows[np.argsort(-degree[rows], kind="stable")]
        _, leading = np.unique(groups[by_degree], return_index=True)
        rows = np.union1d(by_degree[leading], rows[groups[rows] < 0])
    return _Links(pairs, copy)


def _candidates(pictures: Pictures, rims: np.ndarray, rows: np.ndarray, seed: int, advance: Advance) -> np.ndarray:
    """Return pairs of rows that look alike, each as one number (`_decoded`): a million pictures have many, (P,)."""
    found = signatures(pictures.of(rows), rims[rows])
    total, keys = len(pictures), [np.empty(0, np.int64)]
    for flipped, variant in enumerate((None, mirrored)):

        def told(done: int, of: int, flipped: int = flipped) -> None:
            advance("looking for copies", flipped * of + done, 2 * of)

        others, cosines = nearest(found, count=_NEIGHBOURS, variant=variant, seed=seed, advance=told)
        for start in range(0, len(rows), _PAIRED):
            some = slice(start, start + _PAIRED)
            asker, place = np.nonzero((others[some] >= 0) & (cosines[some] >= _LEAST_COSINE))
            one, other = rows[some][asker], rows[others[some][asker, place]]
            keys.append((np.minimum(one, other) * total + np.maximum(one, other)) * 2 + flipped)
        del others, cosines
    del found  # a million pictures leave no room for it beside what follows
    return np.unique(np.concatenate(keys))


def _decoded(candidates: np.ndarray, total: int) -> np.ndarray:
    """Return pairs of rows, the smaller first, and 1 where the second is to be mirrored: (P,) -> (P, 3)."""
    pairs, flips = np.divmod(candidates, 2)
    return np.stack([*np.divmod(pairs, total), flips], axis=1)


def _verify(
    pictures: Pictures, rims: np.ndarray, tiny: np.ndarray, candidates: np.ndarray, advance: Advance
) -> tuple[np.ndarray, np.ndarray]:
    """Return which candidates are copies and which show one scene, each (P,); within a known group, neither."""
    is_copy, is_scene = np.zeros((2, len(candidates)), bool)
    places, guess = _guessed(pictures, rims, tiny, candidates, advance)
    rows = _decoded(candidates[places], len(pictures))
    waiting = np.argsort(-guess.correlation, kind="stable")  # surest first: what they join need not be aligned
    total = len(waiting)
    while len(waiting):
        some, waiting = waiting[:_ALIGNED], waiting[_ALIGNED:]
        one = rows[some, 0]
        second, second_rims = _seconds(pictures, rims, rows[some, 1:])
        fit = align(pictures[one], second, rims[one], second_rims, guess.maps[some])
        is_copy[places[some]], is_scene[places[some]] = _judge(fit, tiny[rows[some, :2]].any(axis=1))
        groups = _groups(rows[is_copy[places], :2], len(pictures))
        one, other = groups[rows[waiting, :2]].T
        waiting = waiting[(one < 0) | (one != other)]
        advance("aligning look-alikes", total - len(waiting), total)
    return is_copy, is_scene


def _guessed(
    pictures: Pictures, rims: np.ndarray, tiny: np.ndarray, candidates: np.ndarray, advance: Advance
) -> tuple[np.ndarray, Guess]:
    """Return the candidates that may be copies or one scene by a first guess, as places (M,), and the guess of each.

    Written into place: results kept one by one lie between the large arrays of the work and pin the heap's pages.
    Memory that is never written to is never taken.
    """
    places = np.empty(len(candidates), np.int64)
    guess = Guess(np.empty(len(candidates), np.float32), np.empty((len(candidates), 2, 3), np.float32))
    chunks = [slice(start, start + _OVERLAID) for start in range(0, len(candidates), _OVERLAID)]
    found = side_by_side(lambda chunk: _overlay(pictures, rims, _decoded(candidates[chunk], len(pictures))), chunks)
    count = 0
    for chunk, (correlation, maps) in zip(chunks, found, strict=True):
        pairs = _decoded(candidates[chunk], len(pictures))[:, :2]
        least = np.where(tiny[pairs].any(axis=1), _TINY_CORRELATION, _LEAST_CORRELATION)
        kept = np.flatnonzero(correlation >= least)
        room = slice(count, count + len(kept))
        places[room], guess.correlation[room], guess.maps[room] = chunk.start + kept, correlation[kept], maps[kept]
        count += len(kept)
        advance("comparing look-alikes", min(chunk.stop, len(candidates)), len(candidates))
    return places[:count], Guess(guess.correlation[:count], guess.maps[:count])


def _overlay(pictures: Pictures, rims: np.ndarray, candidates: np.ndarray) -> Guess:
    """Guess how candidates lie over each other; what several of them share is prepared once."""
    firsts, left = np.unique(candidates[:, 0], return_inverse=True)
    seconds, right = np.unique(candidates[:, 1:], axis=0, return_inverse=True)
    first = insides(pictures[firsts], rims[firsts])
    second = insides(*_seconds(pictures, rims, seconds))
    return overlay(first, second, np.stack([left, right.reshape(-1)], axis=1))


def _seconds(pictures: Pictures, rims: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures and borders of second images, mirrored where the second column of (P, 2) says so."""
    rows, flip = seconds[:, 0], seconds[:, 1] == 1
    seen, borders = pictures[rows], rims[rows]
    seen[flip], borders[flip] = seen[flip][:, :, ::-1], borders[flip][:, [2, 1, 0, 3]]
    return seen, borders


def _judge(fit: Fit, tiny: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs are copies and which show one scene (copies do), each (P,)."""
    detailed = (fit.detail >= _LEAST_DETAIL) & (fit.overlap >= _LEAST_OVERLAP) & ~tiny
    needed = np.where(tiny, _TINY, _SMOOTH)
    smooth = ~detailed & ((fit.detail < _LEAST_DETAIL) | tiny) & (fit.correlation >= needed) & (fit.overlap >= 0.9)
    overprinted = (fit.lower >= _OVERPRINTED) & (fit.middle >= _STILL_ALIKE)
    overprinted &= (fit.changed <= _PRINT_SHARE) & (fit.one_way >= _ONE_WAY)
    # one outline can be drawn out over another, and a part of it over the whole
    simple = (fit.spread < _SIMPLE) | (fit.roughness < _ROUGH)
    copy = detailed & ((fit.lower >= _COPY) | overprinted) & (~simple | (fit.moved <= _IN_PLACE)) | smooth
    return copy, copy | detailed & ~simple & (fit.middle >= _SCENE)


def _groups(pairs: np.ndarray, total: int) -> np.ndarray:
    """Number the connected groups of two and more rows from 0, in order of their first row; -1 for rows alone."""
    graph = scipy.sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(total, total))
    labels = connected_components(graph, directed=False)[1]
    sizes = np.bincount(labels, minlength=1)
    alone = sizes[labels] < 2
    _, numbers = np.unique(labels[~alone], return_inverse=True)
    found = np.full(total, -1, np.int64)
    found[~alone] = numbers
    return found
