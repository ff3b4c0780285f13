"""Drift between splits: whether validation and test images are like the training images, and in what they differ.

There are three ways to see it: by the shares of the classes; by what `Looks` and the files tell of as many images of
each class on both sides, so that other shares are not taken for other looks; and by the features, where there are any.
The second and third ask whether a classifier can tell the splits apart on held-out images (Lopez-Paz & Oquab,
"Revisiting classifier two-sample tests", ICLR 2017); an area under its curve of 0.5 means that it cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fovea.core.cores import usable_cores
from fovea.core.findings import Finding, Severity
from fovea.core.wording import counted, listed, percent
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.audit.crossval import deal

# Six random splits of grocery reach areas of 0.46 to 0.51 and a distance of 0.07; the one it comes with, 0.83 and 0.27.
AREA_NOTE, AREA_WARNING = 0.6, 0.75  # lower bounds
FACT_NOTE, FACT_WARNING = 0.2, 0.4  # Kolmogorov-Smirnov distance, or difference of two shares
CLASS_NOTE, CLASS_WARNING = 0.1, 0.3  # bias-corrected Cramér's V
_CHANCE = 1e-3  # p below which a difference is none of chance, before it is divided by the number of facts
_PER_SIDE = 5_000
_FEWEST = 20  # images of each side that a comparison takes
_FOLDS, _TREES, _DIRECTIONS = 4, 100, 32
_EXPECTED = 5  # images of a class that the chi-square test takes
_EXAMPLES = 20

# fact: (what it is called, when the split has more of it, when it has less)
_WORDS = {
    "brightness": ("brightness", "brighter", "darker"),
    "dark_point": ("darkest level", "paler in the shadows", "deeper in the shadows"),
    "bright_point": ("brightest level", "lighter in the lights", "duller in the lights"),
    "contrast": ("contrast", "richer in contrast", "poorer in contrast"),
    "entropy": ("entropy in bits", "richer in tones", "poorer in tones"),
    "sharpness": ("sharpness", "sharper", "blurrier"),
    "detail": ("detail", "more detailed", "less detailed"),
    "red": ("share of red", "redder", "less red"),
    "green": ("share of green", "greener", "less green"),
    "blue": ("share of blue", "bluer", "less blue"),
    "saturation": ("saturation", "more colourful", "paler"),
    "quality": ("JPEG quality", "compressed less", "compressed more"),
    "megapixels": ("size in megapixels", "larger", "smaller"),
    "aspect": ("width to height", "wider", "narrower"),
    "bytes_per_pixel": ("bytes per pixel", "stored in more bytes per pixel", "stored in fewer bytes per pixel"),
}
_KINDS = ("format", "mode", "camera")


@dataclass(frozen=True, kw_only=True)
class _Shift:
    """One fact that differs between two splits."""

    fact: str
    distance: float
    text: str
    evidence: dict[str, Any]


@CHECKS.register("split-drift", summary="validation and test images that are unlike the training images")
def split_drift(subject: Subject) -> list[Finding]:
    """Return up to three findings for each split beside train; nothing where there is no such split."""
    train = np.flatnonzero(np.isin(subject.splits, ("train", "")))
    found: list[Finding] = []
    for split in ("val", "test"):
        rows = np.flatnonzero(subject.splits == split)
        if len(train) and len(rows):
            found += _class_drift(subject, split, train, rows)
            pair = _matched(subject, train, rows)
            if pair is not None:
                found += _looks_drift(subject, split, *pair)
                found += _feature_drift(subject, split, *pair)
    return found


def _class_drift(subject: Subject, split: str, train: np.ndarray, rows: np.ndarray) -> list[Finding]:
    before, after = (_one_of_each_unit(subject, part) for part in (train, rows))
    names = subject.manifest.classes
    if subject.manifest.multilabel:
        first, second = (subject.targets[part].mean(axis=0) for part in (before, after))
        pooled = (first * len(before) + second * len(after)) / (len(before) + len(after))
        error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / len(before) + 1 / len(after)))
        differs = np.abs(second - first) > 4 * error  # four standard errors: as many labels as you like are tried
        strength = float(np.abs(second - first)[differs].max(initial=0))
        what = {"largest_difference": round(strength, 4)}
    else:
        counts = [np.bincount(subject.targets[part], minlength=len(names)) for part in (before, after)]
        first, second = (count / max(1, count.sum()) for count in counts)
        strength, chance = _association(np.stack(counts))
        if chance > _CHANCE:
            return []
        what = {"cramers_v": round(strength, 4), "p": chance}
    if strength < CLASS_NOTE:
        return []
    largest = np.argsort(-np.abs(second - first), kind="stable")[:5]
    listing = listed([f"{names[i]} {percent(second[i])} against {percent(first[i])}" for i in largest[:3]], limit=3)
    return [
        Finding(
            severity="warning" if strength >= CLASS_WARNING else "note",
            code="split-drift",
            message=f"the classes have other shares in {split} than in train: {listing}",
            fix=f"draw {split} by class from the same images as train; if new images will have the shares of {split}, "
            "weight the classes in training",
            evidence={
                "kind": "classes",
                "split": split,
                **what,
                "shares": [
                    {"class": names[i], "train": round(float(first[i]), 4), split: round(float(second[i]), 4)}
                    for i in largest
                ],
            },
        )
    ]


def _association(counts: np.ndarray) -> tuple[float, float]:
    """Return Cramér's V without its bias (Bergsma 2013) and the p of the chi-square test, of (2, C) counts."""
    from scipy.stats import chi2_contingency

    counts = counts[:, counts.sum(axis=0) > 0]
    total = counts.sum()
    rare = counts.sum(axis=0) * counts.sum(axis=1).min() < _EXPECTED * total
    counts = np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2:
        return 0.0, 1.0
    found = chi2_contingency(counts, correction=False)
    freedom = counts.shape[1] - 1
    return float(np.sqrt(max(0.0, found.statistic / total - freedom / (total - 1)))), float(found.pvalue)


