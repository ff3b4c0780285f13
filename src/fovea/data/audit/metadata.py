"""Shortcuts by metadata: how an image is kept gives its class away, so a network need not look at what it shows.

For each property a small predictor (a table of its values, or a tree of few intervals) guesses the class of held-out
images, and is compared with always guessing the commonest one. A single class that a value gives away counts as well,
and so does a value that follows from the class, as where half of the classes come from one camera, half from another.
What is reported is correlation: whether it would hold for new images is for the reader to judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fovea.core.findings import Finding, Severity
from fovea.core.wording import counted, listed, percent
from fovea.data.audit import naming
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.audit.crossval import Task, interval, tasks
from fovea.data.audit.properties import Property, bytes_beyond_content, properties

GAIN = 0.2  # predictive power that counts as a shortcut: the threshold of Deepchecks' "property label correlation"
COMPLETE_GAIN = 0.9  # the labels follow from the property
FOLLOWS_GAIN = 0.5  # the property follows from the labels, far more than it does in honest collections
_SHOWN_GAIN = 0.3  # of what a picture shows anyway
_SURE = 0.997  # confidence of the bounds: dozens of properties are tried, on every class
_SAMPLE = 20_000
_FOLDS = 4
_LEAVES = 48
_FEWEST = 3  # images that a value needs to stand for itself
_CLASS_IMAGES = 20  # of a class, before it can be said to be given away or complete
_PRECISION, _RECALL = 0.8, 0.5  # of the guess at one class that is given away
_VALUES = 20  # distinct ones of a property that may follow from the class
_LABELS = 20  # of multi-label data that are tried, the most balanced ones
_LIFT = 1.5  # times its base rate, from which a class is one that a value speaks for
_TELLING = 0.1  # of what is possible beyond the base rate, below which a rule tells nothing
_RULES, _EXAMPLES = 5, 8
_FINE_VALUES = 20  # images per distinct size, below which the sizes may be those of objects cut out

_FIXES = {
    "size": "bring all images to one size before training (a resize in the network's input still leaves its traces: "
    "blur and stretching), or add images of each class in the other sizes",
    "bytes": "store all images alike, from the originals, at one size, in one format and quality",
    "encoding": "store all images alike, from the originals: one format, one colour mode, one quality; or add images "
    "of each class that are stored the other way",
    "camera": "photograph every class with every camera, and validate on a camera that was not trained on",
    "time": "photograph every class at several times, and give each session a group, so that no split tears it apart",
    "name": "find out whether the names stand for different sources; if so, take each class from every source",
    "folder": "take images of every class from every folder, or give the folders as `group` and validate on others",
    "border": "crop the borders off, or give them to images of all classes alike",
    "color": "none needed if colour is what tells the classes apart; if it comes from light or background, train with "
    "colour jitter",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class _Verdict:
    """How well one property tells the class of held-out images."""

    task: Task
    column: Property
    accuracy: float
    least: float  # lower bound of the accuracy
    majority: float  # share of the commonest class: the accuracy of always guessing it
    given_away: tuple[int, ...]  # classes that it tells with precision and recall
    complete: int  # classes with enough images of which it tells nearly all
    follows: tuple[float, float, float]  # how often the class tells the value: held out, at least, commonest value

    @property
    def gain(self) -> float:
        return (self.accuracy - self.majority) / max(1 - self.majority, 1e-9)

    @property
    def alarming(self) -> bool:
        return self.predicts or bool(self.given_away) or self.follows_gain >= FOLLOWS_GAIN

    @property
    def predicts(self) -> bool:
        """Whether the class follows from the property, by more than chance."""
        least = (self.least - self.majority) / max(1 - self.majority, 1e-9)
        return self.gain >= (GAIN if self.column.worst != "note" else _SHOWN_GAIN) and least >= GAIN / 2

    @property
    def follows_gain(self) -> float:
        """Lower bound of how far the property follows from the class, beyond its commonest value."""
        return (self.follows[1] - self.follows[2]) / max(1 - self.follows[2], 1e-9)

    @property
    def strength(self) -> float:
        return max(self.gain, self.follows_gain)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Rule:
    """A value, or an interval, and the classes that it speaks for: one, or the few that share it."""

    value: str
    places: tuple[int, ...]  # of the classes, the commonest first
    share: float  # of the images with that value that are of these classes
    images: int
    base: float  # share of these classes among all images
    rows: np.ndarray  # that follow the rule

    def text(self, classes: Sequence[str]) -> str:
        names = listed([classes[place] for place in self.places], limit=3).replace(" and ", " or ")
        told = f"{self.value} → {names} in {percent(self.share)} of {counted(self.images, 'image')}"
        return f"{told} (base rate {percent(self.base)})"


@CHECKS.register("metadata-shortcut", summary="file properties, names and borders that predict the class")
def metadata_shortcut(subject: Subject) -> list[Finding]:
    """Return one finding for each family of properties that gives classes away."""
    families: dict[str, list[_Verdict]] = {}
    columns = properties(subject)
    for task in tasks(subject, folds=_FOLDS, limit=_SAMPLE, labels=_LABELS, fewest=_CLASS_IMAGES):
        for column in columns:
            verdict = _judge(column, task)
            if verdict.alarming:
                families.setdefault(column.family, []).append(verdict)
    for other in ("encoding", "size"):  # bytes follow from format, quality and size
        if other in families and "bytes" in families:
            families[other] += families.pop("bytes")
    return [_finding(subject, verdicts) for verdicts in families.values()]


def _judge(column: Property, task: Task) -> _Verdict:
    labels, count = task.labels[task.rows], len(task.classes)
    values = column.values[task.rows]
    guess = np.full_like(labels, -1)
    for number in range(_FOLDS):
        out = task.fold == number
        if out.all() or not out.any():
            continue
        predict = _table if column.texts is not None else _tree
        guess[out] = predict(values[~out], labels[~out], values[out], count)
    weight = task.units / len(labels)  # rows of one unit are one answer
    accuracy, majority = float((guess == labels).mean()), float(np.bincount(labels).max() / len(labels))
    given_away, complete = [], 0
    for place in np.flatnonzero(np.bincount(labels, minlength=count) >= _CLASS_IMAGES):
        own, told = labels == place, guess == place
        hits, base = int((own & told).sum()), float(own.mean())
        complete += hits >= COMPLETE_GAIN * own.sum()
        if base > 0.5 or hits < _PRECISION * told.sum() or hits < _RECALL * own.sum():
            continue
        sure = interval(round(weight * hits), max(round(weight * told.sum()), round(weight * hits)), confidence=_SURE)
        if sure[0] >= (1 + base) / 2:
            given_away.append(int(place))
    return _Verdict(
        task=task,
        column=column,
        accuracy=accuracy,
        least=interval(round(accuracy * task.units), task.units, confidence=_SURE)[0],
        majority=majority,
        given_away=tuple(given_away) if column.worst != "note" else (),
        complete=complete,
        follows=_follows(values, labels, task) if column.worst != "note" else (0.0, 0.0, 0.0),
    )


def _follows(values: np.ndarray, labels: np.ndarray, task: Task) -> tuple[float, float, float]:
    """Return how often the class tells the value: on held-out images, at least, and by the commonest value alone."""
    _, codes = np.unique(values, return_inverse=True)  # one code for all that are unknown
    counts = np.bincount(codes)
    if len(counts) > _VALUES:
        return 0.0, 0.0, 0.0
    guess = np.full_like(codes, -1)
    for number in range(_FOLDS):
        out = task.fold == number
        if out.any() and not out.all():
            guess[out] = _table(labels[~out].astype(np.float64), codes[~out], labels[out], len(counts))
    accuracy = float((guess == codes).mean())
    least = interval(round(accuracy * task.units), task.units, confidence=_SURE)[0]
    return accuracy, least, float(counts.max() / len(codes))


def _table(values: np.ndarray, labels: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    """Guess the commonest class of each value; of values seen too seldom, the commonest class of all."""
    places = int(max(values.max(), asked.max())) + 1
    seen = np.bincount(values.astype(np.int64) * count + labels, minlength=places * count).reshape(places, count)
    best = np.where(seen.sum(axis=1) >= _FEWEST, seen.argmax(axis=1), seen.sum(axis=0).argmax())
    return best[asked.astype(np.int64)]


def _tree(values: np.ndarray, labels: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    return _grown(values, labels, count).predict(_filled(asked))


def _grown(values: np.ndarray, labels: np.ndarray, count: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    smallest = max(_FEWEST + 2, len(labels) // 1000)
    tree = DecisionTreeClassifier(max_leaf_nodes=min(_LEAVES, 2 * count + 4), min_samples_leaf=smallest, random_state=0)
    return tree.fit(_filled(values), labels)


def _filled(values: np.ndarray) -> np.ndarray:
    """Return numbers as a column (N, 1), with the unknown ones far below the rest."""
    return np.nan_to_num(values, nan=-1e30, posinf=1e30, neginf=-1e29)[:, None].astype(np.float32)


def _rules(verdict: _Verdict) -> list[_Rule]:
    """Return what each value or interval says, those first that tell most images beyond the base rate."""
    task, column = verdict.task, verdict.column
    if column.texts is not None:
        cell = column.values.astype(np.int64)
    else:
        tree = _grown(column.values[task.rows], task.labels[task.rows], len(task.classes))
        cell = _joined(_filled(column.values)[:, 0], tree.apply(_filled(column.values)), task.labels)
    base = np.bincount(task.labels, minlength=len(task.classes)) / len(task.labels)
    order = np.argsort(cell, kind="stable")
    rules = []
    for rows in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
        counts = np.bincount(task.labels[rows], minlength=len(base))
        places = _speaks_for(counts / len(rows), base)
        if len(rows) >= _FEWEST and len(places):
            rules.append(
                _Rule(
                    value=_shown(column, column.values[rows]),
                    places=tuple(places.tolist()),
                    share=float(counts[places].sum() / len(rows)),
                    images=len(rows),
                    base=float(base[places].sum()),
                    rows=rows[np.isin(task.labels[rows], places)],
                )
            )
    rules.sort(key=lambda rule: -(rule.share - rule.base) * rule.images)
    if not verdict.predicts and verdict.given_away:
        rules = [rule for rule in rules if set(rule.places) & set(verdict.given_away)] or rules
    telling = [rule for rule in rules if rule.share - rule.base >= _TELLING * (1 - rule.base)]
    return telling or rules[:1]


def _speaks_for(share: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return the class that has most of a value's images, and, if it is not nearly alone, others."""
    ranked = np.argsort(-share, kind="stable")
    if share[ranked[0]] >= _PRECISION or len(share) == 2:
        return ranked[:1] if share[ranked[0]] > base[ranked[0]] else ranked[:0]
    return ranked[share[ranked] >= _LIFT * base[ranked].clip(1e-9)]


