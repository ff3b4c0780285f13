"""How far features are trusted: chance, imbalance, noise that spares nobody, and pictures that are merely hard."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.data.audit.trust import interval, skill_of, surest_disagreement


def guesses(targets: np.ndarray, right: np.ndarray, sureness: np.ndarray) -> np.ndarray:
    """Probabilities (N, 2) that prefer the label where `right`, by `sureness` in log odds."""
    odds = np.where((targets == 1) == right, sureness, -sureness)
    share = 1 / (1 + np.exp(-odds))
    return np.column_stack([1 - share, share])


def test_intervals_are_wilsons() -> None:
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert interval(0, 0) == (0.0, 1.0)
    low, high = interval(np.array([0, 5]), np.array([10, 10]))
    assert low == pytest.approx([0, 0.2366], abs=1e-4) and high == pytest.approx([0.2775, 0.7634], abs=1e-4)


def test_no_better_than_guessing_is_not_told() -> None:
    targets = np.repeat([0, 1], [110, 90])
    rng = np.random.default_rng(0)
    coin = skill_of(guesses(targets, rng.random(200) < 0.58, rng.random(200)), targets)
    assert coin.guessing == 0.55 and not coin.told
    assert coin.interval[0] < coin.accuracy < coin.interval[1]
    commonest = skill_of(np.tile([0.55, 0.45], (200, 1)), targets)
    assert commonest.accuracy == commonest.guessing and not commonest.told
    assert commonest.untold.tolist() == [0, 1]
    assert skill_of(guesses(targets, rng.random(200) < 0.95, np.ones(200)), targets).told


def test_better_than_guessing_is_not_enough_where_the_surest_fail_too() -> None:
    targets = np.arange(1000) % 2
    right = np.random.default_rng(0).random(1000) < 0.66
    skill = skill_of(guesses(targets, right, np.linspace(0.1, 3, 1000)), targets)
    assert skill.interval[0] > skill.guessing
    assert skill.noise > 0.25 and not skill.told


def test_noise_is_that_of_the_surest_and_hard_pictures_do_not_count() -> None:
    rng = np.random.default_rng(0)
    sureness = rng.random(4000)
    wrong = rng.random(4000) < 0.06
    hard = rng.random(4000) < np.clip(0.6 - sureness, 0, 1)
    assert surest_disagreement(sureness, wrong) == pytest.approx(0.06, abs=0.015)
    assert surest_disagreement(sureness, hard) < 0.005
    assert surest_disagreement(sureness, wrong | hard) == pytest.approx(0.06, abs=0.02)
    assert hard.mean() > 0.15  # what disagreement as a whole would say


def test_a_lucky_part_without_any_does_not_hide_a_few() -> None:
    disagrees = np.zeros(200, bool)
    disagrees[[80, 120, 130, 150, 199]] = True
    assert surest_disagreement(-np.arange(200.0), disagrees) == 5 / 200
    assert surest_disagreement(np.empty(0), np.empty(0, bool)) == 0.0
