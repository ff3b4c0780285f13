"""Labels that are likely wrong, and classes that cannot be told apart: what `confident` finds, in words.

Everything here is judged from features. How well they know the images decides what can be seen: an audit with those of
a network trained on photos sees more than one with `plainfeatures`, and the findings say which it was.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from fovea.core.findings import Finding
from fovea.core.wording import listed
from fovea.data.audit import plainfeatures
from fovea.data.audit.base import FEATURE_CHECKS, Subject
from fovea.data.audit.confident import LEAST_IMAGES, Suspects, suspects, units_of
from fovea.data.audit.relevance import label_suspects
from fovea.data.audit.trust import MOST_NOISE, interval

RANKED_SHARE, RANKED_MOST = 0.1, 20_000  # of all images are named, so that a reader may go on behind the suspects
LEAST_PRECISION, LIKELY = 1 / 3, 0.5  # below the first they are mostly hard images, below the second "may be wrong"
CONFUSED, EACH_WAY = 0.25, 0.2  # shares of two classes' images that fit the other better: surely this, and of each
LEAST_TO_MERGE = 10  # images of a class of which so much may be said
FEW = 0.05  # an estimated precision below that is not worth a number
EXAMPLES = 12  # files shown of a pair of classes


@FEATURE_CHECKS.register("labels", summary="labels that are likely wrong, and classes that cannot be told apart")
def labels(subject: Subject) -> list[Finding]:
    """Rank labels by suspicion (`label-suspect`) and find classes to be merged (`ambiguous-classes`)."""
    if subject.features is None:
        raise ValueError("judging labels needs features")
    classes, targets = len(subject.manifest.classes), subject.targets
    if targets.ndim == 2:
        found = label_suspects(subject.features, targets, copies=subject.copies, seed=subject.seed)
        return _suspect_findings(subject, found)
    if len(np.unique(targets)) < 2:
        return []
    found = suspects(subject.features, targets, classes=classes, copies=subject.copies, seed=subject.seed)
    return [*_suspect_findings(subject, found), *_ambiguous(subject, found)]


def _suspect_findings(subject: Subject, found: Suspects) -> list[Finding]:
    if not len(found.rows):
        return []
    total = len(found.rows)
    count = max(found.suspected, min(math.ceil(RANKED_SHARE * total), RANKED_MOST))  # all suspects, for the proposal
    rows = found.rows[:count]
    sure = found.precision is not None and found.precision >= LEAST_PRECISION
    alarm = sure and found.suspected * (found.precision or 0) >= 1
    evidence = {
        "suspected": found.suspected,
        "judged": total,
        "scores": [round(float(score), 4) for score in found.scores[:count]],
        "given": [_given(subject, row) for row in rows],
        "suggested": [_suggested(subject, row, label) for row, label in zip(rows, found.suggested, strict=False)],
        "estimated_precision": _rounded(found.precision),
        "estimated_noise": _rounded(found.noise),
        "planted_found": _rounded(found.recall),
        "held_out_accuracy": _rounded(found.skill.accuracy),
        "accuracy_interval": [_rounded(end) for end in found.skill.interval],
        "accuracy_by_guessing": _rounded(found.skill.guessing),
        "classes_not_told": [subject.manifest.classes[label] for label in found.skill.untold],
        "features_from": subject.features_from,
        "classes_not_judged": [subject.manifest.classes[label] for label in found.unjudged],
    }
    return [
        Finding(
            severity="warning" if alarm else "note",
            code="label-suspect",
            message=_message(subject, found, alarm=alarm),
            fix=_fix(found, alarm=alarm),
            evidence=evidence,
            files=subject.named(rows, limit=count),
        )
    ]


def _fix(found: Suspects, *, alarm: bool) -> str:
    if alarm:
        return "look through them from the top and correct what is wrong; the list goes on behind the suspects"
    if not found.skill.told:
        return "audit again with features that know such images (--weights), or once a model is trained on them"
    return "nothing must be done; the list begins with the images worth a look"


def _message(subject: Subject, found: Suspects, *, alarm: bool) -> str:
    """Say how many labels are suspect, how many of those are likely wrong, and what limits the judgement."""
    many = f"{found.suspected:,} of {len(found.rows):,} labels"
    if not found.skill.told:
        text = _withheld(subject, found)
    elif alarm:
        verb = "may be" if (found.precision or 0) < LIKELY else "is likely" if found.suspected == 1 else "are likely"
        text = f"{many} {verb} wrong, the most suspicious first"
        text += f" (an estimated {_percent(found.precision)} of these are)"
    elif not found.suspected:
        text = f"none of {len(found.rows):,} labels stands out as wrong; they are ranked by how badly they fit"
    elif found.precision is None:
        text = (
            f"{many} fit{'s' if found.suspected == 1 else ''} another class better; too few to say how many are wrong"
        )
    else:
        text = f"{many} stand{'s' if found.suspected == 1 else ''} out, but rather as hard images than as wrong labels"
        few = found.precision < FEW
        text += " (few if any are wrong)" if few else f" (an estimated {_percent(found.precision)} of these are wrong)"
    if found.skill.told and len(found.skill.untold):
        names = listed([repr(subject.manifest.classes[label]) for label in found.skill.untold], limit=3)
        text += f"; {names} cannot be told from the rest, so nothing can be said of labels there"
    if len(found.unjudged):
        kind = "class" if len(found.unjudged) == 1 else "classes"
        text += f"; {len(found.unjudged):,} {kind} with fewer than {LEAST_IMAGES} images cannot be judged"
    if subject.features_from == plainfeatures.NAME:
        text += "; judged without a network, by colour, layout and edges alone, so fewer of them are right"
    return text


def _withheld(subject: Subject, found: Suspects) -> str:
    """Say why nothing is said of labels: the features do no better than guessing, or fail where they are surest."""
    skill = found.skill
    low, high = skill.interval
    text = (
        f"nothing can be said of {len(found.rows):,} labels: these features tell the classes too badly. "
        f"{_percent(skill.accuracy)} of held-out guesses agree with the label (95 % interval {100 * low:.0f} to "
        f"{100 * high:.0f}), where always guessing the commonest gives {_percent(skill.guessing)}"
    )
    if skill.noise > MOST_NOISE:
        text += f"; even of the surest guesses {_percent(skill.noise)} do not"
    return text


def _given(subject: Subject, row: int) -> str:
    classes, target = subject.manifest.classes, subject.targets[row]
    if np.ndim(target) == 0:
        return classes[int(target)]
    return ", ".join(classes[label] for label in np.flatnonzero(target)) or "no label"


def _suggested(subject: Subject, row: int, label: int) -> str:
    """Name the class; of several labels, say that one should come or go."""
    name, target = subject.manifest.classes[int(label)], subject.targets[row]
    if np.ndim(target) == 0:
        return name
    return f"without {name}" if target[int(label)] else f"with {name}"


def _ambiguous(subject: Subject, found: Suspects) -> list[Finding]:
    """Find pairs of classes whose images fit the other one about as well, both ways."""
    targets, classes = subject.targets, subject.manifest.classes
    _, first = units_of(targets, subject.copies)
    own, probabilities = targets[first], found.probabilities[first]
    counts = np.bincount(own, minlength=len(classes))
    preferred = np.zeros((len(classes), len(classes)))  # images of i that fit j better than i
    for label in np.flatnonzero(counts >= LEAST_TO_MERGE):
        mine = probabilities[own == label]
        preferred[label] = (mine > mine[:, [label]]).sum(axis=0)
    pairs = []
    for one, other in np.argwhere(np.triu(preferred * preferred.T, 1)):
        images = int(counts[one] + counts[other])
        share = float(preferred[one, other] + preferred[other, one]) / images
        each = min(preferred[one, other] / counts[one], preferred[other, one] / counts[other])
        if each >= EACH_WAY and interval(round(share * images), images)[0] >= CONFUSED:
            pairs.append((share, int(one), int(other)))
    if not pairs:
        return []
    pairs.sort(reverse=True)
    described = [
        {
            "classes": [classes[one], classes[other]],
            "images": [int(counts[one]), int(counts[other])],
            "fit_the_other_better": [
                _rounded(preferred[one, other] / counts[one]),
                _rounded(preferred[other, one] / counts[other]),
            ],
            "share": _rounded(share),
        }
        for share, one, other in pairs
    ]
    share, one, other = pairs[0]
    more = f", and {len(pairs) - 1:,} more pairs of classes" if len(pairs) > 2 else ""
    more = ", and another pair of classes" if len(pairs) == 2 else more
    return [
        Finding(
            severity="warning",
            code="ambiguous-classes",
            message=f"{classes[one]!r} and {classes[other]!r} can hardly be told apart: {_percent(share)} of their "
            f"images fit the other better, where a coin would give 50 %{more}",
            fix="merge them, or sharpen what tells them apart and label again; look at the images side by side",
            evidence={
                "pairs": described,
                "merge": _groups(pairs, classes),
                "features_from": subject.features_from,
            },
            groups=tuple(_examples(subject, found, one, other) for _, one, other in pairs),
        )
    ]


def _groups(pairs: list[tuple[float, int, int]], classes: tuple[str, ...]) -> list[list[str]]:
    """Return the classes that hang together by pairs."""
    rows, columns = [one for _, one, _ in pairs], [other for _, _, other in pairs]
    graph = scipy.sparse.coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(classes),) * 2)
    part = connected_components(graph, directed=False)[1]
    joined = sorted({int(part[row]) for row in rows})
    return [[classes[label] for label in np.flatnonzero(part == number)] for number in joined]


def _examples(subject: Subject, found: Suspects, one: int, other: int) -> tuple[str, ...]:
    """Return files of two classes that fit both about as well, from each alike many."""
    chosen: list[np.ndarray] = []
    for label, rival in ((one, other), (other, one)):
        rows = np.flatnonzero(subject.targets == label)
        shares = found.probabilities[rows]
        undecided = np.abs(shares[:, label] - shares[:, rival]) - shares[:, label] - shares[:, rival]
        chosen.append(rows[np.argsort(undecided, kind="stable")][: EXAMPLES // 2])
    return subject.named(np.concatenate(chosen))


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0):.0f} %"


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(float(share), 4)
