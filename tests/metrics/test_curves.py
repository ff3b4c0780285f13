"""Curves: known points, thinning that keeps the shape, bins that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fovea.metrics.curves import (
    MAX_POINTS,
    average_curves,
    calibration_error,
    precision_recall,
    reliability,
    roc,
)

TRUTH = np.array([0, 0, 1, 1])
SCORES = np.array([0.1, 0.4, 0.35, 0.8])


def test_roc_of_four_images() -> None:
    curve = roc(TRUTH, SCORES)
    assert curve is not None
    assert curve.area == 0.75
    assert list(zip(curve.x, curve.y, strict=True)) == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]


def test_precision_recall_rises_in_recall_and_brings_the_average_precision() -> None:
    curve = precision_recall(TRUTH, SCORES)
    assert curve is not None
    assert curve.area == pytest.approx(average_precision_score(TRUTH, SCORES))
    assert (np.diff(curve.x) >= 0).all()
    assert (curve.x[0], curve.y[0], curve.x[-1]) == (0, 1, 1)


def test_undefined_curves_are_none() -> None:
    assert roc(np.ones(3, int), np.array([0.1, 0.2, 0.3])) is None
    assert precision_recall(np.zeros(3, int), np.array([0.1, 0.2, 0.3])) is None
    assert precision_recall(np.ones(3, int), np.array([0.1, 0.2, 0.3])) is not None


@pytest.mark.parametrize("make", [roc, precision_recall])
def test_a_thinned_curve_keeps_its_ends_and_its_shape(make) -> None:
    generator = np.random.default_rng(0)
    truth = (generator.random(20_000) < 0.3).astype(int)
    scores = generator.normal(size=20_000) + truth
    curve = make(truth, scores)
    assert 100 < len(curve.x) <= MAX_POINTS
    assert (curve.x[0], curve.x[-1]) == (0, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area, abs=0.005)


def test_macro_curves_average_the_classes_that_have_one() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    curves = average_curves(truth, truth * 0.8 + 0.1)
    assert {name: curve.area for name, curve in curves.items()} == {
        "roc_micro": 1.0,
        "roc_macro": 1.0,
        "pr_micro": 1.0,
        "pr_macro": 1.0,
    }
    assert (curves["pr_macro"].y == 1).all()
    assert average_curves(np.ones((2, 1), int), np.array([[0.9], [0.8]])).keys() == {"pr_micro", "pr_macro"}


def test_bins_are_open_below_and_closed_above() -> None:
    bins = reliability(np.array([0.5, 0.51, 1.0, 0.0]), np.array([True, False, True, False]), bins=2)
    assert [bin["count"] for bin in bins] == [2, 2]
    assert bins[1] == pytest.approx({"low": 0.5, "high": 1.0, "count": 2, "confidence": 0.755, "accuracy": 0.5})


def test_calibration_error_of_two_bins_and_an_empty_one() -> None:
    bins = reliability(np.array([0.9, 0.9, 0.9, 0.1]), np.array([True, True, False, False]), bins=3)
    assert bins[1]["accuracy"] is None
    assert calibration_error(bins) == pytest.approx(0.75 * abs(2 / 3 - 0.9) + 0.25 * 0.1)
