"""Images that fit no class: unlike the rest of their own, and near no other.

An image is far where its distance to a class, the mean of those to the class's nearest images, is large for this data:
measured from the median in units of the way to the ninth decile, and by angle or by length of features, whichever says
so. An image far from its class but near another one is no outlier; it is likely a wrong label. What cannot be seen
this way are more than a handful of alike images in one class: they keep each other company.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from fovea.core.findings import Finding
from fovea.data.audit.base import FEATURE_CHECKS, Subject
from fovea.data.audit.confident import means_of, units_of
from fovea.data.audit.neighbours import Distances, class_distances

NEIGHBOURS = 8
LEAST_IMAGES = 20  # of fewer, the ninth decile says nothing
FAR = 2.35  # of normally distributed distances, one in 770 is as far from its class
FAR_FROM_ALL, NO_CLASS = 1.2, 1.5  # of the distance to the nearest class, by the same measure


@FEATURE_CHECKS.register("outliers", summary="images unlike the rest of their class, and images of no class")
def outliers(subject: Subject) -> list[Finding]:
    """Find images that fit no class, the farthest first; at most two findings: of no class, and unusual."""
    if subject.features is None:
        raise ValueError("outliers need features")
    labels = np.zeros(len(subject), np.int64) if subject.targets.ndim == 2 else subject.targets
    classes = int(labels.max(initial=-1)) + 1
    unit_of, first = units_of(labels, subject.copies)
    if len(first) < LEAST_IMAGES:
        return []
    points = means_of(subject.features, unit_of)
    kinds = class_distances(points, labels[first], classes=classes, k=NEIGHBOURS, seed=subject.seed)
    own, least = (np.stack([_far(getattr(kind, name)) for kind in kinds]) for name in Distances._fields[:2])
    odd = (own > FAR) & (least > FAR_FROM_ALL)  # (2, U): by angle, by length
    score = np.where(odd, own, -np.inf).max(axis=0)[unit_of]
    no_class = np.any(odd & (least > NO_CLASS), axis=0)[unit_of]
    ranked = np.argsort(-score, kind="stable")
    ranked = ranked[np.isfinite(score[ranked])]
    by_kind = (("no class", ranked[no_class[ranked]]), ("unusual", ranked[~no_class[ranked]]))
    return [_finding(subject, rows, score, kind) for kind, rows in by_kind if len(rows)]


def _far(distances: np.ndarray) -> np.ndarray:
    """Return distances from their median, in units of the way from there to the ninth decile; unknown ones are 0."""
    known = distances[np.isfinite(distances)]
    if not len(known):
        return np.zeros(len(distances))
    median, decile = np.quantile(known, [0.5, 0.9])
    unit = max(decile - median, 0.05 * median, 1e-6)
    return np.where(np.isfinite(distances), (distances - median) / unit, 0.0)


def _finding(subject: Subject, rows: np.ndarray, score: np.ndarray, kind: str) -> Finding:
    labels = [] if subject.targets.ndim == 2 else [subject.manifest.classes[label] for label in subject.targets[rows]]
    where = ", ".join(f"{name} ({number:,})" for name, number in Counter(labels).most_common(5))
    if len(set(labels)) > 5:
        where += f" and {len(set(labels)) - 5:,} more classes"
    many = f"{len(rows):,} images look" if len(rows) > 1 else "1 image looks"
    what = "like no class of this data" if kind == "no class" else "unlike the other images of the class"
    return Finding(
        severity="warning" if kind == "no class" else "note",
        code="outlier",
        message=f"{many} {what}, the farthest first" + (f"; labelled {where}" if where else ""),
        fix="look at them: leave out what does not belong, and add more like those that do",
        evidence={
            "kind": kind,
            "images": len(rows),
            "scores": [round(float(value), 3) for value in score[rows]],
            "given": labels,
            "least_score": FAR,
            "features_from": subject.features_from,
        },
        files=subject.named(rows, limit=None),  # the proposal acts on each
    )
