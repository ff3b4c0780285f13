"""Shortcuts by background: the border of an image gives its class away.

Two things are looked for. One place in the border that has the same colour in many images of one class and in hardly
any other: a frame, a table, a logo in a corner. And a border from which a classifier tells the classes as well as from
the middle: it is fitted twice, on a ring of 12.5 % around the image and on as many cells in its middle, and asked about
held-out images. In honest photographs the ring tells something too (shelves, fields, water), so what counts is how much
more than the middle it tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fovea.core.findings import Finding, Severity
from fovea.core.wording import listed, percent
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.audit.crossval import Task, interval, tasks
from fovea.data.audit.threads import side_by_side
from fovea.data.looks import COLOR_SIDE

_SAMPLE, _FOLDS, _TREES = 10_000, 3, 40
_TRIED = 8  # features at each node; the usual 20 tell a point or two more and take half as long again
_LABELS = 10  # of multi-label data that are tried
_MOST_CLASSES = 100  # that the classifier learns; a forest's leaves hold a number for each
_CLASS_IMAGES = 20
_Z = 3.0  # standard errors: hundreds of places are tried
_RECALL, _PRECISION = 0.4, 0.9  # of a place. In honest grocery photos the best of 112 places has 0.32 and 1.0
_STEPS = (16, 32)  # levels within which a colour counts as the same
# Calibrated on grocery, whole and in random parts of 2 to 15 classes: the ring gains 0.36 to 0.83 and at most 0.04 more
# than the middle. With a frame, a cloth or a logo of their own on 60 % of each class's images, up to 0.38 more.
_GAIN, _AHEAD = 0.3, 0.1
_ALONE = 0.9  # at least: the ring needs no middle
_NOTE_GAIN, _NOTE_PART = 0.5, 0.9
_EXAMPLES = 8
_FIX = (
    "photograph every class on the same backgrounds, or crop to the object and remove frames and logos; then validate "
    "on images with other backgrounds"
)
_NOTE_FIX = "none needed if the classes fill the image; else crop to the object, or validate on other backgrounds"


@dataclass(frozen=True, eq=False, kw_only=True)
class _Place:
    """A cell of the border whose colour gives one class away."""

    label: int  # position of the class in the task's classes
    where: str
    color: tuple[int, int, int]
    recall: float  # share of the class's images that have the colour there
    precision: float  # share of the class among the images that have it
    rows: np.ndarray  # of the class that have it


@dataclass(frozen=True, eq=False, kw_only=True)
class _Verdict:
    """What ring and middle tell of one task's held-out images."""

    task: Task
    places: list[_Place]
    ring: float  # accuracies
    middle: float
    majority: float
    least: float  # lower bound of the ring's accuracy
    ahead: float  # lower bound of ring less middle
    best: list[tuple[str, float, float]]  # class, share found from the ring, from the middle
    rows: np.ndarray  # of those classes, found from the ring alone

    def gain(self, accuracy: float) -> float:
        """Return by how much of what is possible an accuracy is better than that of the commonest class."""
        return (accuracy - self.majority) / max(1 - self.majority, 1e-9)

    @property
    def severity(self) -> Severity | None:
        ring, middle = self.gain(self.ring), self.gain(self.middle)
        ahead = ring >= _GAIN and ring - middle >= _AHEAD and self.ahead > 0
        if self.places or ahead or (self.gain(self.least) >= _ALONE and ring >= middle - 0.02):
            return "warning"
        return "note" if ring >= _NOTE_GAIN and ring >= _NOTE_PART * middle else None


@CHECKS.register("background-shortcut", summary="image borders that give the class away")
def background_shortcut(subject: Subject) -> list[Finding]:
    """Return at most one finding: about the classes, or about the label that borders give away most."""
    asked = tasks(subject, folds=_FOLDS, limit=_SAMPLE, labels=_LABELS, fewest=_CLASS_IMAGES)
    verdicts = [verdict for task in asked if (verdict := _judge(subject, task)) and verdict.severity]
    if not verdicts:
        return []
    worst = max(verdicts, key=lambda verdict: (verdict.severity == "warning", verdict.gain(verdict.ring)))
    return [_finding(subject, worst)]


