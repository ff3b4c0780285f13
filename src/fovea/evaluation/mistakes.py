"""Where the model goes wrong, with the images that show it: confused pairs and confident errors.

Picks the images; the judgement itself is in `fovea.metrics`, thumbnails are made in `thumbnails`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.core import matrix
from fovea.core.canvas import LABELLED_CLASSES
from fovea.core.report import Block, Figure, Gallery, Picture, Prose, Section
from fovea.core.wording import counted, listed, percent
from fovea.evaluation.thumbnails import thumbnail

Array = NDArray[Any]

PAIRS = 8
ERRORS = 24
_WRONG_SHOWN, _RIGHT_SHOWN = 6, 3


@dataclass(frozen=True)
class Pair:
    """A class that is taken for another one.

    Args:
        truth, predicted: the two classes.
        wrong: images of `truth` taken for `predicted`, most confident first.
        right: images of `predicted` recognised, most confident first: what the model expects to see.
        support: how many images of `truth` there are.
    """

    truth: int
    predicted: int
    wrong: list[int]
    right: list[int]
    support: int


def confused_pairs(probabilities: Array, targets: Array, *, limit: int = PAIRS) -> list[Pair]:
    """Return the pairs (truth, predicted) with the most images, most first; ties go to the more confident.

    >>> scores = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    >>> [(pair.truth, pair.predicted, pair.wrong) for pair in confused_pairs(scores, np.array([0, 0, 1]))]
    [(0, 1, [0, 1])]
    """
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    keys: dict[tuple[int, int], list[int]] = {}
    for index in wrong[np.argsort(-confidence[wrong], kind="stable")]:
        keys.setdefault((int(targets[index]), int(predicted[index])), []).append(int(index))
    ranked = sorted(keys, key=lambda key: (-len(keys[key]), -float(confidence[keys[key]].mean())))[:limit]
    pairs = []
    for truth, taken_for in ranked:
        known = np.flatnonzero((targets == taken_for) & (predicted == taken_for))
        right = [int(index) for index in known[np.argsort(-confidence[known], kind="stable")]]
        support = int((targets == truth).sum())
        pairs.append(Pair(truth, taken_for, keys[truth, taken_for], right, support))
    return pairs


def confident_errors(probabilities: Array, targets: Array, *, limit: int = ERRORS) -> list[int]:
    """Return the images that the model was surest about and wrong, surest first.

    Args:
        probabilities: (N, C).
        targets: (N,) class ids, or (N, C) zeros and ones where an image may have several labels; then an image counts
            by its worst label.
    """
    if targets.ndim == 2:
        sureness = np.abs(probabilities - targets).max(axis=1)
        wrong = ((probabilities >= 0.5) != targets).any(axis=1)
    else:
        sureness = probabilities.max(axis=1)
        wrong = probabilities.argmax(axis=1) != targets
    order = np.argsort(-sureness, kind="stable")
    return [int(index) for index in order if wrong[index]][:limit]


def mistakes_section(
    *,
    classes: Sequence[str],
    confusion: Array | None,
    probabilities: Array,
    targets: Array,
    paths: Sequence[Path | str],
) -> Section | None:
    """Return the section with the confusion matrix, the confused pairs and the most confident errors.

    Args:
        confusion: (C, C), or None where an image may have several labels.
        paths: (N,) of the judged images; empty leaves the pictures out.
    """
    blocks: list[Block] = []
    errors = confident_errors(probabilities, targets)
    if not errors:
        return None
    if confusion is not None:
        pairs = confused_pairs(probabilities, targets)
        blocks += [_matrix(confusion, classes, pairs)]
        if paths:
            blocks += [
                _strip(number, pair, classes, paths, probabilities) for number, pair in enumerate(pairs, start=1)
            ]
    if paths:
        pictures = [_error(index, classes, probabilities, targets, paths) for index in errors]
        shown = [picture for picture in pictures if picture is not None]
        note = "Look here for wrong labels, unclear pictures, and for what the model has not understood."
        if shown:
            blocks.append(Gallery(shown, title="Surest mistakes", note=note))
    lead = "What is taken for what, and the images on which the model was sure and wrong."
    return Section("Mistakes", blocks, lead=lead)


def _matrix(confusion: Array, classes: Sequence[str], pairs: Sequence[Pair]) -> Figure:
    occur = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))  # an empty row and column tell nothing
    shown, place = confusion[np.ix_(occur, occur)], {int(index): row for row, index in enumerate(occur)}
    marks = [(place[pair.truth], place[pair.predicted]) for pair in pairs]
    names = [classes[index] for index in occur.tolist()]
    drawing = matrix.confusion(shown, names, order=matrix.cluster(shown), marks=marks)
    text = [
        "Blue: right, orange: mistakes; the stronger, the more images (logarithmic for mistakes).",
        "The numbers mark the pairs below." if len(occur) > matrix.COUNTED_CLASSES else "",
        "Classes that are taken for each other stand together." if len(occur) > LABELLED_CLASSES else "",
        f"{len(classes) - len(occur)} classes that occur neither way are left out."
        if len(occur) < len(classes)
        else "",
    ]
    named = listed(
        [f"{classes[pair.truth]} taken for {classes[pair.predicted]} ({len(pair.wrong)})" for pair in pairs[:3]]
    )
    alt = f"Confusion matrix of {len(classes)} classes. Most frequent mistakes: {named}."
    return Figure(drawing, " ".join(part for part in text if part), alt)


def _strip(
    number: int, pair: Pair, classes: Sequence[str], paths: Sequence[Path | str], probabilities: Array
) -> Gallery | Prose:
    truth, predicted = classes[pair.truth], classes[pair.predicted]
    title = f"{number} · {truth} taken for {predicted}"
    note = f"{len(pair.wrong)} of {counted(pair.support, 'image')}"
    pictures = []
    for index in pair.wrong[:_WRONG_SHOWN]:
        if small := thumbnail(paths[index]):
            sure = percent(probabilities[index].max())
            alt = f"{truth}, taken for {predicted}: {Path(paths[index]).name}"
            pictures.append(Picture(small, "", sure, alt=alt, tone="bad"))
    for index in pair.right[:_RIGHT_SHOWN]:
        if small := thumbnail(paths[index]):
            alt = f"{predicted}, recognised: {Path(paths[index]).name}"
            pictures.append(Picture(small, "", alt=alt, tone="good"))
    if not pictures:
        return Prose(f"{title}: {note}.")
    if pair.right:
        note += f"; ringed green, {predicted} as the model knows it"
    return Gallery(pictures, title=title, note=note, strip=True)


def _error(
    index: int, classes: Sequence[str], probabilities: Array, targets: Array, paths: Sequence[Path | str]
) -> Picture | None:
    small = thumbnail(paths[index])
    if small is None:
        return None
    said, truth = _said_and_true(classes, probabilities[index], targets[index])
    file = "/".join(Path(paths[index]).parts[-3:])
    return Picture(small, said, truth, file=file, alt=f"{said}; {truth}")


def _said_and_true(classes: Sequence[str], probabilities: Array, target: Array) -> tuple[str, str]:
    if np.ndim(target) == 0:
        best = int(probabilities.argmax())
        return f"{classes[best]} {percent(probabilities[best])}", f"labelled {classes[int(target)]}"
    worst = int(np.abs(probabilities - target).argmax())
    verb = "misses" if target[worst] else "says"
    labels = [name for name, given in zip(classes, target, strict=True) if given]
    said = f"{verb} {classes[worst]} {percent(probabilities[worst])}"
    return said, f"labelled {listed(labels)}" if labels else "labelled with nothing"
