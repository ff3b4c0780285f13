"""Multi-label numbers against values worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from fovea.metrics.multilabel import summarise_multilabel

TARGETS = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
SCORES = np.array([[0.9, 0.2, 0.6], [0.8, 0.3, 0.1], [0.1, 0.7, 0.2], [0.2, 0.9, 0.4]])


def test_numbers_are_those_worked_out_by_hand() -> None:
    found = summarise_multilabel(SCORES, TARGETS, classes=["cat", "dog", "owl"], seed=0)
    assert found["accuracy"] == 0.5  # images 1 and 4
    assert found["hamming_loss"] == pytest.approx(2 / 12)
    assert found["micro"]["precision"] == pytest.approx(4 / 5)
    assert found["micro"]["recall"] == pytest.approx(4 / 5)
    assert found["macro"]["f1"] == pytest.approx((1 + 2 / 4 + 1) / 3)
    assert found["map"] == pytest.approx((1 + (1 + 2 / 3) / 2 + 1) / 3)
    assert found["per_class"][1]["roc_auc"] == 0.75


def test_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    targets = (generator.random((200, 5)) < 0.3).astype(int)
    scores = np.clip(targets * 0.3 + generator.random((200, 5)) * 0.7, 0, 1)
    found = summarise_multilabel(scores, targets, classes=list("abcde"), seed=0)
    predicted = scores >= 0.5
    assert found["map"] == pytest.approx(sk.average_precision_score(targets, scores, average="macro"))
    assert found["macro"]["f2"] == pytest.approx(sk.fbeta_score(targets, predicted, beta=2, average="macro"))
    assert found["weighted"]["recall"] == pytest.approx(sk.recall_score(targets, predicted, average="weighted"))
    low, high = found["intervals"]["macro_f1"]
    assert low < found["macro"]["f1"] < high


def test_the_threshold_includes_its_own_value() -> None:
    found = summarise_multilabel(np.array([[0.7]]), np.array([[1]]), classes=["cat"], threshold=0.7, seed=0)
    assert found["accuracy"] == 1.0


def test_a_label_that_no_image_has_is_left_out_and_named() -> None:
    found = summarise_multilabel(SCORES[:, :2], TARGETS[:, :2] * [1, 0], classes=["cat", "dog"], seed=0)
    assert found["classes_without_images"] == ["dog"]
    assert found["map"] == 1.0
    assert found["per_class"][1]["recall"] is None


def test_no_label_at_all_and_a_single_image_are_judged() -> None:
    found = summarise_multilabel(np.array([[0.1, 0.2]]), np.array([[0, 0]]), classes=["cat", "dog"], seed=0)
    assert found["accuracy"] == 1.0
    assert found["map"] is None
    assert found["macro"]["f1"] is None
    assert {"intervals", "roc_auc"} <= {item["what"] for item in found["not_computed"]}


def test_wrong_shapes_and_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets have shape \(4,\), expected \(4, 3\)"):
        summarise_multilabel(SCORES, TARGETS[:, 0], classes=["cat", "dog", "owl"], seed=0)
    with pytest.raises(ValueError, match="values other than 0 and 1"):
        summarise_multilabel(SCORES, TARGETS * 2, classes=["cat", "dog", "owl"], seed=0)
    with pytest.raises(ValueError, match="NaN"):
        summarise_multilabel(SCORES * np.nan, TARGETS, classes=["cat", "dog", "owl"], seed=0)
