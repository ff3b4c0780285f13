"""Sessions and groups that a split tears apart: images of one object on both sides, which flatter the results.

Three traces of a session: the group that the data gives; exposures of one camera within seconds; photos that `copies`
found to show one scene. Copies themselves are `split-leakage`'s matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from fovea.core.findings import Finding, Severity
from fovea.core.wording import counted, percent
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.audit.duplicates import groups_of

BURST_S = 10.0  # between two exposures of one session
_SAME_SECOND = 30  # more images in one second than cameras take: not a clock but a stamp
_SHARE, _MANY = 0.05, 10  # of a split's images, or images, from which a tear is a warning
_SHOWN = 12  # members of a group that a reader is likely to see


@CHECKS.register("torn-group", summary="groups, bursts and scenes that a split tears apart")
def torn_group(subject: Subject) -> list[Finding]:
    """Return up to three findings; nothing without a validation or test split."""
    if len(set(subject.splits.tolist())) < 2:
        return []
    return [*_groups(subject), *_bursts(subject), *_scenes(subject)]


def _groups(subject: Subject) -> list[Finding]:
    groups = subject.rows["group"].to_list()
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(row)
    torn = {name: rows for name, rows in members.items() if _is_torn(subject, rows)}
    if not torn:
        return []
    named = ", ".join(list(torn)[:3])
    return [
        _finding(
            subject,
            "group",
            list(torn.values()),
            f"{counted(len(torn), 'group')} of {len(members):,} {'is' if len(torn) == 1 else 'are'} torn apart by the "
            f"split: {named}{' …' if len(torn) > 3 else ''}",
        )
    ]


def _bursts(subject: Subject) -> list[Finding]:
    taken_s = subject.looks.column("taken_s")
    cameras = subject.looks.facts["camera"].fill_null("").to_numpy().astype(str)
    rows = np.flatnonzero(~np.isnan(taken_s))
    if not len(rows):
        return []
    _, camera = np.unique(cameras[rows], return_inverse=True)
    _, moment, repeats = np.unique(
        np.stack([camera, taken_s[rows]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    clock = repeats[moment.reshape(-1)] <= _SAME_SECOND
    rows, camera = rows[clock], camera[clock]
    order = np.lexsort((rows, taken_s[rows], camera))
    rows, camera = rows[order], camera[order]
    breaks = (np.diff(camera) != 0) | (np.diff(taken_s[rows]) > BURST_S)
    sessions = np.split(rows, np.flatnonzero(breaks) + 1)
    torn = [session.tolist() for session in sessions if len(session) > 1 and _is_torn(subject, session)]
    if not torn:
        return []
    return [
        _finding(
            subject,
            "burst",
            torn,
            f"{counted(len(torn), 'burst')} of photos (one camera, within {BURST_S:.0f} s of each other) "
            f"{'is' if len(torn) == 1 else 'are'} torn apart by the split",
        )
    ]


def _scenes(subject: Subject) -> list[Finding]:
    """Photos of one scene in different splits that are no copies of each other."""
    if subject.scenes is None:
        return []
    torn = [
        scene.tolist()
        for scene in groups_of(subject.scenes)
        if _is_torn(subject, scene) and not _one_copy(subject, scene)
    ]
    if not torn:
        return []
    return [
        _finding(
            subject,
            "scene",
            torn,
            f"{counted(len(torn), 'scene')} that several photos show, from another spot or a moment later, "
            f"{'is' if len(torn) == 1 else 'are'} torn apart by the split",
        )
    ]


def _one_copy(subject: Subject, rows: np.ndarray) -> bool:
    return bool(subject.copies[rows[0]] >= 0 and (subject.copies[rows] == subject.copies[rows[0]]).all())


def _is_torn(subject: Subject, rows: Iterable[int]) -> bool:
    return len({subject.splits[row] for row in rows}) > 1


def _finding(subject: Subject, kind: str, torn: list[list[int]], what: str) -> Finding:
    held = [row for rows in torn for row in rows if subject.splits[row] in ("val", "test")]
    evaluated = int(np.isin(subject.splits, ("val", "test")).sum())
    share = len(held) / max(1, evaluated)
    severity: Severity = "warning" if kind == "group" or share >= _SHARE or len(held) >= _MANY else "note"
    return Finding(
        severity=severity,
        code="torn-group",
        message=f"{what}; {counted(len(held), 'image')} of val and test ({percent(share)}) "
        f"{'is' if len(held) == 1 else 'are'} concerned, and results on them flatter the model",
        fix="move each of these groups to one side, or let fovea split the data anew: it keeps groups together "
        "(a column `group` in a table)",
        evidence={"kind": kind, "groups": len(torn), "images": len(held), "share": round(share, 4)},
        groups=tuple(subject.named(_both_sides(subject, rows), limit=None) for rows in torn),  # for the proposal
    )


def _both_sides(subject: Subject, rows: list[int]) -> list[int]:
    """Take rows from each split in turn, so that the first few show both; few rows keep their order."""
    if len(rows) <= _SHOWN:
        return rows
    seen: Counter[str] = Counter()
    turn = {}
    for row in rows:
        split = subject.splits[row]
        turn[row] = seen[split]
        seen[split] += 1
    return sorted(rows, key=lambda row: turn[row])
