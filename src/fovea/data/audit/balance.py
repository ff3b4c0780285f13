"""How many images the classes have: how uneven that is, which are too few to learn from, which too few to measure on.

Classes that a split lacks altogether are the matter of `classmap.split_findings`. Nothing here looks at an image.
"""

from __future__ import annotations

import numpy as np

from fovea.core.findings import Finding
from fovea.core.wording import counted, listed, percent
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.audit.crossval import interval

RATIO = 10  # commonest to rarest class; the threshold of SageMaker Debugger's rule on class imbalance
RARE = 0.1  # times the mean class size: rarest < 0.1 / K of all images, as in cleanlab
FEW = 10  # with a tenth held out, such a class leaves no whole image to validate on
HALF_WIDTH = 0.05  # of the 95 % interval of an accuracy: what most improvements are smaller than
_GOOD = 0.9  # accuracy at which the interval of a split is stated; at lower ones it is wider still
_EVER = 0.98  # share of multi-label images with a label, from which it hardly ever lacks
_NAMED = 100  # classes in the evidence


@CHECKS.register("imbalance", summary="classes of very unequal size")
def imbalance(subject: Subject) -> list[Finding]:
    """Judge the training images: all that are not in another split."""
    counts = _counts(subject, _in_split(subject, "train"))
    names = subject.manifest.classes
    present = np.flatnonzero(counts)
    found = _ever_present(subject)
    if len(present) < 2:
        return found
    sizes = counts[present]
    most, least = present[sizes.argmax()], present[sizes.argmin()]
    ratio = counts[most] / counts[least]
    if ratio <= RATIO and counts[least] >= RARE * sizes.mean():
        return found
    shares = sizes / sizes.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))  # Shannon entropy as a number of equal classes
    message = (
        f"the classes are uneven: {names[most]} has {counted(int(counts[most]), 'training image')}, {names[least]} "
        f"{counts[least]:,}, which is {ratio:,.0f} to 1; the {len(present):,} classes are as varied as {effective:.1f} "
        "equal ones"
    )
    if not subject.manifest.multilabel:
        message += f", and always guessing {names[most]} is right for {percent(float(shares.max()))}"
    order = present[np.argsort(-sizes, kind="stable")]
    return [
        Finding(
            severity="warning",
            code="imbalance",
            message=message,
            fix="train with train.sampler=balanced or train.class_weights, judge by balanced accuracy, and add images "
            f"of {listed([names[place] for place in order[::-1][:3]])}",
            evidence={
                "ratio": round(float(ratio), 2),
                "effective_classes": round(effective, 2),
                "classes": len(present),
                "counts": {names[place]: int(counts[place]) for place in _both_ends(order)},
            },
        ),
        *found,
    ]


@CHECKS.register("class-too-small", summary="classes and splits with too few images to learn from or to measure on")
def class_too_small(subject: Subject) -> list[Finding]:
    """Return one finding on what cannot be learnt, and up to two on what cannot be measured in each other split."""
    found = _too_few_to_learn(subject)
    for split in ("val", "test"):
        rows = _in_split(subject, split)
        if len(rows):
            found += _too_few_to_measure(subject, split, rows)
    return found


def _too_few_to_learn(subject: Subject) -> list[Finding]:
    rows = _in_split(subject, "train")
    names, images = subject.manifest.classes, _counts(subject, rows)
    differing = _independent(subject, rows)
    small = np.flatnonzero((differing < FEW) & (images > 0))
    if not len(small):
        return []
    small = small[np.argsort(differing[small], kind="stable")]
    listing = listed([f"{names[place]} ({_sizes(images[place], differing[place])})" for place in small])
    one = len(small) == 1
    return [
        Finding(
            severity="warning",
            code="class-too-small",
            message=f"{counted(len(small), 'class has', 'classes have')} fewer than {FEW} training images that differ: "
            f"{listing}; what a network learns of {'it' if one else 'them'} is chance",
            fix="add images, join them with a class that looks alike, or leave them out",
            evidence={
                "kind": "learn",
                "fewest": FEW,
                "classes": [
                    {"class": names[place], "images": int(images[place]), "independent": int(differing[place])}
                    for place in small[:_NAMED]
                ],
            },
            files=subject.named(_of_classes(subject, rows, small)),
        )
    ]