def _judge(subject: Subject, task: Task) -> _Verdict | None:
    """Return the verdict, or None where there are too few images to tell anything."""
    counts = np.bincount(task.labels[task.rows])
    learnt = np.argsort(-counts, kind="stable")[:_MOST_CLASSES]
    use = np.isin(task.labels[task.rows], learnt[counts[learnt] > 0])
    rows, fold = task.rows[use], task.fold[use]
    labels = task.labels[rows]
    if task.units < _CLASS_IMAGES or any(len(np.unique(labels[fold != held])) < 2 for held in range(_FOLDS)):
        return None
    ring, middle = _features(subject.looks.color[rows], subject.looks.grey[rows])
    from_ring, from_middle = _guesses([ring, middle], labels, fold, subject.seed)
    right, also_right = from_ring == labels, from_middle == labels
    weight = task.units / len(task.rows)  # rows of one unit are one answer
    differ = (right != also_right).sum()
    ahead = (right.mean() - also_right.mean()) - _Z * np.sqrt(max(differ, 1) / weight) / len(labels)
    ranked = []
    for label in learnt[counts[learnt] >= _CLASS_IMAGES]:
        own, told = labels == label, from_ring == label
        score = 2 * (own & told).sum() / max(own.sum() + told.sum(), 1)
        ranked.append((-float(score), int(label), float(right[own].mean()), float(also_right[own].mean())))
    best = sorted(ranked)[:5]
    found = [rows[right & ~also_right & (labels == label)][:_EXAMPLES] for _, label, _, _ in best]
    return _Verdict(
        task=task,
        places=_places(subject, task),
        ring=float(right.mean()),
        middle=float(also_right.mean()),
        majority=float(np.bincount(labels).max() / len(labels)),
        least=interval(round(weight * right.sum()), round(weight * len(labels)), confidence=0.99)[0],
        ahead=float(ahead),
        best=[(task.classes[label], ring_share, middle_share) for _, label, ring_share, middle_share in best],
        rows=np.concatenate(found) if found else np.zeros(0, np.int64),
    )


def _guesses(parts: list[np.ndarray], labels: np.ndarray, fold: np.ndarray, seed: int) -> np.ndarray:
    """Return the class of each image as forests tell it that have seen one part of the other folds: (parts, N)."""
    from sklearn.ensemble import ExtraTreesClassifier

    def told(job: tuple[int, int]) -> np.ndarray:
        features, out = parts[job[0]], fold == job[1]
        forest: Any = ExtraTreesClassifier(_TREES, min_samples_leaf=2, max_features=_TRIED, random_state=seed)
        return forest.fit(features[~out], labels[~out]).predict(features[out])

    guess = np.full((len(parts), len(labels)), -1)
    jobs = [(part, held) for part in range(len(parts)) for held in np.unique(fold).tolist()]
    for (part, held), classes in zip(jobs, side_by_side(told, jobs), strict=True):
        guess[part, fold == held] = classes
    return guess


