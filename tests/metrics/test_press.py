"""PRESS: equal to leaving each row out for real, and the expected values of classes that are numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from fovea.metrics.press import class_values, judge_values, press


def brute_force(features: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Return each row's residual from a fit on all the others."""
    residuals = []
    for row in range(len(targets)):
        others = np.arange(len(targets)) != row
        fit = Ridge(alpha=penalty, solver="svd", tol=1e-12).fit(features[others], targets[others])
        residuals.append(targets[row] - fit.predict(features[[row]])[0])
    return np.array(residuals)


@pytest.mark.parametrize("penalty", [0.0, 1e-3, 0.5, 20.0])
@pytest.mark.parametrize("shape", [(30, 5), (12, 40)])
def test_the_residuals_are_those_of_leaving_each_row_out(shape: tuple[int, int], penalty: float) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, shape)
    targets = features[:, 0] - 2 * features[:, 1] + rng.normal(0, 1, len(features)) + 10
    if penalty == 0 and shape[1] >= shape[0]:
        with pytest.raises(ValueError, match="a row of the 12 cannot be left out at any penalty: 40 features"):
            press(features, targets, penalties=[0])
        return
    found = press(features, targets, penalties=[penalty])
    expected = brute_force(features, targets, penalty)
    np.testing.assert_allclose(found.residuals, expected, atol=1e-8)
    assert found.press == pytest.approx(np.square(expected).sum(), abs=1e-8, rel=1e-8)
    spread = np.square(targets - targets.mean()).sum()
    assert found.r2_predicted == pytest.approx(1 - found.press / spread, abs=1e-12)


def test_known_numbers_by_hand() -> None:
    found = press([[1.0], [2.0], [3.0], [4.0]], [1.0, 2.0, 2.0, 4.0], penalties=[0])
    np.testing.assert_allclose(found.leverages, [0.7, 0.3, 0.3, 0.7], atol=1e-12)
    # residuals of the line 0.9 x: 0.1, 0.2, -0.7, 0.4; each over 1 - leverage
    np.testing.assert_allclose(found.residuals, [0.1 / 0.3, 0.2 / 0.7, -0.7 / 0.7, 0.4 / 0.3], atol=1e-12)
    assert found.press == pytest.approx(131 / 44.1, abs=1e-12)
    # features that say nothing leave the mean: (y - mean) · n / (n - 1)
    mean = press(np.ones((4, 2)), [0.0, 0.0, 4.0, 4.0], penalties=[1.0])
    np.testing.assert_allclose(mean.residuals, np.array([-2, -2, 2, 2]) * 4 / 3, atol=1e-12)
    assert mean.r2_predicted == pytest.approx(1 - 16 / 9, abs=1e-12)


def test_the_penalty_with_the_least_press_is_chosen() -> None:
    features, targets = load_diabetes(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(targets))[:80]
    penalties = [1e-3, 0.1, 1.0, 100.0]
    found = press(features[rows], targets[rows], penalties=penalties)
    by_hand = [float(np.square(brute_force(features[rows], targets[rows], penalty)).sum()) for penalty in penalties]
    assert [total for _, total in found.tried] == pytest.approx(by_hand, rel=1e-8)
    assert found.penalty == penalties[int(np.argmin(by_hand))] == 0.1
    assert found.press == min(total for _, total in found.tried)
    whole = press(features, targets)  # of its own penalties
    assert len(whole.tried) == 12 and 0.45 < whole.r2_predicted < 0.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("features", "targets", "penalties", "message"),
    [
        ([[1.0], [2.0]], [1.0, 2.0], None, "there are 2 rows; leaving one out of a fit needs at least 3"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], None, r"features are \(3,\) and targets \(3,\)"),
        ([[1.0], [np.nan], [2.0]], [1.0, 2.0, 3.0], None, "not finite"),
        ([[1.0], [3.0], [2.0]], [1.0, 2.0, 3.0], [-1.0], "a penalty is -1.0"),
    ],
)
def test_what_cannot_be_judged_is_refused(features: list, targets: list, penalties: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        press(features, targets, penalties=penalties)


def test_only_names_that_are_all_numbers_have_values() -> None:
    values = class_values(["0", "07", " -2.5 ", "1e3"])
    assert values is not None and values.tolist() == [0, 7, -2.5, 1000]
    for names in (["1", "two"], ["1_0", "2"], ["nan", "1"], ["inf", "1"], ["1", ""], []):
        assert class_values(names) is None


def test_expected_values_are_judged_by_hand_computed_numbers() -> None:
    probabilities = [[0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]]
    found = judge_values(probabilities, [0, 2, 1], [10, 20, 40])
    # expected 15, 35, 10 against 10, 40, 20
    assert found == {
        "press": 25 + 25 + 100,
        "r2_predicted": pytest.approx(1 - 150 / (4200 / 9)),
        "mae": pytest.approx(20 / 3),
    }
    assert judge_values([[0.5, 0.5], [1, 0]], [0, 0], [1, 2])["r2_predicted"] is None
