"""Faults that only files tell: how pictures were cut and squashed, the order of colours, what gives labels away.

They speak where files were read in this process, and inputs could be found in their files again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fovea.core.findings import Finding
from fovea.core.wording import counted, percent
from fovea.doctor.files.colors import Order, orders
from fovea.doctor.files.seen import Box, Judged, Shown
from fovea.doctor.finding import PROBES, Diagnosis, Severity
from fovea.doctor.reading import main_rounds, pretrained
from fovea.doctor.record import Phase, Record

_LEAST = 8  # inputs that were found in their files
_FOUND = 0.6  # share of those looked for
_STRETCHED = 1.5
_STRAIGHT = 1.25
_MOSTLY = 0.6  # share of the files
_LITTLE = 0.35  # share of a file's area
_CUTS, _CENTRED = 30, 0.1  # cuts to the middle of pictures of one size, and their share of all cuts
_OVERLAP = 0.25  # share of what evaluation shows that a training picture shows
_ENLARGED = 2.0
_GOOD = 0.9  # accuracy from which nothing that matters can have been cut away
_HARMED = 0.15, 3.0, 30  # accuracy that distorted files lose, in standard deviations, with so many files of each kind
_LEAST_STORED = 60  # files
_PER_SIZE = 20  # images per distinct size, below which sizes are those of objects that were cut out
_DEFINES = 0.98  # share of one class from which folders or names are what labels were made from
_SIZES = ("size_px", "width_px", "height_px", "aspect")
_NAMES = ("folder", "name_pattern", "name_start", "name_end")
_COLORS = ("brightness", "share_of_red", "share_of_green", "share_of_blue")


@PROBES.register("channel-order", summary="red and blue swapped against the files, or between training and evaluation")
def channel_order(record: Record) -> Iterator[Diagnosis]:
    """Red less blue of the inputs goes against that of their files."""
    found = dict(zip(("training", "evaluation"), orders(record), strict=True))
    swapped = {name: order for name, order in found.items() if order is not None and order.swapped}
    if not swapped:
        return
    right = [name for name, order in found.items() if order is not None and order.right]
    trained = pretrained(record)
    told = " and ".join(f"{_told(order)} in {name}" for name, order in swapped.items())
    harmful = bool(right) or trained
    if right:
        consequence = f", while {right[0]} has them in order: the network is tested on other colours than it learnt"
    elif trained:
        consequence = ". Its weights were trained before, most likely on red, green and blue"
    else:
        consequence = ". A network learns that too, but whoever uses it has to swap them as well"
    yield Diagnosis(
        code="channel-order",
        confidence=0.95 if right else 0.9,
        severity="alarm" if harmful else "note",
        message=f"red and blue are swapped in {' and '.join(swapped)}: red less blue of the inputs goes against that "
        f"of their files ({told}){consequence}",
        fix="decode images in the same order everywhere: OpenCV reads blue, green and red, so convert by "
        "cv2.cvtColor(image, cv2.COLOR_BGR2RGB)",
        confirm="pictures of the inputs have the colours of their files",
        evidence={name: {"correlation": order.correlation, "images": order.images} for name, order in swapped.items()},
    )


def _told(order: Order) -> str:
    return f"correlation {order.correlation:.2f} over {counted(order.images, 'image')}"


@PROBES.register("bad-resize", summary="pictures squashed, cropped or enlarged so that what matters is lost")
def bad_resize(record: Record) -> Iterator[Diagnosis]:
    """What inputs show of their files, and in which proportions."""
    train, evaluated = _known(record, "train"), _known(record, "eval")
    alarm = _differs(train, evaluated) or _cut_away(record, evaluated) or _elsewhere(record, train, evaluated)
    alarm = alarm or _cut_to_the_middle(record)
    if alarm is not None:
        yield alarm
    else:
        yield from _squashed(record, train, evaluated)
    yield from _small(evaluated or train)


def _known(record: Record, phase: Phase) -> list[Shown]:
    """Return what inputs of a phase show; nothing where too many were not found in their files."""
    shown = record.files.shown[phase]
    enough = len(shown) >= max(_LEAST, _FOUND * (len(shown) + record.files.unlike[phase]))
    return shown if enough else []


def _distortion(shown: Sequence[Shown]) -> float:
    """Return the median ratio, 1 or more, by which pictures are squashed in one direction."""
    return math.exp(float(np.median([abs(math.log(each.stretch)) for each in shown])))


def _differs(train: list[Shown], evaluated: list[Shown]) -> Diagnosis | None:
    """Squashed in one of the two phases."""
    if not train or not evaluated:
        return None
    one, other = _distortion(train), _distortion(evaluated)
    if max(one / other, other / one) < _STRETCHED:
        return None
    more, less = ("training", "evaluated") if one > other else ("evaluated", "training")
    return Diagnosis(
        code="bad-resize",
        confidence=0.85,
        message=f"{more} images are squashed to another shape, by {max(one, other):.2g} to 1 in the middle, {less} "
        f"ones by {min(one, other):.2g} to 1: things have other proportions in training than in evaluation",
        fix="bring both to their size in the same way: Resize(s) keeps the proportions (crop or pad to a square then), "
        "Resize((s, s)) does not",
        confirm="things have the same proportions in pictures of both",
        evidence={"train": one, "eval": other, "images": len(train) + len(evaluated)},
    )


def _cut_away(record: Record, evaluated: list[Shown]) -> Diagnosis | None:
    """Evaluation shows a small part of each file."""
    if not evaluated:
        return None
    area = float(np.median([each.box.area for each in evaluated]))
    if area >= _LITTLE:
        return None
    accuracy, severity = _accuracy(record)
    first = evaluated[0]
    return Diagnosis(
        code="bad-resize",
        confidence=0.75 if area < 0.2 else 0.6,
        severity=severity,
        message=f"evaluated images show {percent(area)} of their files (a part of {_part(first)} px of "
        f"{first.size[0]} x {first.size[1]}): most of each photo is cut away"
        + ("" if math.isnan(accuracy) else f"; accuracy is {percent(accuracy)}"),
        fix="shrink before cropping: Resize(s), then CenterCrop(s), or pad to a square",
        confirm="the whole object is in pictures of the inputs",
        evidence={"area": area, "images": len(evaluated), "accuracy": accuracy},
    )


def _cut_to_the_middle(record: Record) -> Diagnosis | None:
    """Pictures that need not come from files are cut to their middle, and most of each is lost.

    What is cut out by boxes has many sizes.
    """
    cuts = [cut for cut in record.cuts if cut.centred and cut.kept < 1]
    most = max(cuts, key=lambda cut: cut.count, default=None)
    if most is None or most.count < _CUTS or most.count < _CENTRED * sum(cut.count for cut in record.cuts):
        return None
    area = most.kept
    accuracy, severity = _accuracy(record)
    if area >= _LITTLE or math.isnan(accuracy):
        return None
    (width, height), part = most.whole, most.part
    return Diagnosis(
        code="bad-resize",
        confidence=0.7,
        severity=severity,
        message=f"pictures of {width} x {height} px are cut to their middle ({part[0]} x {part[1]} px), which shows "
        f"{percent(area)} of them: whatever lies beside it is lost; accuracy is {percent(accuracy)}",
        fix="let Resize((height, width)) keep the whole picture, in its own proportions, or pad it to a square first",
        confirm="the whole object is in pictures of the inputs",
        evidence={"area": area, "cuts": most.count, "accuracy": accuracy},
    )


def _elsewhere(record: Record, train: list[Shown], evaluated: list[Shown]) -> Diagnosis | None:
    """Training pictures show little of what evaluation shows."""
    if not train or not evaluated:
        return None
    shares, larger = [], []
    for each in train:
        part = _evaluated_part(each, evaluated)
        shares.append(each.box.shared(part) / part.area)
        larger.append(math.sqrt(part.area / each.box.area))
    overlap, times = float(np.median(shares)), float(np.median(larger))
    if overlap >= _OVERLAP:
        return None
    _, severity = _accuracy(record)
    return Diagnosis(
        code="bad-resize",
        confidence=0.7,
        severity=severity,
        message=f"training crops show {percent(overlap)} of what evaluation shows of a photo, {times:.2g} times as "
        "large: the object is mostly not in them, and never as a whole",
        fix="shrink before cropping (Resize(s), then RandomCrop), or let RandomResizedCrop take larger parts (scale)",
        confirm="the object can be told in pictures of a training batch",
        evidence={"overlap": overlap, "times_as_large": times, "images": len(train)},
    )


def _evaluated_part(of: Shown, evaluated: Sequence[Shown]) -> Box:
    """Return the part of a training file that evaluation would show."""
    centred = [each.box for each in evaluated if each.kind == "centred"]
    if len(centred) < len(evaluated) / 2:
        return Box(0, 0, 1, 1)
    share = float(np.median([max(box.right - box.left, box.bottom - box.top) for box in centred]))
    aspect = evaluated[0].input_size[0] / evaluated[0].input_size[1] * of.size[1] / of.size[0]
    wide, tall = share * min(1.0, aspect), share * min(1.0, 1 / aspect)
    return Box((1 - wide) / 2, (1 - tall) / 2, (1 + wide) / 2, (1 + tall) / 2)


def _squashed(record: Record, train: list[Shown], evaluated: list[Shown]) -> Iterator[Diagnosis]:
    """Most files are squashed alike in both phases: that matters where squashed ones are told worse."""
    shown = evaluated or train
    if not shown or np.mean([abs(math.log(each.stretch)) > math.log(_STRETCHED) for each in shown]) < _MOSTLY:
        return
    lost = _lost(record.files.judged, shown)
    yield Diagnosis(
        code="bad-resize",
        confidence=0.8 if lost else 0.6,
        severity="alarm" if lost else "note",
        message=f"images are squashed by {_distortion(shown):.2g} to 1 in the middle (files of {shown[0].size[0]} x "
        f"{shown[0].size[1]} px to {shown[0].input_size[0]} x {shown[0].input_size[1]})"
        + (
            f": of one class, those that are squashed are told {percent(lost)} less often than the others"
            if lost
            else ", in training and evaluation alike"
            if train and evaluated
            else ""
        ),
        fix="keep the proportions: pad to a square before Resize, or Resize(s) and crop",
        confirm="accuracy on long pictures rises",
        evidence={"distortion": _distortion(shown), "lost": lost, "images": len(shown)},
    )


def _lost(judged: Sequence[Judged], shown: Sequence[Shown]) -> float:
    """Return how much less often squashed files are told than others of their class; 0 where that may be chance."""
    if np.mean([each.kind == "whole" for each in shown]) < _MOSTLY:
        return 0.0
    aspect = float(np.median([each.input_size[0] / each.input_size[1] for each in shown]))
    known = [each for each in judged if min(each.size) > 0]
    stretch = np.array([abs(math.log(aspect * each.size[1] / each.size[0])) for each in known])
    right, labels = np.array([each.right for each in known]), np.array([each.label for each in known])
    squashed, straight = stretch > math.log(_STRETCHED), stretch < math.log(_STRAIGHT)
    differences, weights = [], []
    for label in np.unique(labels):
        bad, good = right[squashed & (labels == label)], right[straight & (labels == label)]
        if len(bad) and len(good):
            differences.append(good.mean() - bad.mean())
            weights.append(len(bad) * len(good) / (len(bad) + len(good)))
    least, spreads, files = _HARMED
    if min(squashed.sum(), straight.sum()) < files or not weights:
        return 0.0
    lost = float(np.average(differences, weights=weights))
    share = float(right.mean())
    spread = math.sqrt(max(share * (1 - share), 0.01) / sum(weights))
    return lost if lost > max(least, spreads * spread) else 0.0


def _small(shown: list[Shown]) -> Iterator[Diagnosis]:
    """Files smaller than the inputs."""
    if not shown or float(np.median([each.enlarged for each in shown])) < _ENLARGED:
        return
    times, first = float(np.median([each.enlarged for each in shown])), shown[0]
    yield Diagnosis(
        code="bad-resize",
        confidence=0.6,
        severity="note",
        message=f"files are smaller than what is made of them: {_part(first)} px are shown as {first.input_size[0]} x "
        f"{first.input_size[1]}, {times:.2g} times as large; that costs time and adds nothing to see",
        fix="train at the size of the files, unless pretrained weights need the larger one; or get larger files",
        evidence={"times": times, "images": len(shown)},
    )


def _part(shown: Shown) -> str:
    width, height = shown.box.size(shown.size)
    return f"{width:.0f} x {height:.0f}"


def _accuracy(record: Record) -> tuple[float, Severity]:
    """Return the best accuracy in evaluation, and how bad it is then that something is cut away."""
    reached = [each.accuracy for each in main_rounds(record, least=20) if each.judged]
    best = max(reached, default=math.nan)
    return best, "note" if best >= _GOOD else "alarm"


@PROBES.register("metadata-shortcut", summary="labels that can be read off how files are kept")
def metadata_shortcut(record: Record) -> Iterator[Diagnosis]:
    """The audit's rules, on training files: sizes, formats, cameras, names and borders that tell the class."""
    stored = record.files.stored
    if len(stored) < _LEAST_STORED or len({each.label for each in stored}) < 2:
        return
    from fovea.data.audit import metadata
    from fovea.doctor.files.subject import subject_of  # tables are loaded where there are any files

    sizes = len({(each.width, each.height) for each in stored})
    for finding in metadata.metadata_shortcut(subject_of(stored)):
        severity = _severity(finding, cut_out=len(stored) < _PER_SIZE * sizes)
        if severity is None:
            continue
        yield Diagnosis(
            code="metadata-shortcut",
            confidence=0.8 if finding.severity == "error" else 0.65 if severity == "alarm" else 0.5,
            severity=severity,
            message=f"of {counted(len(stored), 'training file')}, {finding.message}. The network may learn that "
            "instead of what the images show",
            fix=finding.fix or "",
            confirm="accuracy stays as it is on images of other origin",
            evidence=finding.evidence,
        )


def _severity(finding: Finding, *, cut_out: bool) -> Severity | None:
    """Return how bad it is that a property of files tells the class; None where it says nothing about the training."""
    from fovea.data.audit.naming import names_a_source

    name, rules = str(finding.evidence["property"]), finding.evidence["rules"]
    if name in _COLORS or (finding.severity == "note" and name not in _SIZES):
        return None  # what the classes look like
    pure = sum(rule["share"] * rule["images"] for rule in rules) >= _DEFINES * sum(rule["images"] for rule in rules)
    if name in _NAMES and pure and (name == "folder" or not all(names_a_source(rule["value"]) for rule in rules)):
        return None  # what the labels were made from
    return "note" if finding.severity == "note" or (name in _SIZES and cut_out) else "alarm"
