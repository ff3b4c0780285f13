"""Single-label numbers against values worked out by hand, and on splits where something is missing."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from fovea.core.files import plain
from fovea.metrics.classification import summarise

CLASSES = ["apple", "pear", "plum"]
TARGETS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 1, 1, 0, 0, 2, 2])


def oracle(predicted: np.ndarray, width: int, sure: float = 0.8) -> np.ndarray:
    """Probabilities that put `sure` on the predicted class and share the rest."""
    rows = np.full((len(predicted), width), (1 - sure) / max(width - 1, 1))
    rows[np.arange(len(predicted)), predicted] = sure
    return rows


@pytest.fixture(scope="module")
def result() -> dict:
    return summarise(oracle(PREDICTED, 3), TARGETS, classes=CLASSES, top_k=2, seed=0)


def test_headline_numbers_are_those_worked_out_by_hand(result: dict) -> None:
    assert result["n"] == 10
    assert result["accuracy"] == pytest.approx(0.7)
    assert result["balanced_accuracy"] == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert result["kappa"] == pytest.approx((0.7 - 0.36) / (1 - 0.36))
    assert result["mcc"] == pytest.approx(34 / (62 * 64) ** 0.5)
    assert result["log_loss"] == pytest.approx(-0.7 * np.log(0.8) - 0.3 * np.log(0.1))
    assert result["brier"] == pytest.approx(0.7 * 0.06 + 0.3 * 1.46)
    assert result["ece"] == pytest.approx(0.1)


def test_averages_are_those_worked_out_by_hand(result: dict) -> None:
    assert result["macro"]["precision"] == pytest.approx((3 / 5 + 2 / 3 + 1) / 3)
    assert result["macro"]["f1"] == pytest.approx((6 / 9 + 4 / 7 + 1) / 3)
    assert result["macro"]["f2"] == pytest.approx((15 / 21 + 10 / 19 + 1) / 3)
    assert result["micro"] == pytest.approx({"precision": 0.7, "recall": 0.7, "f1": 0.7, "f2": 0.7})
    assert result["weighted"]["precision"] == pytest.approx((4 * 3 / 5 + 4 * 2 / 3 + 2) / 10)


def test_confusion_has_the_truth_in_rows_and_names_what_a_class_is_taken_for(result: dict) -> None:
    assert result["confusion"] == [[3, 1, 0], [2, 2, 0], [0, 0, 2]]
    apple, pear, plum = result["per_class"]
    assert (apple["support"], apple["predicted"], apple["most_confused_with"]) == (4, 5, "pear")
    assert (pear["most_confused_with"], pear["most_confused_count"]) == ("apple", 2)
    assert plum["most_confused_with"] is None


def test_top_k_breaks_ties_by_class_id_and_is_capped(result: dict) -> None:
    assert result["top2_accuracy"] == 1.0  # every wrong image's true class ties with plum and comes before it
    tied = summarise(np.full((2, 3), 1 / 3), np.array([0, 2]), classes=CLASSES, top_k=2, seed=0)
    assert tied["top2_accuracy"] == 0.5
    capped = summarise(oracle(PREDICTED, 3), TARGETS, classes=CLASSES, seed=0)
    assert (capped["top5_accuracy"], capped["top_k"]) == (1.0, 3)


def test_agrees_with_scikit_learn_on_many_classes() -> None:
    generator = np.random.default_rng(3)
    targets = generator.integers(0, 7, 400)
    scores = generator.normal(size=(400, 7)) + 2 * np.eye(7)[targets]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    found = summarise(probabilities.astype(np.float32), targets, classes=list("abcdefg"), seed=0)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    assert found["macro"]["f2"] == pytest.approx(sk.fbeta_score(targets, predicted, beta=2, average="macro"))
    assert found["weighted"]["precision"] == pytest.approx(sk.precision_score(targets, predicted, average="weighted"))
    assert found["log_loss"] == pytest.approx(sk.log_loss(targets, probabilities), rel=1e-5)
    assert found["top5_accuracy"] == pytest.approx(sk.top_k_accuracy_score(targets, probabilities, k=5))
    assert found["roc_auc"]["macro"] == pytest.approx(sk.roc_auc_score(targets, probabilities, multi_class="ovr"))
    assert found["kappa"] == pytest.approx(sk.cohen_kappa_score(targets, predicted))


def test_a_class_without_images_is_left_out_of_averages_and_named() -> None:
    probabilities = oracle(PREDICTED, 4)
    found = summarise(probabilities, TARGETS, classes=[*CLASSES, "quince"], seed=0)
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    assert found["macro"]["f1"] == pytest.approx((6 / 9 + 4 / 7 + 1) / 3)
    assert found["classes_without_images"] == ["quince"]
    assert found["averaged_over"] == "classes with images in this split"
    quince = found["per_class"][3]
    assert [quince[key] for key in ("precision", "recall", "f1", "roc_auc", "average_precision")] == [None] * 5
    assert "1 of 4 classes have no images" in found["not_computed"][0]["why"]


def test_an_absent_class_that_is_predicted_has_a_precision_of_zero_but_does_not_enter_the_average() -> None:
    found = summarise(oracle(np.array([0, 1, 2]), 3), np.array([0, 1, 1]), classes=CLASSES, seed=0)
    assert found["per_class"][2]["precision"] == 0.0
    assert found["per_class"][2]["recall"] is None
    assert found["macro"]["precision"] == 1.0
    assert found["micro"]["precision"] == pytest.approx(2 / 3)


def test_zero_division_is_what_was_asked_for_and_is_stated() -> None:
    never = oracle(np.array([0, 0]), 2)
    for rule in (0.0, 1.0):
        found = summarise(never, np.array([0, 1]), classes=["no", "yes"], zero_division=rule, seed=0)
        assert found["per_class"][1]["precision"] == rule
        assert found["zero_division"] == rule


def test_two_classes_also_get_the_numbers_of_the_positive_one() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    found = summarise(np.stack([1 - scores, scores], 1), np.array([0, 0, 1, 1]), classes=["no", "yes"], seed=0)
    assert found["binary"]["positive_class"] == "yes"
    assert found["binary"]["roc_auc"] == 0.75
    assert found["binary"]["average_precision"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert found["binary"]["precision"] == 1.0
    assert "binary" not in summarise(oracle(PREDICTED, 3), TARGETS, classes=CLASSES, seed=0)


@pytest.mark.parametrize("sure", [1.0, 0.4])
def test_perfect_predictions_leave_out_an_interval_that_would_pretend_certainty(sure: float) -> None:
    found = summarise(oracle(TARGETS, 3, sure), TARGETS, classes=CLASSES, seed=0)
    assert (found["accuracy"], found["macro"]["f1"], found["kappa"], found["mcc"]) == (1.0, 1.0, 1.0, 1.0)
    assert found["roc_auc"]["macro"] == 1.0
    assert found["ece"] == pytest.approx(1 - sure)
    assert found["intervals"] is None
    assert "all 10 predictions are right" in found["not_computed"][0]["why"]
    assert found["per_class"][0]["recall_interval"] == pytest.approx([0.5101, 1.0], abs=1e-4)  # Wilson, 4 of 4


def test_all_wrong() -> None:
    found = summarise(oracle((TARGETS + 1) % 3, 3, 1.0), TARGETS, classes=CLASSES, seed=0)
    assert (found["accuracy"], found["macro"]["f1"], found["brier"]) == (0.0, 0.0, 2.0)
    assert found["log_loss"] == pytest.approx(-np.log(1e-15))
    assert found["kappa"] < 0


def test_one_image_and_one_class_present_do_not_crash_and_say_what_is_missing() -> None:
    found = summarise(np.array([[0.2, 0.7, 0.1]]), np.array([1]), classes=CLASSES, seed=0)
    assert (found["n"], found["accuracy"], found["balanced_accuracy"]) == (1, 1.0, 1.0)
    assert found["kappa"] is None
    assert found["roc_auc"]["macro"] is None
    assert {"kappa", "mcc", "intervals", "roc_auc"} <= {item["what"] for item in found["not_computed"]}
    assert summarise(np.ones((3, 1)), np.zeros(3, int), classes=["only"], seed=0)["accuracy"] == 1.0


def test_mcc_is_not_zero_but_missing_when_everything_is_predicted_alike() -> None:
    found = summarise(oracle(np.zeros(4, int), 2), np.array([0, 0, 1, 1]), classes=["no", "yes"], seed=0)
    assert found["mcc"] is None
    assert found["kappa"] == 0.0


def test_intervals_are_seeded_and_hold_the_number() -> None:
    first, again, other = (
        summarise(oracle(PREDICTED, 3), TARGETS, classes=CLASSES, seed=seed)["intervals"] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first["accuracy"][0] < 0.7 < first["accuracy"][1]
    assert first["level"] == 0.95
    without = summarise(oracle(PREDICTED, 3), TARGETS, classes=CLASSES, seed=1, resamples=0)
    assert without["intervals"] is None


def test_everything_is_plain_json(result: dict) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == json.loads(json.dumps(plain(result)))


def test_3000_images_of_81_classes_take_less_than_three_seconds() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 81, 3000)
    probabilities = generator.dirichlet(np.ones(81), 3000)
    started = time.process_time()  # of this process: the machine may be busy
    summarise(probabilities, targets, classes=[str(index) for index in range(81)], seed=0)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (np.array([[np.nan, 0.5], [0.5, 0.5]]), [0, 1], r"1 of 2 images are NaN or infinite \(first: row 0\)"),
        (np.array([[3.0, -2.0]]), [0], r"run from -2 to 3, expected 0 to 1"),
        (np.array([[0.5, 0.2]]), [0], r"row 0 sum to 0.7000, expected 1"),
        (np.zeros((0, 2)), [], "no predictions to judge"),
        (np.array([[0.5, 0.5]]), [2], r"targets run from 2 to 2, expected 0 to 1"),
        (np.array([[0.5, 0.5]]), [-1], r"targets run from -1"),
        (np.array([[0.5, 0.5]]), [0, 1], r"shape \(2,\), expected \(1,\)"),
        (np.array([[0.5, 0.5]]), [0.0], "float64, expected whole class ids"),
        (np.array([[0.2, 0.3, 0.5]]), [0], r"shape \(1, 3\), expected \(N, 2\)"),
    ],
)
def test_arrays_that_cannot_be_judged_are_refused_in_words(
    probabilities: np.ndarray, targets: list, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        summarise(probabilities, np.array(targets), classes=["no", "yes"], seed=0)
