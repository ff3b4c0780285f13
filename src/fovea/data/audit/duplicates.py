"""Findings about copies: of bytes, of pictures, across splits, and under different labels.

Which images are copies is in `Subject.copies` (`copies` finds them); here it is said what follows from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fovea.core.findings import Finding, Severity
from fovea.core.wording import counted, listed, percent
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.manifest import SPLITS

NAMED_GROUPS = 20_000
_EVALUATED = ("val", "test")
# From so many images, and such a share of a split, copies in train make its result useless and not just flattering.
_LEAK_ERROR, _LEAK_ERROR_SHARE = 5, 0.05


@CHECKS.register("duplicates", summary="exact and near copies, within a split, across splits and across classes")
def duplicates(subject: Subject) -> list[Finding]:
    """Return at most one finding each: duplicate-exact, duplicate-near, split-leakage, label-conflict."""
    groups = groups_of(subject.copies)
    found = [_exact(subject), _near(subject, groups), _leakage(subject, groups), _conflict(subject, groups)]
    return [finding for finding in found if finding is not None]


def groups_of(numbers: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each group of two and more, in order; numbers below 0 stand alone.

    >>> groups_of(np.array([1, -1, 0, 1, 2]))
    [array([0, 3])]
    """
    together = np.flatnonzero(numbers >= 0)
    order = together[np.argsort(numbers[together], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))


def _exact(subject: Subject) -> Finding | None:
    members: dict[str, list[int]] = {}
    for row, digest in enumerate(subject.rows["digest"].to_list()):
        if digest is not None:
            members.setdefault(digest, []).append(row)
    groups = [np.array(rows) for rows in members.values() if len(rows) > 1]
    if not groups:
        return None
    spare = sum(len(group) - 1 for group in groups)
    return _finding(
        subject,
        groups,
        code="duplicate-exact",
        severity="warning",
        message=f"{counted(spare, 'image')} of {len(subject):,} "
        f"{'is' if spare == 1 else 'are'} byte-for-byte the same as another, in {counted(len(groups), 'group')}",
        fix="keep one of each group; --write-clean proposes which",
        evidence={"spare": spare},
    )


def _near(subject: Subject, groups: Sequence[np.ndarray]) -> Finding | None:
    digests = subject.rows["digest"].to_list()
    groups = [group for group in groups if len({digests[row] or row for row in group.tolist()}) > 1]
    if not groups:
        return None
    images = sum(map(len, groups))
    return _finding(
        subject,
        groups,
        code="duplicate-near",
        severity="warning",
        message=f"{images:,} of {len(subject):,} images show the same picture as another, though their bytes differ "
        f"(rescaled, cropped, mirrored, turned, overprinted or taken in a burst), in {counted(len(groups), 'group')}",
        fix="keep one of each group, or let no split part them; --write-clean proposes which to keep",
        evidence={"spare": images - len(groups)},
    )


def _leakage(subject: Subject, groups: Sequence[np.ndarray]) -> Finding | None:
    torn = [group for group in groups if _evaluated_and_more(subject.splits[group])]
    if not torn:
        return None
    leaked: Counter[str] = Counter()
    for group in torn:
        held = [name for name in SPLITS if name in subject.splits[group]]
        for name in held[1:]:  # copies between val and test leak into test
            leaked[name] += int((subject.splits[group] == name).sum())
    totals = {name: int((subject.splits == name).sum()) for name in leaked}
    shares = {name: leaked[name] / totals[name] for name in leaked}
    bad = any(leaked[name] >= _LEAK_ERROR and shares[name] >= _LEAK_ERROR_SHARE for name in leaked)
    told = listed([f"{leaked[name]:,} of {totals[name]:,} {name} images ({percent(shares[name])})" for name in leaked])
    return _finding(
        subject,
        torn,
        code="split-leakage",
        severity="error" if bad else "warning",
        message=f"{told} have a copy in a split that comes before: a model may have seen them, "
        "and what they say of it is too good",
        fix="take the copies out of the training images; --write-clean proposes it",
        evidence={"leaked": dict(leaked), "share": {name: round(share, 4) for name, share in shares.items()}},
    )


def _evaluated_and_more(splits: np.ndarray) -> bool:
    held = set(splits.tolist()) - {""}
    return len(held) > 1 and bool(held & set(_EVALUATED))


def _conflict(subject: Subject, groups: Sequence[np.ndarray]) -> Finding | None:
    labels = subject.targets
    torn = [group for group in groups if len(np.unique(labels[group], axis=0)) > 1]
    if not torn:
        return None
    images = sum(map(len, torn))
    pairs: Counter[str] = Counter()
    if labels.ndim == 1:
        for group in torn:
            pairs[" / ".join(subject.manifest.classes[label] for label in np.unique(labels[group])[:4])] += 1
    told = listed([f"{names} ({count})" for names, count in pairs.most_common(3)], limit=3)
    return _finding(
        subject,
        torn,
        code="label-conflict",
        severity="warning",
        message=f"{counted(len(torn), 'group')} of copies with {images:,} images "
        f"{'has' if len(torn) == 1 else 'have'} different labels" + (f": {told}" if told else ""),
        fix="look at each group and correct the label that is wrong; --write-clean leaves them out",
        evidence={"classes": dict(pairs.most_common(50))},
    )


def _finding(
    subject: Subject,
    groups: Sequence[np.ndarray],
    *,
    code: str,
    severity: Severity,
    message: str,
    fix: str,
    evidence: dict[str, object],
) -> Finding:
    counts = {"groups": len(groups), "images": sum(map(len, groups)), "largest_group": max(map(len, groups))}
    return Finding(
        severity=severity,
        code=code,
        message=message,
        fix=fix,
        evidence={**counts, **evidence},
        groups=tuple(tuple(subject.paths[row] for row in group.tolist()) for group in groups[:NAMED_GROUPS]),
    )
