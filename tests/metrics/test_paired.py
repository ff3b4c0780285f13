"""The paired interval: a textbook table, its level over many draws, and what it says where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.metrics.paired import crossed_difference, paired_difference


def answers(both: int, one: int, other: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Return who was right, from the four cells of the table."""
    rows = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, one, other, neither], axis=0).astype(bool)
    return rows[:, 0], rows[:, 1]


def test_a_textbook_table() -> None:
    # Agresti 2002, table 10.1: approval of the prime minister, 1,600 people asked twice; 944 and 880 approve
    found = paired_difference(*answers(794, 150, 86, 570))
    assert found.difference == pytest.approx(64 / 1600)
    assert (found.low, found.high) == pytest.approx((0.0212, 0.0587), abs=1e-4)
    assert found.verdict == "better"


def test_the_other_way_round_it_is_the_opposite() -> None:
    one, two = answers(10, 9, 1, 5)
    there, back = paired_difference(one, two), paired_difference(two, one)
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    assert (there.verdict, back.verdict) == ("better", "worse")


def test_nothing_differs_and_that_is_not_certainty() -> None:
    found = paired_difference(*answers(10, 0, 0, 10))
    assert found.difference == 0 and found.low == -found.high and 0.05 < found.high < 0.15
    assert found.verdict == "no difference shown"


def test_the_pairing_matters() -> None:
    # 90 and 80 of 100 right: the same images or not
    agreeing, crossing = paired_difference(*answers(80, 10, 0, 10)), paired_difference(*answers(70, 20, 10, 0))
    assert agreeing.difference == crossing.difference == pytest.approx(0.1)
    assert (agreeing.verdict, crossing.verdict) == ("better", "no difference shown")


@pytest.mark.parametrize(("trials", "cells"), [(30, [0.6, 0.1, 0.1, 0.2]), (100, [0.8, 0.08, 0.02, 0.1])])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_the_interval_keeps_its_level(trials: int, cells: list[float], level: float) -> None:
    truth = cells[1] - cells[2]
    drawn = np.random.default_rng(0).multinomial(trials, cells, size=1500)
    found = [paired_difference(*answers(*row), level=level) for row in drawn]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert level - 0.015 < covered < level + 0.03


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match=r"the answers are \(2,\) and \(3,\); expected two times the same"):
        paired_difference([True, False], [True, False, True])
    with pytest.raises(ValueError, match="N at least 1"):
        paired_difference([], [])


def runs(rng: np.random.Generator, shape: tuple[int, int], ability: float, hardness: np.ndarray) -> np.ndarray:
    """Draw which images (S, N) are right: each image has its hardness, each seed its own luck."""
    luck = rng.normal(0, 0.2, (shape[0], 1))
    return rng.random(shape) < 1 / (1 + np.exp(hardness - ability - luck))


@pytest.mark.parametrize("shape", [(3, 200), (5, 500)])
def test_the_crossed_interval_keeps_its_level_over_seeds_and_images(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        hardness = rng.normal(0, 1.5, shape[1])
        found = crossed_difference(runs(rng, shape, 1.0, hardness), runs(rng, shape, 1.0, hardness))
        covered += found.low <= 0 <= found.high
    assert 0.925 < covered / 600 < 0.985


def test_seeds_that_disagree_widen_the_interval_however_many_images_there_are() -> None:
    baseline = np.zeros((4, 1000), bool)
    steady, moody = baseline.copy(), baseline.copy()
    steady[:, :100] = True  # a tenth more with every seed
    moody[:2, :200] = True  # the same gain in the mean, all of it with two seeds of four
    assert crossed_difference(steady, baseline).verdict == "better"
    found = crossed_difference(moody, baseline)
    assert found.difference == pytest.approx(0.1) and found.verdict == "no difference shown"


def test_the_crossed_interval_by_hand() -> None:
    # differences [[1, 0], [0, 0]]: mean 1/4, mean squares 1/4 (seeds), 1/4 (images), 1/4 (rest); t of one degree
    found = crossed_difference([[True, False], [False, False]], [[False, False], [False, False]])
    half = 12.7062 * np.sqrt(0.25 / 4)
    assert (found.difference, found.low, found.high) == pytest.approx((0.25, max(-1, 0.25 - half), 1.0), abs=1e-4)


def test_one_seed_is_the_paired_interval() -> None:
    one, two = answers(10, 9, 1, 5)
    assert crossed_difference([one], [two]) == paired_difference(one, two)


def test_trainings_that_never_differ_are_no_certainty() -> None:
    found = crossed_difference(np.ones((3, 20), bool), np.ones((3, 20), bool))
    assert found.difference == 0 and found.low < -0.05 and found.high > 0.05


def test_misuse_of_the_crossed_interval_is_told() -> None:
    with pytest.raises(ValueError, match=r"the answers are \(2,\) and \(2,\); expected two times the same \(S, N\)"):
        crossed_difference([True, False], [True, False])