def _matched(subject: Subject, train: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return as many images of each class from both sides, drawn at random, one of each unit; None for too few."""
    rng = np.random.default_rng([subject.seed, len(train), len(rows)])
    sides = [_one_of_each_unit(subject, rng.permutation(part)) for part in (train, rows)]
    if subject.manifest.multilabel:
        _, key = np.unique(subject.targets, axis=0, return_inverse=True)
        key = key.reshape(-1)
    else:
        key = subject.targets
    counts = np.minimum(*(np.bincount(key[side], minlength=int(key.max()) + 1) for side in sides))
    chosen = []
    for side in sides:
        order = np.argsort(key[side], kind="stable")
        place = np.arange(len(side)) - np.searchsorted(key[side][order], key[side][order])  # within its class
        taken = side[order[place < counts[key[side][order]]]]
        chosen.append(rng.permutation(taken))
    size = min(len(chosen[0]), _PER_SIDE)
    return (chosen[0][:size], chosen[1][:size]) if size >= _FEWEST else None


def _looks_drift(subject: Subject, split: str, train: np.ndarray, rows: np.ndarray) -> list[Finding]:
    both = np.concatenate([train, rows])
    numbers, kinds = _facts(subject, both)
    shifts = _shifts(numbers, kinds, len(train), split)
    columns = [np.nan_to_num(values, nan=-1e6) for values in numbers.values()]
    for values in kinds.values():
        columns.append(np.unique(values, return_inverse=True)[1].astype(np.float64))
    area, low, high, scores = _told_apart(subject, np.stack(columns, axis=1), both, len(train), forest=True)
    largest = max((shift.distance for shift in shifts), default=0.0)
    if low < AREA_NOTE and largest < FACT_NOTE:
        return []
    severe = low >= AREA_WARNING or largest >= FACT_WARNING
    if shifts:
        what = f"{split} is {listed([shift.text for shift in shifts[:3]], limit=3)}"
    else:
        what = f"{split} looks unlike train, though no single fact says how"
    return [
        _apart(
            subject,
            f"{what}; a classifier tells {counted(len(train), 'image')} of each apart with an area under the curve of "
            f"{area:.2f} ({low:.2f} to {high:.2f}; 0.5 is chance)",
            severity="warning" if severe else "note",
            split=split,
            evidence={"kind": "looks", "facts": [{"fact": s.fact, **s.evidence} for s in shifts]},
            area=(area, low, high),
            rows=rows[np.argsort(-scores[len(train) :], kind="stable")],
        )
    ]


def _feature_drift(subject: Subject, split: str, train: np.ndarray, rows: np.ndarray) -> list[Finding]:
    if subject.features is None:
        return []
    both = np.concatenate([train, rows])
    features = subject.features[both].astype(np.float64)
    features -= features.mean(axis=0)
    _, _, directions = np.linalg.svd(features[:: max(1, len(both) // 2000)], full_matrices=False)
    main = features @ directions[:_DIRECTIONS].T
    main /= np.maximum(main.std(axis=0), 1e-9)
    area, low, high, scores = _told_apart(subject, main, both, len(train), forest=False)
    if low < AREA_NOTE:
        return []
    source = subject.features_from or "a network"
    return [
        _apart(
            subject,
            f"{split} shows other things than train: from the features of {source} a classifier tells "
            f"{counted(len(train), 'image')} of each apart with an area under the curve of {area:.2f} ({low:.2f} to "
            f"{high:.2f}; 0.5 is chance), the classes being equal",
            severity="warning" if low >= AREA_WARNING else "note",
            split=split,
            evidence={"kind": "features", "features": source},
            area=(area, low, high),
            rows=rows[np.argsort(-scores[len(train) :], kind="stable")],
        )
    ]


def _apart(
    subject: Subject,
    message: str,
    *,
    severity: Severity,
    split: str,
    evidence: dict[str, Any],
    area: tuple[float, float, float],
    rows: np.ndarray,
) -> Finding:
    return Finding(
        severity=severity,
        code="split-drift",
        message=message,
        fix=f"if new images will look like {split}, add such images to train or augment towards them; if not, draw "
        f"{split} anew",
        evidence={
            "split": split,
            **evidence,
            "area": round(area[0], 4),
            "area_interval": [round(area[1], 4), round(area[2], 4)],
            "images_of_each": len(rows),
        },
        files=subject.named(rows[:_EXAMPLES]),
    )


def _facts(subject: Subject, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what is compared of these images: numbers (NaN where unknown), and kinds as text."""
    looks = subject.looks.take(rows)
    table = subject.rows[rows]
    width, height, size = (
        table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in ("width", "height", "bytes")
    )
    means = {name: looks.column(f"mean_{name}") for name in "rgb"}
    total = np.maximum(sum(means.values()), 1e-6)
    color = looks.color.reshape(len(rows), -1, 3).astype(np.int16)
    numbers = {name: looks.column(name) for name in _WORDS if name in looks.facts.columns}
    numbers |= {word: means[word[0]] / total for word in ("red", "green", "blue")}
    numbers["saturation"] = (color.max(axis=2) - color.min(axis=2)).mean(axis=1) / 255
    numbers["megapixels"] = width * height / 1e6
    numbers["aspect"] = width / height
    numbers["bytes_per_pixel"] = size / np.maximum(width * height, 1)
    return numbers, {name: looks.facts[name].fill_null("none").to_numpy().astype(str) for name in _KINDS}


def _shifts(numbers: dict[str, np.ndarray], kinds: dict[str, np.ndarray], first: int, split: str) -> list[_Shift]:
    """Return the facts that differ by more than chance and more than a little, the greatest distance first.

    Darkest and brightest level come last: they mostly follow brightness and contrast.
    """
    from scipy.stats import chi2_contingency, ks_2samp

    chance = _CHANCE / (len(numbers) + len(kinds))
    found = []
    for name, values in numbers.items():
        before, after = (part[~np.isnan(part)] for part in (values[:first], values[first:]))
        if min(len(before), len(after)) < _FEWEST:
            continue
        test = ks_2samp(before, after, method="asymp")
        if test.pvalue > chance or test.statistic < FACT_NOTE:
            continue
        usual, here = float(np.median(before)), float(np.median(after))
        called, more, less = _WORDS[name]
        if here == usual:
            text = f"more mixed in {called} (median {here:.3g} in both)"
        else:
            text = f"{more if here > usual else less} (median {called} {here:.3g} against {usual:.3g})"
        evidence = {
            "distance": round(float(test.statistic), 4),
            "p": float(test.pvalue),
            "train": round(usual, 6),
            split: round(here, 6),
        }
        found.append(_Shift(fact=name, distance=float(test.statistic), text=text, evidence=evidence))
    for name, texts in kinds.items():
        options, number = np.unique(texts, return_inverse=True)
        counts = np.stack([np.bincount(part, minlength=len(options)) for part in (number[:first], number[first:])])
        shares = counts / counts.sum(axis=1, keepdims=True)
        place = int(np.abs(shares[1] - shares[0]).argmax())
        distance = float(np.abs(shares[1] - shares[0])[place])
        if len(options) < 2 or distance < FACT_NOTE or chi2_contingency(counts).pvalue > chance:
            continue
        text = f"of another {name} ({options[place]} {percent(shares[1][place])} against {percent(shares[0][place])})"
        told: dict[str, Any] = {"distance": round(distance, 4), "value": str(options[place])}
        told |= {"train": round(float(shares[0][place]), 4), split: round(float(shares[1][place]), 4)}
        found.append(_Shift(fact=name, distance=distance, text=text, evidence=told))
    return sorted(found, key=lambda shift: (shift.fact.endswith("_point"), -shift.distance))


def _told_apart(
    subject: Subject, columns: np.ndarray, rows: np.ndarray, first: int, *, forest: bool
) -> tuple[float, float, float, np.ndarray]:
    """Return the area under the curve of telling the sides apart, its 95 % interval, and each image's score.

    The interval is that of Hanley & McNeil, "The meaning and use of the area under a ROC curve" (1982).
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    side = (np.arange(len(rows)) >= first).astype(np.int64)
    fold = deal(subject.units[rows], side, folds=_FOLDS, seed=subject.seed)
    scores = np.full(len(rows), 0.5)
    for held in range(_FOLDS):
        out = fold == held
        if not out.any() or len(np.unique(side[~out])) < 2:
            continue
        model: Any = LogisticRegression(C=0.1, max_iter=500)
        if forest:
            model = ExtraTreesClassifier(
                _TREES, min_samples_leaf=5, max_features=None, random_state=subject.seed, n_jobs=usable_cores()
            )
        scores[out] = model.fit(columns[~out], side[~out]).predict_proba(columns[out])[:, 1]
    area = float(roc_auc_score(side, scores))
    ones, zeros = int(side.sum()), int((1 - side).sum())
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (ones - 1) * (one - area**2) + (zeros - 1) * (two - area**2)
    half = 1.96 * float(np.sqrt(max(spread, 0) / (ones * zeros)))
    return area, max(0.0, area - half), min(1.0, area + half), scores


def _one_of_each_unit(subject: Subject, rows: np.ndarray) -> np.ndarray:
    _, first = np.unique(subject.units[rows], return_index=True)
    return rows[np.sort(first)]