def _features(color: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what ring and middle look like, (N, F) each: colour of 112 cells, texture of 28 blocks."""
    count = len(color)
    cells = color.reshape(count, -1, 3).astype(np.float32) / 255  # (N,16,16,3) -> (N,256,3)
    luma = grey.astype(np.float32) / 255
    across = np.abs(np.diff(luma, axis=2, append=luma[:, :, -1:]))
    down = np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    spread = np.sqrt(np.maximum(_blocks(luma**2) - _blocks(luma) ** 2, 0))
    texture = np.stack([np.log(_blocks(across) + 0.003), np.log(_blocks(down) + 0.003), np.log(spread + 0.01)], axis=2)
    parts = []
    for colored, textured in zip(_ring_and_middle(COLOR_SIDE), _ring_and_middle(8), strict=True):
        both = (cells[:, colored].reshape(count, -1), texture[:, textured].reshape(count, -1))
        parts.append(np.concatenate(both, axis=1).astype(np.float32))
    return parts[0], parts[1]


def _blocks(values: np.ndarray) -> np.ndarray:
    """Average over 8 x 8 blocks, (N,64,64) -> (N,64)."""
    return values.reshape(len(values), 8, 8, 8, 8).mean(axis=(2, 4)).reshape(len(values), 64)


def _ring_and_middle(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of a side x side grid in a ring of 1/8 of the side, and as many around the middle."""
    y, x = np.mgrid[:side, :side].reshape(2, -1)
    depth = np.minimum(np.minimum(y, x), np.minimum(side - 1 - y, side - 1 - x))
    ring = np.flatnonzero(depth < side // 8)
    inside = np.argsort(-depth, kind="stable")
    return ring, np.sort(inside[: len(ring)])


def _places(subject: Subject, task: Task) -> list[_Place]:
    """Return for each class that one colour at one place of the border gives away the best such place."""
    _, first = np.unique(subject.units[task.rows], return_index=True)  # copies would agree with each other
    rows = task.rows[np.sort(first)]
    labels, classes = task.labels[rows], len(task.classes)
    own = np.bincount(labels, minlength=classes)
    cells = subject.looks.color[rows].reshape(len(rows), -1, 3).astype(np.int64)
    best: dict[int, _Place] = {}
    for step in _STEPS:
        for shift in (0, step // 2):
            bins = (cells + shift) // step
            codes = (bins[..., 0] * 32 + bins[..., 1]) * 32 + bins[..., 2]  # (n, 256)
            for cell in _ring_and_middle(COLOR_SIDE)[0]:
                for code, label, hits, total in _pure_colors(codes[:, cell], labels, own):
                    if label in best and best[label].recall >= hits / own[label]:
                        continue
                    alike = (codes[:, cell] == code) & (labels == label)
                    red, green, blue = np.median(cells[alike, cell], axis=0).astype(int).tolist()
                    best[label] = _Place(
                        label=label,
                        where=_where(int(cell)),
                        color=(red, green, blue),
                        recall=float(hits / own[label]),
                        precision=float(hits / total),
                        rows=rows[alike],
                    )
    return sorted(best.values(), key=lambda place: -place.recall)


def _pure_colors(codes: np.ndarray, labels: np.ndarray, own: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return the colours that tell a class: (colour, class, images of the class that have it, images that have it)."""
    pairs, hits = np.unique(codes * len(own) + labels, return_counts=True)
    colors, totals = np.unique(codes, return_counts=True)
    total = totals[np.searchsorted(colors, pairs // len(own))]
    label = pairs % len(own)
    share, base = hits / total, own[label] / len(labels)
    z2 = _Z**2 / total
    least = (share + z2 / 2 - _Z * np.sqrt(share * (1 - share) / total + z2 / (4 * total))) / (1 + z2)  # Wilson's
    tells = (own[label] >= _CLASS_IMAGES) & (hits >= _RECALL * own[label]) & (share >= _PRECISION)
    chosen = np.flatnonzero(tells & (least >= (1 + base) / 2))
    return [(int(pairs[i] // len(own)), int(label[i]), int(hits[i]), int(total[i])) for i in chosen]


def _where(cell: int) -> str:
    """Return where a cell of the border lies, in words."""
    y, x = divmod(cell, COLOR_SIDE)
    third = COLOR_SIDE // 4
    rows = "top" if y < third else "bottom" if y >= COLOR_SIDE - third else ""
    columns = "left" if x < third else "right" if x >= COLOR_SIDE - third else ""
    return f"{rows} {columns} corner" if rows and columns else f"{rows or columns} edge"


def _finding(subject: Subject, verdict: _Verdict) -> Finding:
    classes, places, severity = verdict.task.classes, verdict.places, verdict.severity
    assert severity is not None
    numbers = (
        f"from the outer 12.5 % alone {percent(verdict.ring)} of held-out images are told right, from as much of the "
        f"middle {percent(verdict.middle)}, by the commonest class {percent(verdict.majority)}"
    )
    if places:
        told = [
            f"{percent(place.recall)} of {classes[place.label]} have rgb{place.color} in the {place.where} "
            f"({percent(place.precision)} of the images that do are {classes[place.label]})"
            for place in places[:3]
        ]
        names = listed([classes[place.label] for place in places], limit=3)
        message = f"the border of the image gives {names} away: {'; '.join(told)}; {numbers}"
        rows = np.concatenate([place.rows[:_EXAMPLES] for place in places[:10]])
    else:
        names = listed([f"{name} ({percent(ring)})" for name, ring, _ in verdict.best])
        message = f"the border of the image tells the classes apart: {numbers}; best by the border are {names}"
        rows = verdict.rows
    return Finding(
        severity=severity,
        code="background-shortcut",
        message=message,
        fix=_FIX if severity == "warning" else _NOTE_FIX,
        evidence={
            "border_accuracy": round(verdict.ring, 4),
            "middle_accuracy": round(verdict.middle, 4),
            "majority": round(verdict.majority, 4),
            "border_gain": round(verdict.gain(verdict.ring), 4),
            "middle_gain": round(verdict.gain(verdict.middle), 4),
            "images": len(verdict.task.rows),
            "units": verdict.task.units,
            "places": [
                {
                    "class": classes[place.label],
                    "where": place.where,
                    "rgb": list(place.color),
                    "recall": round(place.recall, 4),
                    "precision": round(place.precision, 4),
                }
                for place in places[:50]
            ],
            "best": [
                {"class": name, "from_border": round(ring, 4), "from_middle": round(middle, 4)}
                for name, ring, middle in verdict.best
            ],
        },
        files=subject.named(rows),
    )