def _too_few_to_measure(subject: Subject, split: str, rows: np.ndarray) -> list[Finding]:
    names, differing = subject.manifest.classes, _independent(subject, rows)
    measured = np.flatnonzero(differing)
    small = measured[differing[measured] < FEW]
    found = []
    total = len(np.unique(subject.units[rows]))
    low, high = interval(round(_GOOD * total), total)
    if (high - low) / 2 > HALF_WIDTH:
        found.append(
            Finding(
                severity="warning",
                code="class-too-small",
                message=f"{split} has {counted(total, 'image')} that differ: an accuracy of {percent(_GOOD)} on it "
                f"means {percent(low)} to {percent(high)} (95 % interval); smaller gains than that may be chance",
                fix=f"add images to {split}, or validate by k-fold (train.folds)",
                evidence={
                    "kind": "split",
                    "split": split,
                    "images": len(rows),
                    "independent": total,
                    "accuracy": _GOOD,
                    "interval": [round(low, 4), round(high, 4)],
                },
            )
        )
    if len(small):
        small = small[np.argsort(differing[small], kind="stable")]
        fewest = int(differing[small[0]])
        low, high = interval(fewest, fewest)
        found.append(
            Finding(
                severity="note",
                code="class-too-small",
                message=f"{len(small):,} of {counted(len(measured), 'class', 'classes')} of {split} have fewer than "
                f"{FEW} images there that differ; with {counted(fewest, 'image')}, as {names[small[0]]} has, a class "
                f"accuracy of 100 % means {percent(low)} to {percent(high)} (95 % interval)",
                fix=f"add images of these classes to {split}, or read their accuracies with their intervals",
                evidence={
                    "kind": "evaluate",
                    "split": split,
                    "fewest": FEW,
                    "classes": [
                        {
                            "class": names[place],
                            "independent": int(differing[place]),
                            "least_at_100_percent": round(interval(int(differing[place]), int(differing[place]))[0], 4),
                        }
                        for place in small[:_NAMED]
                    ],
                },
            )
        )
    return found


def _ever_present(subject: Subject) -> list[Finding]:
    """Multi-label data: a label on nearly every image teaches nothing about images without it."""
    rows = _in_split(subject, "train")
    if not subject.manifest.multilabel or len(rows) < FEW:
        return []
    counts, names = _counts(subject, rows), subject.manifest.classes
    ever = np.flatnonzero(counts >= _EVER * len(rows))
    if not len(ever):
        return []
    listing = listed([f"{names[place]} ({counts[place]:,} of {len(rows):,})" for place in ever])
    return [
        Finding(
            severity="note",
            code="imbalance",
            message=f"nearly every training image has {listing}; that the label may be missing cannot be learnt",
            fix="add images without it, or leave the label out",
            evidence={"images": len(rows), "counts": {names[place]: int(counts[place]) for place in ever[:_NAMED]}},
        )
    ]


def _in_split(subject: Subject, split: str) -> np.ndarray:
    """Return the row numbers of a split; images without one count as training images."""
    wanted = subject.splits == split
    return np.flatnonzero(wanted | (subject.splits == "") if split == "train" else wanted)


def _counts(subject: Subject, rows: np.ndarray) -> np.ndarray:
    """Return how many of these images each class has, (C,)."""
    targets = subject.targets[rows]
    if subject.manifest.multilabel:
        return targets.sum(axis=0, dtype=np.int64)
    return np.bincount(targets, minlength=len(subject.manifest.classes))


def _independent(subject: Subject, rows: np.ndarray) -> np.ndarray:
    """Return how many units each class has among these images, (C,): copies and groups count once."""
    targets = subject.targets[rows]
    if subject.manifest.multilabel:
        image, label = np.nonzero(targets)
    else:
        image, label = np.arange(len(rows)), targets
    pairs = np.unique(np.stack([label, subject.units[rows][image]], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=len(subject.manifest.classes))


def _of_classes(subject: Subject, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    targets = subject.targets[rows]
    if subject.manifest.multilabel:
        return rows[targets[:, classes].any(axis=1)]
    return rows[np.isin(targets, classes)]


def _sizes(images: int, differing: int) -> str:
    return f"{images:,}" if images == differing else f"{images:,}, of which {differing:,} differ"


def _both_ends(order: np.ndarray) -> np.ndarray:
    """Return the largest and the smallest classes where there are too many to name."""
    return order if len(order) <= _NAMED else np.concatenate([order[: _NAMED // 2], order[-_NAMED // 2 :]])
