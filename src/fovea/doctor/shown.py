"""What a line of output says of accuracies and F1, read as people write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fovea.doctor.record import Phase, Place, Record, Shown
from fovea.doctor.senses.places import calling_place

Kind = Literal["accuracy", "f1"]

_MOST = 200  # kinds of figures
_KEPT = 8  # values of a kind

_NAME = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[AF]))(?P<name>(?i:accuracy|acc|f1))(?i:[ _-]?score)?(?:@1)?(?![A-Za-z@])"
_NUMBER = r"(?:tensor\(|np\.float\d+\(|\[)?(?P<value>\d+(?:\.\d+)?(?:e-?\d+)?)(?![\w.@])\s*(?P<after>%|(?:/|of)\s*\d+)?"
_WRITTEN = (
    re.compile(rf"{_NAME}\W{{0,40}}?{_NUMBER}"),  # acc 0.9
    re.compile(rf"{_NAME}[^:=|,;]{{0,60}}[:=]\s*{_NUMBER}"),  # accuracy on the 1000 test images: 90 %
)
_PHASES: tuple[tuple[Phase, re.Pattern[str]], ...] = (
    ("train", re.compile(r"train|tr(?=[ _./]|$)", re.IGNORECASE)),
    ("eval", re.compile(r"val|test|eval|dev(?![a-z])|hold|te(?=[ _./]|$)", re.IGNORECASE)),
)
_OF_OTHER_THINGS = re.compile(  # accuracies that are no share of all images, or not of this network
    r"balanced|macro|micro|weighted|per[ _-]|class|top[ _-]?\d|worst|mean|best|exact|robust|adv|line|chance|random|"
    r"major|target|k-?nn|neighbo|probe|linear|svm|logistic|forest|ensemble|vote|committee|tta|batch|pixel|within|tol",
    re.IGNORECASE,
)
_AROUND = 24  # characters that may say what a number is of


@dataclass(frozen=True)
class Figure:
    """A figure of a line.

    Attributes:
        kind: what it is.
        phase: of what, where the line says so.
        value: a share, 0 to 1.
        text: the part of the line that says so.
    """

    kind: Kind
    phase: Phase | None
    value: float
    text: str


def figures_in(line: str) -> Iterator[Figure]:
    """Yield the accuracies and F1 that a line tells; those of classes, of top 5 and the like are left out.

    >>> list(figures_in("epoch 3 | train acc 0.91 | val loss 0.4, val acc: 87.5%"))[1]
    Figure(kind='accuracy', phase='eval', value=0.875, text='val acc: 87.5%')
    >>> [(figure.phase, figure.value) for figure in figures_in("Accuracy of the network on the 1000 test images: 54 %")]
    [('eval', 0.54)]
    >>> list(figures_in("top-5 acc 0.99, balanced accuracy 0.7"))
    []
    """
    end = 0
    while matches := [found for way in _WRITTEN if (found := way.search(line, end))]:
        found = min(matches, key=lambda match: (match.start(), match.end()))
        before = _from_a_word(line[end : found.start()])
        said = before + line[found.start() : found.start("value")] + _parts(line[found.end() :][:_AROUND])[0]
        kind: Kind = "f1" if found["name"].lower().startswith("f1") else "accuracy"
        value = _share(float(found["value"]), found["after"] or "")
        if value is not None and not (kind == "accuracy" and _OF_OTHER_THINGS.search(said)):
            yield Figure(
                kind, _phase(line[: found.start("value")]), value, _parts(before)[-1].lstrip() + found[0].strip()
            )
        end = found.end()


def _from_a_word(before: str) -> str:
    """Return the last characters of a text, from the beginning of a word."""
    return before if len(before) <= _AROUND else before[-_AROUND - 1 :].partition(" ")[2]


def _parts(text: str) -> list[str]:
    """Return what stands between the signs that part figures."""
    return re.split(r"[|│,;{}()]|--", text)


def _share(value: float, after: str) -> float | None:
    if after.startswith(("/", "of")):
        whole = float(after.removeprefix("/").removeprefix("of"))
        value = value / whole if whole else -1.0
    elif after == "%" or value > 1:
        value /= 100
    return value if 0 <= value <= 1 else None


def _phase(before: str) -> Phase | None:
    """Return the phase that the text before a number speaks of last."""
    last = [(max((each.start() for each in pattern.finditer(before)), default=-1), phase) for phase, pattern in _PHASES]
    place, phase = max(last)
    return phase if place >= 0 else None


class Figures:
    """Writes down the last figures that each line of somebody's code has printed."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._known: dict[tuple[Place, int], Shown] = {}

    def add(self, line: str, *, step: int) -> None:
        """A line was printed after so many steps."""
        for number, figure in enumerate(figures_in(line)):
            where = calling_place()
            if where is None:
                return
            known = self._known.get((where, number))
            if known is None or (known.kind, known.phase) != (figure.kind, figure.phase):
                if len(self._record.shown) >= _MOST:
                    return
                known = self._known[where, number] = Shown(figure.kind, figure.phase, where)
                self._record.shown.append(known)
            known.text = figure.text
            known.values = [*known.values[1 - _KEPT :], (step, figure.value)]
