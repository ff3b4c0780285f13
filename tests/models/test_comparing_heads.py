"""Comparing heads: the answer where a line is enough, where it is not, and where the rows do not tell."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_circles
from sklearn.model_selection import StratifiedKFold

from fovea.core.errors import UnknownName
from fovea.metrics.paired import paired_difference
from fovea.models.classic_heads import HEADS
from fovea.models.comparing_heads import compare_heads

RNG = np.random.default_rng(0)
BLOBS = np.concatenate([RNG.normal(centre, 1.5, (40, 4)) for centre in (-1, 1)])
KINDS = np.repeat([3, 7], 40)
QUICK = ["linear", "knn", "naive_bayes"]


def test_the_numbers_are_those_of_rows_held_out() -> None:
    found = compare_heads(BLOBS, KINDS, heads=QUICK, seed=2)
    right: dict[str, np.ndarray] = {}
    for name in QUICK:
        right[name] = np.zeros(80, dtype=bool)
        for inside, outside in StratifiedKFold(5, shuffle=True, random_state=2).split(BLOBS, KINDS):
            head = HEADS[name].build(2).fit(BLOBS[inside], KINDS[inside])
            right[name][outside] = head.classes[head.predict_proba(BLOBS[outside]).argmax(1)] == KINDS[outside]
        assert found[name].accuracy == right[name].mean()
    assert found["knn"].against == paired_difference(right["knn"], right["linear"], level=0.975)  # two comparisons
    assert found["linear"].against is None and [score.name for score in found.scores] == QUICK


def test_a_line_is_enough_for_blobs_and_not_for_circles() -> None:
    blobs = compare_heads(BLOBS, KINDS, heads=QUICK)
    assert {score.against.verdict for score in blobs.scores if score.against} == {"no difference shown"}
    assert blobs.answer == "no head is shown to be better than linear: a linear top will do"
    circles = compare_heads(*make_circles(120, noise=0.1, factor=0.5, random_state=0), heads=QUICK)
    assert circles["knn"].against is not None and circles["knn"].against.verdict == "better"
    assert circles.answer.startswith("better than linear: ")
    assert "knn by " in circles.answer and "naive_bayes by " in circles.answer


def test_a_worse_head_is_called_worse() -> None:
    digits, ids = load_digits(return_X_y=True)
    found = compare_heads(digits[:500], ids[:500], heads=["naive_bayes"])
    assert found["naive_bayes"].against is not None and found["naive_bayes"].against.verdict == "worse"
    assert found["linear"].interval[0] > 0.9 and found["linear"].log_loss < 0.3 < found["naive_bayes"].log_loss
    assert not found["naive_bayes"].calibrated


def test_equal_seeds_give_equal_answers() -> None:
    one, again = (compare_heads(BLOBS, KINDS, heads=["boosting"], folds=2, seed=4) for _ in range(2))
    assert [score.accuracy for score in one.scores] == [score.accuracy for score in again.scores]
    assert one["boosting"].log_loss == again["boosting"].log_loss


def test_copies_flatter_whoever_remembers_unless_they_are_one_group() -> None:
    noise, labels = RNG.normal(0, 1, (40, 8)), np.arange(40) % 2  # nothing to learn
    copies, kinds, owners = np.repeat(noise, 4, axis=0), np.repeat(labels, 4), np.repeat(np.arange(40), 4)
    assert compare_heads(copies, kinds, heads=["knn"])["knn"].accuracy == 1.0
    honest = compare_heads(copies, kinds, groups=owners, heads=["knn"])
    assert honest["knn"].accuracy < 0.7
    assert honest["knn"].against is not None and honest["knn"].against.verdict != "better"


def test_a_head_that_is_named_twice_is_compared_once() -> None:
    features, labels = np.repeat([[0.0], [1.0]], 10, axis=0), np.repeat([0, 1], 10)
    found = compare_heads(features, labels, heads=["knn", "linear", "knn"])
    assert [score.name for score in found.scores] == ["linear", "knn"]
    assert found["knn"].against is not None and found["knn"].against.level == pytest.approx(0.95)


def test_another_baseline() -> None:
    found = compare_heads(BLOBS, KINDS, heads=["linear"], baseline="knn", folds=2)
    assert [score.name for score in found.scores] == ["knn", "linear"] and "a knn top will do" in found.answer


def test_a_class_that_groups_take_out_of_the_training_part_counts_as_wrong() -> None:
    features = np.concatenate([BLOBS, np.full((4, 4), 30.0) + RNG.normal(0, 1, (4, 4))])
    kinds, owners = np.append(KINDS, [9] * 4), np.append(np.arange(80), [99] * 4)
    found = compare_heads(features, kinds, groups=owners, heads=["knn"], folds=2)
    assert found["knn"].accuracy <= 80 / 84 and np.isfinite(found["knn"].log_loss)


def test_misuse_is_told() -> None:
    with pytest.raises(
        ValueError, match="class 7 has 3 rows, expected at least 5, one for each fold; take fewer folds"
    ):
        compare_heads(BLOBS[:43], KINDS[:43])
    with pytest.raises(ValueError, match="folds is 1, expected 2 or more"):
        compare_heads(BLOBS, KINDS, folds=1)
    with pytest.raises(ValueError, match=r"groups have shape \(3,\), expected \(80,\)"):
        compare_heads(BLOBS, KINDS, groups=[1, 2, 3])
    with pytest.raises(UnknownName, match="unknown head 'kernel'"):
        compare_heads(BLOBS, KINDS, heads=["kernel"])
