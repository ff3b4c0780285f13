"""Faults of the number that a script prints: it is not what the network's answers to the same images come to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fovea.core.wording import counted, percent
from fovea.doctor.finding import Diagnosis
from fovea.doctor.judging import f1_of_classes
from fovea.doctor.reading import accuracy_of_steps, answers_of_batches, confusion_of, several_tasks, shares_told
from fovea.doctor.record import Record, Round, Shown

_LEAST_IMAGES = 40
_FEW_PARTS = 4  # calls of a network, each of which may be all images of a kind
_LAST = 3  # figures of a line that have to agree
_NEAR = 0.02  # what rounding, and images that were left out, may make
_FEWER = 0.1  # F1, yes or no: by how much what is printed may stay below what the scores come to
_FAR_FEWER = 0.3  # of classes, where answers may come from elsewhere, and be better
_EQUAL, _APART = 0.002, 0.02  # accuracies that are the same, and that say something else
_LIKE, _UNLIKE = 0.01, 0.05  # the same of F1, which libraries compute each in their own way
_ALIKE, _DIFFER = 0.004, 0.01  # of a ratio, how much rounding varies it; accuracies that differ more than that
_NAMES = {"accuracy": "accuracy", "f1": "F1"}
_WINDOWS = (20, 50, 200, None)  # last steps, of whose images somebody may have counted the right answers


@dataclass(frozen=True)
class _Evaluated:
    """An evaluation all of whose answers and labels are known.

    Attributes:
        images: how many.
        confusion: (C, C) counts, rows true; of yes and no as the scores decide.
        parts: right answers and images of each batch.
        f1s: F1 of each batch, of each reading: mean over its classes, or over all; of yes.
        otherwise: accuracies of yes and no with other cuts than the usual one, or none that tells anything.
    """

    images: int
    confusion: np.ndarray
    parts: list[tuple[int, int]]
    f1s: tuple[list[float], ...]
    otherwise: list[float]

    def figures(self, kind: str) -> list[float]:
        """Return what it may be said to come to, first the usual figure."""
        accuracies = shares_told(self.confusion)
        if kind == "accuracy":  # without loaders, training images may be told in one part and others in the next
            parts = [right / images for right, images in self.parts if images >= _LEAST_IMAGES]
            return [*accuracies, *(parts if 1 < len(self.parts) <= _FEW_PARTS else [])]
        of_yes = [_f1_of_yes(self.confusion)] if len(self.confusion) == 2 else []
        return [*of_yes, *f1_of_classes(self.confusion), accuracies[0]]

    def is_right(self, kind: str, value: float) -> bool:
        """Whether a figure is what it comes to."""
        return any(abs(figure - value) <= _NEAR for figure in self.figures(kind))

    def is_above(self, kind: str, value: float) -> bool:
        """Whether all that it may be said to come to is far above a figure."""
        limit = _FEWER if len(self.confusion) == 2 else _FAR_FEWER
        return min(self.figures(kind)) - value > limit

    def by_batch(self, kind: str) -> list[float]:
        """Return means over the batches; of right answers also as if all batches were as large as the first."""
        if kind == "f1":
            return [float(np.mean(each)) for each in self.f1s if each]
        right, images = np.array(self.parts).T
        return [float((right / images).mean()), float(right.sum() / (images[0] * len(images)))]

    def is_mean_of_batches(self, kind: str, value: float) -> bool:
        """Whether a figure is a mean over batches, and none of what the evaluation may be said to come to."""
        near, apart = (_LIKE, _UNLIKE) if kind == "f1" else (_EQUAL, _APART)
        told = self.figures(kind)[:1] if kind == "f1" else self.figures(kind)  # F1 is often a mean of some kind
        return any(abs(mean - value) <= near for mean in self.by_batch(kind)) and all(
            abs(figure - value) > apart for figure in told
        )


def wrong_figures(record: Record) -> Iterator[Diagnosis]:
    """Yield an accuracy or F1 that is printed and is not what the scores come to on the images evaluated just then.

    Whatever is printed may be an honest figure of another kind: it counts only where it is far below all that are
    known, or the same multiple of what it should be again and again, and where the right one is printed nowhere.
    """
    known = list(_last_figures(record))
    right = {shown.kind for shown, last in known if any(one.is_right(shown.kind, last[-1][1]) for one in last[-1][0])}
    for shown, last in known:
        if shown.kind in right:
            continue
        pairs = [(one, value) for several, value in last for one in several]
        averaged = any(one.is_mean_of_batches(shown.kind, value) for one, value in pairs)
        below = all(one.is_above(shown.kind, value) for one, value in pairs)
        if not averaged and (below or (len(pairs) == len(last) and _same_multiple(shown.kind, pairs))):
            yield _wrong(shown, last[-1][0][-1])
            return


def _same_multiple(kind: str, pairs: list[tuple[_Evaluated, float]]) -> bool:
    """Whether figures that differ from time to time are one multiple of what they should be."""
    whole, told = np.array([one.figures(kind)[0] for one, _ in pairs]), np.array([value for _, value in pairs])
    if len(pairs) < _LAST or np.ptp(whole) < _DIFFER or whole.min() <= 0:
        return False
    times = told / whole
    return bool(np.ptp(times) <= _ALIKE * times.mean() and abs(times.mean() - 1) > _FEWER)


def averaged_figures(record: Record) -> Iterator[Diagnosis]:
    """Yield an accuracy or F1 that is printed and is a mean over batches which says something else than the whole."""
    for shown, last in _last_figures(record):
        if all(any(one.is_mean_of_batches(shown.kind, value) for one in several) for several, value in last):
            yield _averaged(shown, last[-1][0][-1])
            return


def _last_figures(record: Record) -> Iterator[tuple[Shown, list[tuple[list[_Evaluated], float]]]]:
    """Yield what is printed of evaluations that were seen whole, with the last few figures and those evaluations."""
    for shown in record.shown if not several_tasks(record) else ():
        if shown.phase == "train" or (shown.phase is None and _of_training(record, shown.values[-1][1])):
            continue
        last = [(_evaluated(record, step), value) for step, value in shown.values[-_LAST:]]
        if all(evaluated for evaluated, _ in last):
            yield shown, last


def _of_training(record: Record, value: float) -> bool:
    return any(abs(accuracy_of_steps(record, last=last) - value) <= _NEAR for last in _WINDOWS)


def _evaluated(record: Record, step: int) -> list[_Evaluated]:
    """Return the evaluations after so many steps, of as many images as tell something."""
    found = []
    for each in record.rounds:
        if each.step != step or each.images < _LEAST_IMAGES:
            continue
        answers, confusion = answers_of_batches(record, each), confusion_of(record, each)
        if confusion is not None and confusion.sum() == each.images:
            parts = each.parts or [(int(batch.trace()), int(batch.sum())) for batch in answers]
            f1s = *map(list, zip(*each.f1s, strict=True)), [_f1_of_yes(batch) for batch in answers]
            found.append(_Evaluated(each.images, confusion, parts, f1s, _cut_otherwise(each)))
    return found


def _cut_otherwise(each: Round) -> list[float]:
    if not each.scores:
        return []
    scores, truths = np.concatenate(each.scores), np.concatenate(each.truths)
    return [float(((scores > cut) == truths).mean()) for cut in (0.0, 0.5, -np.inf, np.inf)]


def _f1_of_yes(confusion: np.ndarray) -> float:
    of_either = confusion[1].sum() + confusion[:, 1].sum()
    return float(2 * confusion[1, 1] / of_either) if of_either else 0.0


def _averaged(shown: Shown, last: _Evaluated) -> Diagnosis:
    value, whole, sizes = shown.values[-1][1], last.figures(shown.kind)[0], [images for _, images in last.parts]
    name, f1 = _NAMES[shown.kind], shown.kind == "f1"
    return Diagnosis(
        code="metric-averaging",
        confidence=0.85,
        message=f"the {name} of {value:.3f} that is printed (\u201c{shown.text}\u201d) is a mean over "
        f"{counted(len(sizes), 'batch', 'batches')}; {name} of all {last.images} images is {whole:.3f}. "
        + (
            "A batch without a class counts 0 for it"
            if f1
            else f"The last batch has {sizes[-1]} images, not {sizes[0]}"
        ),
        fix="gather the answers of all batches, and compute F1 once at the end"
        if f1
        else "add up right answers and images, and divide once at the end",
        confirm=f"the {name} shown becomes {whole:.3f}",
        evidence={"shown": value, "of_all": whole, "batches": len(sizes), "images": last.images},
        where=shown.where,
    )


def _wrong(shown: Shown, last: _Evaluated) -> Diagnosis:
    value, whole = shown.values[-1][1], last.figures(shown.kind)[0]
    cut = shown.kind == "accuracy" and any(abs(other - value) <= _NEAR for other in last.otherwise)
    name = _NAMES[shown.kind]
    return Diagnosis(
        code="decision-threshold" if cut else "metric-wrong",
        confidence=0.75,
        message=f"the {name} of {percent(value)} that is printed (\u201c{shown.text}\u201d) is not what the network's "
        f"scores come to on the {last.images} images evaluated just before, which is {percent(whole)}"
        + (": a threshold for another kind of scores comes to that" if cut else ""),
        fix="cut where the loss puts the border: probabilities, and scores learnt as 0 and 1, at 0.5, logits at 0; "
        "apply a sigmoid once"
        if cut
        else "compare scores.argmax(dim=1) with the labels, in the same order and shape; look for another axis, "
        "a table of classes, shapes such as (B, 1) against (B,), or a wrong number to divide by",
        confirm=f"the {name} shown becomes about {percent(whole)}",
        evidence={"shown": value, "of_scores": whole, "images": last.images},
        where=shown.where,
    )
