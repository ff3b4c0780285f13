"""Faults between the network's scores and the number that a script prints: answers that are not what the scores say."""

from __future__ import annotations

from collections.abc import Iterator

from fovea.core.wording import counted, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.probes.shown import wrong_figures
from fovea.doctor.record import Compared, Record

_LEAST_IMAGES = 40
_FAR_FEWER = 0.3  # the same of classes, where answers may come from elsewhere, and be better
_FEWER = 0.1  # of the images may be right less often than the scores have it
_MOSTLY = 0.9  # of the calls


@PROBES.register("metric-wrong", summary="answers compared with labels that are not what the scores say")
def metric_wrong(record: Record) -> Iterator[Diagnosis]:
    """A line's own comparisons, added up, beside what the scores themselves decide on the same images.

    Where answers are compared out of sight, as NumPy's arrays, a second sigmoid still shows by what it is given, and
    what comes of it by what is printed.
    """
    yield from list(_compared(record)) or list(_sigmoid_twice(record)) or wrong_figures(record)


def _sigmoid_twice(record: Record) -> Iterator[Diagnosis]:
    for line in record.sigmoids:
        if line.values >= _LEAST_IMAGES and line.of_probabilities == line.calls:
            yield Diagnosis(
                code="decision-threshold",
                confidence=0.85,
                message=f"a sigmoid is taken of what are probabilities already: all {line.values} values that were "
                "seen here lie between 0 and 1, so what comes out lies between 0.5 and 0.73, and a cut at 0.5 says yes "
                "to everything",
                fix="apply the sigmoid once: probabilities are cut at 0.5, raw scores at 0",
                confirm="answers of both kinds come out",
                evidence={"values": line.values, "calls": line.calls},
                where=line.where,
            )


def _compared(record: Record) -> Iterator[Diagnosis]:
    for line in record.compared:
        if line.images < _LEAST_IMAGES:
            continue
        if line.spread >= _MOSTLY * line.calls:
            yield _spread(line)
        elif line.yes_or_no and line.of_scores - line.right > _FEWER * line.images and line.cut >= _MOSTLY * line.calls:
            yield _cut_elsewhere(line)
        elif not line.yes_or_no and line.of_scores - line.right > _FAR_FEWER * line.images:
            yield _other_answers(line)


def _spread(line: Compared) -> Diagnosis:
    shapes = " with ".join(str(shape) for shape in line.shapes)
    return Diagnosis(
        code="metric-wrong",
        confidence=0.9,
        message=f"answers and labels are compared in shapes that do not fit, {shapes}: each answer meets each label of "
        "the batch, and the number of right ones means nothing (of these answers "
        f"{percent(_share(line.of_scores, line))} are right)",
        fix="bring both to (B,), for example answers.flatten() == labels.flatten()",
        confirm="the comparison has as many results as there are images",
        evidence={"calls": line.calls, "shapes": line.shapes, "accuracy": _share(line.of_scores, line)},
        where=line.where,
    )


def _other_answers(line: Compared) -> Diagnosis:
    return Diagnosis(
        code="metric-wrong",
        confidence=0.8,
        message=f"the answers that are compared with labels are right in {percent(_share(line.right, line))} of "
        f"{counted(line.images, 'image')}, the classes with the highest scores in "
        f"{percent(_share(line.of_scores, line))}: something between the two makes others of them",
        fix="compare scores.argmax(dim=1) with the labels; look for an argmin, another axis, or a table of classes "
        "that is not the one of the labels",
        confirm=f"the accuracy shown rises to {percent(_share(line.of_scores, line))}",
        evidence={"shown": _share(line.right, line), "of_scores": _share(line.of_scores, line), "images": line.images},
        where=line.where,
    )


def _cut_elsewhere(line: Compared) -> Diagnosis:
    alike = line.alike >= _MOSTLY * line.calls
    return Diagnosis(
        code="decision-threshold",
        confidence=0.93,
        message=f"the answers that are compared with labels are right in {percent(_share(line.right, line))} of "
        f"{counted(line.images, 'image')}"
        + (", all of a batch being the same" if alike else "")
        + f"; the scores themselves are right in {percent(_share(line.of_scores, line))} of them, cut at a probability "
        "of 0.5. A sigmoid too many, or a threshold for the other kind of scores, stands between",
        fix="apply the sigmoid once: probabilities are cut at 0.5, raw scores at 0",
        confirm=f"the accuracy shown rises to {percent(_share(line.of_scores, line))}",
        evidence={"shown": _share(line.right, line), "of_scores": _share(line.of_scores, line), "images": line.images},
        where=line.where,
    )


def _share(count: int, line: Compared) -> float:
    return count / line.images
