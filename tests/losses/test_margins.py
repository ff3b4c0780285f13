"""Yes-or-no losses: equal to torch's and scikit-learn's, upper bounds of the 0-1 loss, weights, answers left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model._sgd_fast import Hinge as SklearnHinge
from sklearn.linear_model._sgd_fast import ModifiedHuber as SklearnModifiedHuber
from torch.nn import functional

from fovea.losses.margins import Exponential, Hinge, Logistic, MarginLoss, ModifiedHuber

MARGINS = torch.linspace(-4, 4, 161, dtype=torch.float64)


def test_logistic_is_torchs_binary_cross_entropy() -> None:
    scores, target = torch.randn(5, 3), torch.rand(5, 3)  # answers in between, too
    expected = functional.binary_cross_entropy_with_logits(scores, target)
    torch.testing.assert_close(Logistic()(scores, target), expected)
    torch.testing.assert_close(Logistic(reduction="none")(MARGINS, torch.ones(161)), torch.log1p(torch.exp(-MARGINS)))


@pytest.mark.parametrize(("loss", "sklearn"), [(Hinge, SklearnHinge(1.0)), (ModifiedHuber, SklearnModifiedHuber())])
def test_hinge_and_modified_huber_are_scikit_learns(loss: type[MarginLoss], sklearn: object) -> None:
    for answer in (0, 1):
        ours = loss(reduction="none")(MARGINS, torch.full((161,), answer))
        theirs = [sklearn.py_loss(float(score), 2.0 * answer - 1) for score in MARGINS]  # type: ignore[attr-defined]
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


def test_exponential_is_what_adaboost_descends() -> None:
    features, labels = make_classification(120, 6, flip_y=0.2, random_state=0)
    boosted = AdaBoostClassifier(n_estimators=8, random_state=0).fit(features, labels)
    scores, bound = torch.zeros(120, dtype=torch.float64), 1.0
    for stump, error, weight in zip(
        boosted.estimators_, boosted.estimator_errors_, boosted.estimator_weights_, strict=True
    ):
        losses = Exponential(reduction="none")(scores, torch.as_tensor(labels))
        torch.testing.assert_close(losses.mean().item(), bound)  # Freund & Schapire 1997, theorem 6
        guesses = stump.predict(features)
        # the error that AdaBoost measured is weighted by our losses
        assert float(losses[guesses != labels].sum() / losses.sum()) == pytest.approx(error, rel=1e-9)
        scores = scores + weight / 2 * torch.as_tensor(2.0 * guesses - 1)
        bound *= 2 * np.sqrt(error * (1 - error))


def test_exponential_goes_on_straight_before_it_overflows() -> None:
    loss = Exponential(reduction="none")
    scores = torch.tensor([-49.0, -50.0, -51.0, -52.0], dtype=torch.float64)
    values = loss(scores, torch.ones(4))
    assert values[:2].tolist() == pytest.approx(np.exp([49, 50]).tolist())
    assert (values[3] - values[2]).item() == pytest.approx(np.exp(50))


@pytest.mark.parametrize("loss", [Hinge, ModifiedHuber, Exponential])
def test_none_lets_a_wrong_answer_pass_for_less_than_1(loss: type[MarginLoss]) -> None:
    values = loss(reduction="none")(MARGINS, torch.ones(161))
    assert bool((values >= (MARGINS <= 0).double()).all())
    assert bool((values.diff() <= 0).all())


def test_weights_and_answers_left_out() -> None:
    scores, target = torch.tensor([0.0, 0.0, 3.0, -1.0]), torch.tensor([1, 0, 255, 1])
    each = Hinge(weight=[1, 3], ignore_index=255, reduction="none")(scores, target)
    assert each.tolist() == [3.0, 1.0, 0.0, 6.0]
    assert Hinge(weight=[1, 3], ignore_index=255)(scores, target).item() == pytest.approx(10 / 7)
    assert Hinge(weight=[1, 3])(scores[:1], torch.tensor([0.5])).item() == pytest.approx(1)  # weight 2, loss 1
    nothing = Hinge(ignore_index=255)(scores.requires_grad_(True), torch.full((4,), 255))
    (slope,) = torch.autograd.grad(nothing, scores)
    assert nothing == 0 and not slope.any()


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_answers_come_in_many_types(kind: torch.dtype) -> None:
    assert Hinge(reduction="sum")(torch.tensor([3.0, 3.0]), torch.tensor([True, False]).to(kind)) == 4


def test_misuse_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"target runs from -1 to 1, expected 0 \(no\) to 1 \(yes\); answers of -1 and 1"
    ):
        Hinge()(torch.zeros(2), torch.tensor([-1, 1]))
    with pytest.raises(ValueError, match=r"target has shape \(2,\), expected that of the scores, \(2, 1\)"):
        Logistic()(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(ValueError, match="weight has 3 numbers, expected 2: of no and of yes"):
        Logistic(weight=[1, 2, 3])
    with pytest.raises(ValueError, match="expected one finite number from 0 on for each class"):
        Logistic(weight=[1, -1])
