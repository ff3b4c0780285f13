"""Classifiers for frozen features that are not layers: all of scikit-learn, behind one registry.

A head takes features (N, D), one vector per image, and gives probabilities (N, C). Settings are fixed and the same for
all data: nothing is tuned, so a head that loses might have won with others. `fovea compare DATA --heads` uses
them, `fovea train` does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fovea.core.registry import Registry

Array = NDArray[Any]

_LEAST_ROWS = 5
_CALIBRATION_FOLDS = 3


class Head:
    """A classifier of features: `fit`, then `predict_proba`.

    Features are centred and divided by one number, their root mean square: distances keep their proportions, and
    penalties mean the same for every network. Equal seeds give equal probabilities.

    Args:
        machine: a scikit-learn classifier.
        calibrated: whether its probabilities are meant to be shares of right answers.

    Attributes:
        classes: (C,) the labels that the columns of `predict_proba` stand for, sorted; there after `fit`.
    """

    classes: Array

    def __init__(self, machine: Any, *, calibrated: bool) -> None:
        self.machine = machine
        self.calibrated = calibrated

    def fit(self, features: ArrayLike, labels: ArrayLike) -> Head:
        """Learn from features (N, D) with labels (N,), numbers or names; returns itself.

        Raises:
            ValueError: shapes that do not fit, numbers that are not finite, fewer than 5 rows or 2 classes.
        """
        rows, names = check_features(features), np.asarray(labels)
        if names.shape != (len(rows),):
            raise ValueError(f"labels have shape {names.shape}, expected ({len(rows)},): one for each row of features")
        self.classes = np.unique(names)
        if len(rows) < _LEAST_ROWS or len(self.classes) < 2:
            raise ValueError(
                f"there are {len(rows)} rows of {len(self.classes)} classes; a head needs at least {_LEAST_ROWS} and 2"
            )
        self._centre = rows.mean(axis=0)
        self._scale = float(np.sqrt(np.square(rows - self._centre).mean())) or 1.0
        self.machine.fit(self._scaled(rows), names)
        return self

    def predict_proba(self, features: ArrayLike) -> Array:
        """Return probabilities (N, C) of features (N, D), each row summing to 1."""
        if not hasattr(self, "classes"):
            raise ValueError("the head has learnt nothing yet; call fit(features, labels) first")
        rows = check_features(features)
        if rows.shape[1] != len(self._centre):
            raise ValueError(f"features have {rows.shape[1]} columns, expected {len(self._centre)} as in fit")
        found: Array = self.machine.predict_proba(self._scaled(rows))
        return found / found.sum(axis=1, keepdims=True)

    def _scaled(self, rows: Array) -> Array:
        return (rows - self._centre) / self._scale


HEADS: Registry[Callable[[int], Head]] = Registry("head")


@HEADS.register("linear", summary="softmax regression with an L2 penalty; two classes: logistic (Bishop 2006, §4.3)")
def _linear(seed: int) -> Head:
    from sklearn.linear_model import LogisticRegression

    return Head(LogisticRegression(C=1.0, max_iter=2000), calibrated=True)


@HEADS.register("linear_svm", summary="linear support vectors, each class against the rest (Cortes & Vapnik 1995)")
def _linear_svm(seed: int) -> Head:
    return _support_vectors(seed, kernel="linear", penalty=0.1)


@HEADS.register("kernel_svm", summary="support vectors with a Gaussian kernel (Boser, Guyon & Vapnik 1992)")
def _kernel_svm(seed: int) -> Head:
    return _support_vectors(seed, kernel="rbf", penalty=10.0)


def _support_vectors(seed: int, *, kernel: str, penalty: float) -> Head:
    """One class against the rest: scikit-learn's pairs of classes vote, and votes make poor probabilities.

    Not LinearSVC for a linear kernel: it takes several times as long where features outnumber rows.
    """
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    return Head(Tempered(OneVsRestClassifier(SVC(kernel=kernel, C=penalty)), seed=seed), calibrated=True)


@HEADS.register("naive_bayes", summary="Gaussians, features taken as independent: far too sure (Bishop 2006, §8.2.2)")
def _naive_bayes(seed: int) -> Head:
    from sklearn.naive_bayes import GaussianNB

    return Head(GaussianNB(var_smoothing=1e-3), calibrated=False)


@HEADS.register("knn", summary="votes of the 3 nearest, nearer ones count more (Cover & Hart 1967)")
def _knn(seed: int) -> Head:
    from sklearn.neighbors import KNeighborsClassifier

    return Head(KNeighborsClassifier(n_neighbors=3, weights="distance"), calibrated=False)


@HEADS.register("random_forest", summary="200 trees on resampled rows; shares of their votes (Breiman 2001)")
def _random_forest(seed: int) -> Head:
    from sklearn.ensemble import RandomForestClassifier

    return Head(RandomForestClassifier(n_estimators=200, random_state=seed), calibrated=False)


@HEADS.register("boosting", summary="trees that descend the log loss, on histograms (Friedman 2001; Ke et al. 2017)")
def _boosting(seed: int) -> Head:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # small trees that each look at a tenth of the features: there are as many trees as classes in every round
    machine = HistGradientBoostingClassifier(
        max_iter=40, learning_rate=0.2, max_leaf_nodes=8, max_features=0.1, early_stopping=False, random_state=seed
    )
    return Head(machine, calibrated=False)


class Tempered:
    """Probabilities for a machine that only has decision values: softmax(values / T).

    T is fitted on rows that the machine had not seen (Guo et al. 2017, §4.2: temperature scaling); it changes how sure
    the answer is, never which it is. scikit-learn's `CalibratedClassifierCV` does so too, but refuses classes with
    fewer rows than folds; here a class with a single row is never held out.
    """

    def __init__(self, machine: Any, *, seed: int) -> None:
        self.machine = machine
        self.seed = seed
        self.temperature = 1.0

    def fit(self, rows: Array, names: Array) -> None:
        """Fit the temperature on parts held out in turn, then the machine on everything."""
        _, ids = np.unique(names, return_inverse=True)
        part_of = self._parts(ids)
        values, truths = [], []
        for part in range(part_of.max() + 1):
            held_out = part_of == part
            self.machine.fit(rows[~held_out], ids[~held_out])
            values.append(_one_per_class(self.machine.decision_function(rows[held_out])))
            truths.append(ids[held_out])
        if values:
            self.temperature = _fitted_temperature(np.concatenate(values), np.concatenate(truths))
        self.machine.fit(rows, ids)

    def _parts(self, ids: Array) -> Array:
        """Return the part (N,) in which each row is held out, every class spread over them; -1 for never."""
        rng = np.random.default_rng(self.seed)
        part_of = np.full(len(ids), -1)
        for index in range(ids.max() + 1):
            members = rng.permutation(np.flatnonzero(ids == index))
            if len(members) > 1:
                part_of[members] = np.arange(len(members)) % _CALIBRATION_FOLDS
        return part_of

    def predict_proba(self, rows: Array) -> Array:
        """Return softmax(decision values / T) (N, C)."""
        from scipy.special import softmax

        found: Array = softmax(_one_per_class(self.machine.decision_function(rows)) / self.temperature, axis=1)
        return found


def check_features(features: ArrayLike) -> Array:
    """Return features (N, D) as float64, or raise a ValueError."""
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"features have shape {rows.shape}, expected (N, D): one vector per image")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise ValueError(f"features of {len(bad)} of {len(rows)} rows are NaN or infinite (first: row {bad[0]})")
    return rows


def _one_per_class(values: Array) -> Array:
    """Return decision values (N, C); for two classes scikit-learn gives one for both (N,)."""
    return np.stack([-values, values], axis=1) / 2 if values.ndim == 1 else values


def _fitted_temperature(values: Array, truths: Array) -> float:
    """Return the T from 1e-3 to 1e3 that minimises the log loss of softmax(values / T)."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def log_loss(log_temperature: float) -> float:
        logs = log_softmax(values / np.exp(log_temperature), axis=1)
        return -float(logs[np.arange(len(truths)), truths].mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(np.log(1e-3), np.log(1e3)), method="bounded").x))