def _joined(values: np.ndarray, leaf: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number the intervals of a tree, neighbours that speak for the same class as one."""
    leaves, number = np.unique(leaf, return_inverse=True)
    lowest = np.full(len(leaves), np.inf)
    np.minimum.at(lowest, number, values)
    speaks = np.array([np.bincount(labels[number == place]).argmax() for place in range(len(leaves))])
    ascending = np.argsort(lowest)
    steps = np.concatenate([[0], np.cumsum(np.diff(speaks[ascending]) != 0)])
    interval_of = np.empty(len(leaves), dtype=np.int64)
    interval_of[ascending] = steps
    return interval_of[number]


def _shown(column: Property, values: np.ndarray) -> str:
    if column.texts is not None:
        return column.texts[int(values[0])]
    known = values[~np.isnan(values)]
    if not len(known):
        return "none"
    low, high = column.show(float(known.min())), column.show(float(known.max()))
    text = low if low == high else f"{low} to {high}"
    return text if len(known) == len(values) else f"none or {text}"


def _finding(subject: Subject, verdicts: list[_Verdict]) -> Finding:
    plain = [verdict for verdict in verdicts if verdict.column.family != "bytes"] or verdicts
    if max(verdict.strength for verdict in verdicts) > max(verdict.strength for verdict in plain) + 0.3:
        plain = verdicts
    best = max(verdict.strength for verdict in plain)
    leader = next(verdict for verdict in plain if verdict.strength >= best - 0.05)  # the plainest comes first
    column, classes = leader.column, leader.task.classes
    rules = _rules(leader)
    severity, reason = _severity(subject, leader, rules)
    listing = "; ".join(rule.text(classes) for rule in rules[:3])
    also = [verdict for verdict in verdicts if verdict is not leader]
    if leader.predicts:
        message = (
            f"{column.words} predicts the class{reason}: {listing}; on held-out images it is right for "
            f"{percent(leader.accuracy)}, where the commonest class is right for {percent(leader.majority)}"
        )
    elif leader.given_away:
        names = listed([classes[place] for place in leader.given_away])
        message = f"{column.words} gives {names} away{reason}: {listing}"
    else:
        message = (
            f"{column.words} goes with the class{reason}: {listing}; for {percent(leader.follows[0])} of held-out "
            f"images it follows from the class, where its commonest value is right for {percent(leader.follows[2])}"
        )
    shown = [rule.rows[:_EXAMPLES] for rule in rules[:_RULES]]
    return Finding(
        severity=severity,
        code="metadata-shortcut",
        message=message,
        fix=_FIXES[column.family],
        evidence={
            "property": column.name,
            "gain": round(leader.gain, 4),
            "accuracy": round(leader.accuracy, 4),
            "accuracy_at_least": round(leader.least, 4),
            "majority": round(leader.majority, 4),
            "images": len(leader.task.rows),
            "units": leader.task.units,
            "rules": [
                {
                    "value": rule.value,
                    "class": listed([classes[place] for place in rule.places], limit=3),
                    "share": round(rule.share, 4),
                    "images": rule.images,
                    "base_rate": round(rule.base, 4),
                }
                for rule in rules[:_RULES]
            ],
            "follows_from_class": round(leader.follows[0], 4),
            "commonest_value": round(leader.follows[2], 4),
            "given_away": [classes[place] for place in leader.given_away],
            "also": [
                {"property": verdict.column.name, "gain": round(verdict.gain, 4)}
                | ({"label": verdict.task.classes[1]} if subject.manifest.multilabel else {})
                for verdict in also
            ],
        },
        files=subject.named(np.concatenate(shown)) if shown else (),
    )


def _severity(subject: Subject, verdict: _Verdict, rules: list[_Rule]) -> tuple[Severity, str]:
    """Return how bad it is, and what the sentence should add."""
    column = verdict.column
    if column.worst == "note":
        return "note", ", which may well be what the classes look like"
    if column.family == "bytes":
        stored = Property(name="", words="", family="", values=bytes_beyond_content(subject))
        if not _judge(stored, verdict.task).alarming:
            return "note", ", because some classes show more detail than others"
    if column.family == "name" and _is_code(column, rules):
        return "note", ", as a code that each class has of its own"
    fine = column.family == "size" and len(column.values) < _FINE_VALUES * len(np.unique(column.values))
    if column.worst == "error" and verdict.gain >= COMPLETE_GAIN and verdict.complete >= 2 and not fine:
        return "error", " almost completely"
    return "warning", ""


def _is_code(column: Property, rules: list[_Rule]) -> bool:
    """Return whether each of several classes has one word of its own that no camera or program writes."""
    assert column.texts is not None
    own = len({rule.places for rule in rules}) == len(rules) > 2 and all(len(rule.places) == 1 for rule in rules)
    pure = all(rule.share == 1 for rule in rules) and sum(rule.images for rule in rules) == len(column.values)
    return own and pure and not any(naming.names_a_source(rule.value) for rule in rules)
