"""Images that show little: too dark, too bright, blurred, or with next to nothing in them.

Each image has a score, of which less is worse, and must fail twice to be named: beyond a fixed limit, and far below the
other images of this data. So the night sky, X-rays and digits on black are not dark, and a microscope that is never
quite in focus is not blurred; that the data as a whole is beyond a limit is said once, in a note. Where images differ
so much that nothing lies far below the rest, what is black, white or of one colour from edge to edge is named all the
same, unless half of the data is. The limits were set on photos with planted faults. Scores come from pictures of
128 px: what is blurred only at full size goes unnoticed, and so does any blur in images smaller than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fovea.core.findings import Finding
from fovea.core.wording import counted, listed
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.looks import COLOR_SIDE, SIDE

FAR = 3.75  # robust standard deviations below the median, of the scores' logarithms
FAR_ALONE = 5.0  # the same where most images are beyond the limit, so that it tells nothing
LEAST_IMAGES = 8  # of fewer, nothing is known of what is usual
COMMON = 0.1  # share of images beyond the limit but usual for this data, from which a note says so

DARK, DIM = 0.145, 0.3  # mean brightness, and the brightness that 99 % of the pixels are below
BLACK = 0.05  # mean brightness at which a few lights change nothing
BRIGHT = 0.69  # mean brightness
ALL_BLACK, ALL_WHITE, ALL_ALIKE = 0.02, 0.97, 0.02  # mean brightness, and the contrast that nothing exceeds there
BLURRY = 0.435  # sharpness
EMPTY = 0.02  # what is left of the colours when a smooth course over the picture is taken out, root mean square
EDGELESS = 0.009  # the same, of an image that has too little in it to be called blurred
NOTHING = 0.05  # share of a limit below which there is nothing at all to see
UNIFORM, UNIFORM_LEVELS = 0.05, 6  # share of pixels that differ by more than so many levels from the commonest one
NOISE = 8.0  # variance of the Laplacian over that of the brightness; photos have 0.1 to 3, white noise 20
_PLAIN_SIDES, _PLAIN_LEVELS, _CUTOUT_CONTRAST = 3, 3, 0.1  # a picture on white paper is not overexposed
_LEAST_SPREAD, _LEAST_SCORE = 0.03, 1e-3
_PIECE = 4096


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """How a fault is told: its code, what images are and which comes first, how many such look, what the score is."""

    code: str
    images_are: str
    first: str
    images_look: str
    measure: str
    threshold: float
    fix: str


_DARK = _Fault(
    code="dark",
    images_are="too dark to show much",
    first="the darkest",
    images_look="dark",
    measure="mean brightness, 0 to 1",
    threshold=DARK,
    fix="leave them out, or brighten them in the source where the pixels hold more than the eye sees",
)
_BRIGHT = _Fault(
    code="bright",
    images_are="overexposed or washed out",
    first="the brightest",
    images_look="bright",
    measure="mean brightness, 0 to 1",
    threshold=BRIGHT,
    fix="leave them out where the detail is lost; raise data.color_jitter if new images will be as bright",
)
_BLURRY = _Fault(
    code="blurry",
    images_are="blurred (out of focus, moved, or enlarged from few pixels)",
    first="the most blurred",
    images_look="soft",
    measure="steepness of the strongest edges at 128 px: 0.33 without edges, 0.76 a step",
    threshold=BLURRY,
    fix="leave them out where the class cannot be told; train with data.blur if new images will be as blurred",
)
_LITTLE = _Fault(
    code="low-information",
    images_are="next to empty",
    first="the emptiest",
    images_look="nearly empty",
    measure="how much there is to see, as a share of the limit",
    threshold=1.0,
    fix="leave them out",
)
_REASONS = ("nearly one colour or a smooth course of colours", "a plain ground with hardly anything on it", "noise")


@CHECKS.register("dark", summary="images too dark to show much")
def dark(subject: Subject) -> list[Finding]:
    """Judge by the mean brightness; an image with more than a few bright spots is not dark."""
    brightness = subject.looks.column("brightness")
    dim = (brightness <= DARK) & (subject.looks.column("bright_point") <= DIM)
    black = (brightness <= ALL_BLACK) & (subject.looks.column("contrast") <= ALL_ALIKE)
    return _findings(subject, _DARK, *_judged(brightness, dim | (brightness <= BLACK), black), brightness)


@CHECKS.register("bright", summary="images too bright to show much")
def bright(subject: Subject) -> list[Finding]:
    """Judge by the mean brightness; what stands before a plain ground is not overexposed."""
    brightness = subject.looks.column("brightness")
    grey = subject.looks.grey
    sides = np.stack([grey[:, :, 0], grey[:, 0], grey[:, :, -1], grey[:, -1]], axis=1)  # (N, 4, 64)
    plain = (sides.std(axis=2, dtype=np.float32) < _PLAIN_LEVELS).sum(axis=1) >= _PLAIN_SIDES
    contrast = subject.looks.column("contrast")
    cutout = plain & (contrast >= _CUTOUT_CONTRAST)
    white = (brightness >= ALL_WHITE) & (contrast <= ALL_ALIKE)
    return _findings(subject, _BRIGHT, *_judged(1 - brightness, (brightness >= BRIGHT) & ~cutout, white), brightness)


@CHECKS.register("blurry", summary="images out of focus, moved or enlarged from few pixels")
def blurry(subject: Subject) -> list[Finding]:
    """Judge by the steepness of edges; images without any, and those smaller than a look, are passed over."""
    short = subject.rows.select(side=pl.min_horizontal("width", "height"))["side"].fill_null(0).to_numpy()
    sharpness = np.where((short < SIDE) | (_content(subject) <= EDGELESS), np.nan, subject.looks.column("sharpness"))
    return _findings(
        subject, _BLURRY, *_judged(sharpness, sharpness <= BLURRY, np.zeros(len(subject), bool)), sharpness
    )


@CHECKS.register("low-information", summary="images that are empty, of one colour, or nothing but noise")
def low_information(subject: Subject) -> list[Finding]:
    """Judge by what is left without a smooth course of colours, by how little leaves the ground, and by noise."""
    contrast = np.maximum(subject.looks.column("contrast"), 1e-6)
    rough = 20 * (subject.looks.column("detail") / contrast) ** 2  # variance of the Laplacian over that of brightness
    measures = (_content(subject) / EMPTY, _off_ground(subject) / UNIFORM, NOISE / np.maximum(rough, 1e-6))
    scores = np.maximum(np.stack(measures, axis=1), _LEAST_SCORE)  # (N, reasons), all 1 at the limit
    judged = [_judged(score, score <= 1, score <= NOTHING) for score in scores.T]
    faulty, usual = (np.stack(marks, axis=1) for marks in zip(*judged, strict=True))
    is_faulty, is_usual = np.any(faulty, axis=1), np.any(usual, axis=1)
    relevant = np.where(np.where(is_faulty[:, None], faulty, usual), scores, np.inf)
    reasons = np.array(_REASONS)[relevant.argmin(axis=1)]
    return _findings(subject, _LITTLE, is_faulty, is_usual, relevant.min(axis=1), reasons=reasons)


def _content(subject: Subject) -> np.ndarray:
    """Return what no smooth course explains of each colour picture, 0 to 1, root mean square, (N,).

    The course is a quadratic function of place, fitted by least squares. Cells of the 16 x 16 picture average enough
    pixels for noise to vanish.
    """
    down, right = np.meshgrid(*[np.linspace(-1, 1, COLOR_SIDE)] * 2, indexing="ij")
    terms = np.stack([np.ones_like(down), down, right, down * right, down**2, right**2], axis=-1).reshape(-1, 6)
    basis = np.linalg.qr(terms)[0].astype(np.float32)  # (cells, 6)
    found = np.empty(len(subject))
    for start in range(0, len(subject), _PIECE):
        some_rows = slice(start, start + _PIECE)
        color = subject.looks.color[some_rows].astype(np.float32) / 255
        cells = color.reshape(len(color), -1, 3).transpose(0, 2, 1)  # (n,16,16,3) -> (n,3,cells)
        rest = cells - (cells @ basis) @ basis.T
        found[some_rows] = np.sqrt((rest**2).mean(axis=(1, 2)))
    return found


def _off_ground(subject: Subject) -> np.ndarray:
    """Return the share of each grey picture's pixels that are not of about the commonest grey, (N,)."""
    found = np.empty(len(subject))
    for start in range(0, len(subject), _PIECE):
        some_rows = slice(start, start + _PIECE)
        grey = subject.looks.grey[some_rows]
        places = grey.reshape(len(grey), -1) + 256 * np.arange(len(grey))[:, None]
        counts = np.bincount(places.ravel(), minlength=256 * len(grey)).reshape(-1, 256)
        sums = np.cumsum(np.pad(counts, ((0, 0), (UNIFORM_LEVELS + 1, UNIFORM_LEVELS))), axis=1)
        around = sums[:, 2 * UNIFORM_LEVELS + 1 :] - sums[:, : -2 * UNIFORM_LEVELS - 1]  # (n, 256)
        found[some_rows] = 1 - around.max(axis=1) / places.shape[1]
    return found


