"""Is the top a linear classifier? Heads on the same frozen features, judged on the same rows they have not seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fovea.core.wording import listed, percent, percent_range
from fovea.metrics.bootstrap import LEVEL, wilson
from fovea.metrics.paired import PairedDifference, paired_difference
from fovea.models.classic_heads import HEADS, check_features

Array = NDArray[Any]


@dataclass(frozen=True)
class HeadScore:
    """How one head did.

    Attributes:
        name: in `HEADS`.
        accuracy: share of rows that were right when held out.
        interval: Wilson's 95 % interval of it.
        log_loss: mean of -ln(probability of the label), probabilities below 1e-15 raised to it.
        calibrated: whether the probabilities are meant as such; else the log loss says little.
        against: the paired difference to the baseline; None for the baseline itself.
        fit_s: seconds of all fits.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    log_loss: float
    calibrated: bool
    against: PairedDifference | None
    fit_s: float


@dataclass(frozen=True)
class HeadComparison:
    """What came of comparing heads.

    Attributes:
        baseline: the head that the others are compared with.
        scores: one for each head, the baseline first.
        rows, folds, seed: what was compared, and how.
        features_from: what gave the features, in words; "" where it was not told.
    """

    baseline: str
    scores: tuple[HeadScore, ...]
    rows: int
    folds: int
    seed: int
    features_from: str = ""

    def __getitem__(self, name: str) -> HeadScore:
        return next(score for score in self.scores if score.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        heads = [{**asdict(one), "verdict": one.against.verdict if one.against else None} for one in self.scores]
        about = {"baseline": self.baseline, "rows": self.rows, "folds": self.folds, "seed": self.seed}
        return {**about, "features_from": self.features_from or None, "answer": self.answer, "heads": heads}

    @property
    def answer(self) -> str:
        """In a sentence: whether any head is better than the baseline."""
        better = [score for score in self.scores if score.against and score.against.verdict == "better"]
        if not better:
            return f"no head is shown to be better than {self.baseline}: a {self.baseline} top will do"
        gains = [
            f"{score.name} by {percent(score.against.difference, digits=1)}"
            f" ({percent_range((score.against.low, score.against.high))})"
            for score in sorted(better, key=lambda score: -score.accuracy)
            if score.against
        ]
        return f"better than {self.baseline}: {listed(gains, limit=len(gains))}"


def compare_heads(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    folds: int = 5,
    seed: int = 0,
    groups: ArrayLike | None = None,
    heads: Sequence[str] | None = None,
    baseline: str = "linear",
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> HeadComparison:
    """Cross-validate every head on the same folds and compare each with the linear one, row by row.

    The intervals of the differences hold all at once: with k heads beside the baseline each has level 1 - 0.05 / k
    (Bonferroni). They speak of other rows like these, not of other trainings, and rows must be independent: name
    `groups` where several show one thing, or near-copies in other folds flatter whoever remembers best, k-NN first of
    all.

    Args:
        features: (N, D), such as the pooled features of a frozen network.
        labels: (N,) numbers or names.
        folds: from 2 on; every class needs as many rows.
        seed: of the folds and of the heads.
        groups: (N,) rows of one group stay in one fold.
        heads: names in `HEADS`; all of them when None.
        baseline: the head that the others are compared with.
        advance: told how many heads of how many are done.

    Raises:
        ValueError: shapes that do not fit, too few folds, or a class with fewer rows than folds.
        UnknownName: no such head.

    >>> x = np.concatenate([np.random.default_rng(0).normal(mean, 1, (20, 4)) for mean in (-2, 2)])
    >>> found = compare_heads(x, np.repeat(["no", "yes"], 20), heads=["linear", "knn"])
    >>> found["knn"].accuracy, found["knn"].against.verdict
    (1.0, 'no difference shown')
    >>> found.answer
    'no head is shown to be better than linear: a linear top will do'
    """
    rows, names = check_features(features), np.asarray(labels)
    fold_of = _folds(rows, names, groups, folds, seed)
    chosen = list(dict.fromkeys((baseline, *(heads or HEADS.names()))))  # each once
    level = 1 - (1 - LEVEL) / max(1, len(chosen) - 1)
    scores: list[HeadScore] = []
    right_by_baseline = np.zeros(0, dtype=bool)
    for name in chosen:
        started = time.perf_counter()
        right, own, calibrated = _held_out(name, rows, names, fold_of, seed)
        against = paired_difference(right, right_by_baseline, level=level) if scores else None
        right_by_baseline = right_by_baseline if scores else right
        low, high = wilson(int(right.sum()), len(right)) or (0.0, 1.0)
        log_loss = -float(np.log(np.clip(own, 1e-15, 1)).mean())
        fit_s = time.perf_counter() - started
        scores.append(HeadScore(name, float(right.mean()), (low, high), log_loss, calibrated, against, fit_s))
        advance(len(scores), len(chosen))
    return HeadComparison(baseline, tuple(scores), len(rows), folds, seed)


def _held_out(name: str, rows: Array, names: Array, fold_of: Array, seed: int) -> tuple[Array, Array, bool]:
    """Return which rows (N,) a head gets right unseen, its probability (N,) of each label, and if it is calibrated."""
    right, own = np.zeros(len(rows), dtype=bool), np.zeros(len(rows))
    for fold in np.unique(fold_of):
        inside, outside = fold_of != fold, np.flatnonzero(fold_of == fold)
        head = HEADS[name].build(seed).fit(rows[inside], names[inside])
        found = head.predict_proba(rows[outside])
        right[outside] = head.classes[found.argmax(axis=1)] == names[outside]
        column = np.searchsorted(head.classes, names[outside]).clip(max=len(head.classes) - 1)
        known = head.classes[column] == names[outside]  # groups may have taken a whole class out of the training part
        own[outside] = np.where(known, found[np.arange(len(outside)), column], 0.0)
    return right, own, head.calibrated


def _folds(rows: Array, names: Array, groups: ArrayLike | None, folds: int, seed: int) -> Array:
    """Return the fold (N,) of each row: every class spread evenly, groups kept together."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if names.shape != (len(rows),):
        raise ValueError(f"labels have shape {names.shape}, expected ({len(rows)},): one for each row of features")
    if folds < 2:
        raise ValueError(f"folds is {folds}, expected 2 or more")
    classes, counts = np.unique(names, return_counts=True)
    if counts.min() < folds:
        raise ValueError(
            f"class {classes[counts.argmin()]!s} has {counts.min()} rows, expected at least {folds}, one for each fold;"
            " take fewer folds or leave the class out"
        )
    kept = None if groups is None else np.asarray(groups)
    if kept is not None and kept.shape != names.shape:
        raise ValueError(f"groups have shape {kept.shape}, expected {names.shape}: one for each row of features")
    splitter = StratifiedKFold if kept is None else StratifiedGroupKFold
    fold_of = np.zeros(len(rows), dtype=np.int64)
    for fold, (_, outside) in enumerate(splitter(folds, shuffle=True, random_state=seed).split(rows, names, kept)):
        fold_of[outside] = fold
    return fold_of
