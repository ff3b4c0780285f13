"""Heads on frozen features: what each can and cannot tell apart, seeds, calibration, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_circles
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from fovea.models.classic_heads import HEADS, Tempered

NAMES = HEADS.names()
RNG = np.random.default_rng(0)
BLOBS = np.concatenate([RNG.normal(centre, 1, (30, 6)) for centre in 5 * np.eye(3, 6)]).astype(np.float32)
KINDS = np.repeat(["apple", "bee", "cow"], 30)


def halves(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(train_test_split(features, labels, test_size=0.5, random_state=0, stratify=labels))


def accuracy(name: str, features: np.ndarray, labels: np.ndarray) -> float:
    inside, outside, learnt, asked = halves(features, labels)
    head = HEADS[name].build(0).fit(inside, learnt)
    return float((head.classes[head.predict_proba(outside).argmax(1)] == asked).mean())


@pytest.mark.parametrize("name", NAMES)
def test_every_head_gives_probabilities_of_the_classes(name: str) -> None:
    head = HEADS[name].build(0).fit(BLOBS, KINDS)
    found = head.predict_proba(BLOBS[:7])
    assert head.classes.tolist() == ["apple", "bee", "cow"]
    assert found.shape == (7, 3) and found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert accuracy(name, BLOBS, KINDS) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_probabilities_whatever_the_scale(name: str) -> None:
    one, again, scaled = (HEADS[name].build(3) for _ in range(3))
    first = one.fit(BLOBS, KINDS).predict_proba(BLOBS)
    assert np.array_equal(first, again.fit(BLOBS, KINDS).predict_proba(BLOBS))
    np.testing.assert_allclose(first, scaled.fit(64 * BLOBS + 8, KINDS).predict_proba(64 * BLOBS + 8), atol=1e-3)


def test_a_seed_decides_what_is_random() -> None:
    one, other = (HEADS["random_forest"].build(seed).fit(BLOBS, KINDS).predict_proba(BLOBS) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_a_circle_needs_more_than_a_line() -> None:
    features, labels = make_circles(300, noise=0.08, factor=0.4, random_state=0)
    found = {name: accuracy(name, features, labels) for name in NAMES}
    assert max(found["linear"], found["linear_svm"]) < 0.65
    assert min(found[name] for name in NAMES if not name.startswith("linear")) > 0.95


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"boosting", "random_forest"}))  # whose happen to fit here
def test_what_is_called_calibrated_is_and_the_rest_is_too_sure(name: str) -> None:
    # overlapping classes: the best possible answer is right in about 3 of 4 rows
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 1200)
    features = np.concatenate(
        [rng.normal(0.45 * (2 * labels[:, None] - 1), 1, (1200, 2)), rng.normal(0, 1, (1200, 8))], 1
    )
    features = np.concatenate([features, features[:, :2] + 0.1 * rng.normal(0, 1, (1200, 2))], 1)  # told twice
    inside, outside, learnt, asked = halves(features, labels)
    head = HEADS[name].build(0).fit(inside, learnt)
    found = head.predict_proba(outside)
    gap = found.max(1).mean() - (found.argmax(1) == asked).mean()
    assert abs(gap) < 0.05 if head.calibrated else gap > 0.05


def test_a_temperature_never_changes_the_answer_and_helps_the_log_loss() -> None:
    features, labels = load_digits(return_X_y=True)
    inside, outside, learnt, asked = halves(features[:600] / 16, labels[:600])
    tempered, hot = (Tempered(OneVsRestClassifier(SVC(C=10.0)), seed=0) for _ in range(2))
    tempered.fit(inside, learnt)
    hot.machine.fit(inside, learnt)
    found = tempered.predict_proba(outside)
    assert np.array_equal(found.argmax(1), hot.machine.predict(outside))
    assert hot.temperature == 1 and tempered.temperature < 0.9  # margins of 1 are too flat as logits
    own = found[np.arange(len(asked)), asked]
    assert -np.log(own).mean() < -np.log(hot.predict_proba(outside)[np.arange(len(asked)), asked]).mean() - 0.2


@pytest.mark.parametrize("name", ["linear_svm", "kernel_svm"])
def test_classes_of_one_row_can_be_calibrated_around(name: str) -> None:
    labels = np.array(["apple"] * 8 + ["bee"] * 2 + ["cow"])
    head = HEADS[name].build(0).fit(BLOBS[: len(labels)] + np.repeat([0, 9, 20], [8, 2, 1])[:, None], labels)
    assert head.predict_proba(np.full((1, 6), 20.0)).argmax() == 2
    alone = HEADS[name].build(0).fit(10 * np.eye(5), np.arange(5))
    assert alone.machine.temperature == 1 and alone.predict_proba(10 * np.eye(5)).argmax(1).tolist() == [0, 1, 2, 3, 4]


def test_the_linear_head_is_scikit_learns_on_scaled_features() -> None:
    centred = BLOBS - BLOBS.mean(0)
    scaled = (centred / np.sqrt(np.square(centred).mean())).astype(np.float64)
    theirs = LogisticRegression(C=1.0, max_iter=2000).fit(scaled, KINDS).predict_proba(scaled)
    np.testing.assert_allclose(HEADS["linear"].build(0).fit(BLOBS, KINDS).predict_proba(BLOBS), theirs, atol=1e-4)


def test_misuse_is_told() -> None:
    head = HEADS["linear"].build(0)
    with pytest.raises(ValueError, match=r"the head has learnt nothing yet; call fit"):
        head.predict_proba(BLOBS)
    with pytest.raises(ValueError, match=r"features have shape \(6,\), expected \(N, D\): one vector per image"):
        head.fit(BLOBS[0], KINDS)
    with pytest.raises(ValueError, match=r"labels have shape \(90, 1\), expected \(90,\)"):
        head.fit(BLOBS, KINDS[:, None])
    with pytest.raises(ValueError, match="there are 90 rows of 1 classes; a head needs at least 5 and 2"):
        head.fit(BLOBS, np.zeros(90))
    broken = BLOBS.copy()
    broken[[4, 9], 0] = np.nan
    with pytest.raises(ValueError, match=r"features of 2 of 90 rows are NaN or infinite \(first: row 4\)"):
        head.fit(broken, KINDS)
    with pytest.raises(ValueError, match="features have 2 columns, expected 6 as in fit"):
        head.fit(BLOBS, KINDS).predict_proba(BLOBS[:, :2])