def _judged(scores: np.ndarray, beyond: np.ndarray, extreme: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part the images beyond the limit into those far below the rest and those that are usual for this data.

    Args:
        scores: (N,), less is worse, NaN where unknown.
        beyond: (N,) bool.
        extreme: (N,) bool: so far beyond the limit that the rest does not matter, unless most of it is so too.
    """
    known = np.isfinite(scores)
    if known.sum() < LEAST_IMAGES:
        return beyond & known, np.zeros_like(beyond)
    logs = np.log(np.maximum(scores, _LEAST_SCORE))
    median = np.median(logs[known])
    spread = max(1.4826 * float(np.median(np.abs(logs[known] - median))), _LEAST_SPREAD)
    far = median - logs > (FAR if beyond[known].mean() <= 0.5 else FAR_ALONE) * spread
    if extreme.mean() <= 0.5:
        far |= extreme
    return beyond & far, beyond & known & ~far


def _findings(
    subject: Subject,
    fault: _Fault,
    faulty: np.ndarray,
    usual: np.ndarray,
    scores: np.ndarray,
    *,
    reasons: np.ndarray | None = None,
) -> list[Finding]:
    """Return a warning that names the faulty images, and a note where the usual ones are many."""
    found = []
    if faulty.any():
        found.append(_named(subject, fault, faulty, scores, reasons))
    if len(subject) >= LEAST_IMAGES and usual.mean() > COMMON:
        median = float(np.nanmedian(scores[usual]))
        found.append(
            Finding(
                severity="note",
                code=fault.code,
                message=f"{counted(int(usual.sum()), 'image')} of {len(subject):,} are {fault.images_look}, which is "
                f"usual for this data, so they are not named one by one ({fault.measure}; their median is "
                f"{median:.2g}, the limit {fault.threshold:g})",
                fix="nothing, if new images will be like that",
                evidence={"images": int(usual.sum()), "median": round(median, 4), "threshold": float(fault.threshold)},
            )
        )
    return found


def _named(
    subject: Subject, fault: _Fault, faulty: np.ndarray, scores: np.ndarray, reasons: np.ndarray | None
) -> Finding:
    rows = np.flatnonzero(faulty)
    worst_first = -scores[rows] if fault is _BRIGHT else scores[rows]
    rows = rows[np.argsort(worst_first, kind="stable")]
    more: Mapping[str, Any] = {}
    what = fault.images_are + (f", {fault.first} first" if len(rows) > 1 else "")
    if reasons is not None:
        counts = Counter(reasons[rows].tolist()).most_common()
        what += f": {listed([f'{reason} ({count:,})' for reason, count in counts])}"
        more = {"counts": dict(counts), "reasons": reasons[rows].tolist()}
    return Finding(
        severity="warning",
        code=fault.code,
        message=f"{counted(len(rows), 'image')} of {len(subject):,} {'is' if len(rows) == 1 else 'are'} {what}",
        fix=fault.fix,
        evidence={
            "images": len(rows),
            "measure": fault.measure,
            "threshold": float(fault.threshold),
            "scores": [round(float(score), 4) for score in scores[rows]],
            **more,
        },
        files=subject.named(rows, limit=None),  # the proposal acts on each
    )
