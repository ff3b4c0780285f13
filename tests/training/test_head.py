"""The linear head: what it finds, how it is regularised, what its cross-validation holds out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fovea.training.head import PENALTIES, fit_linear_head


def _blobs(rng: np.random.Generator, *, classes: int = 4, each: int = 30, noise: float = 1.0) -> tuple:
    centres = rng.normal(0, 2, (classes, 16))
    targets = np.repeat(np.arange(classes), each)
    return (centres[targets] + rng.normal(0, noise, (len(targets), 16))).astype(np.float32), targets


def test_it_agrees_with_scikit_learn_at_the_same_penalty() -> None:
    from sklearn.linear_model import LogisticRegression

    features, targets = _blobs(np.random.default_rng(0), noise=2.0)
    head = fit_linear_head(features, targets, classes=4)
    scale = np.sqrt(np.square(features).mean())
    # scikit-learn minimises the sum of losses + |W|² / (2 C); ours is the mean of losses + penalty / 2 · |W|².
    peer = LogisticRegression(C=1 / (head.penalty * len(features)), max_iter=2000, tol=1e-8).fit(
        features / scale, targets
    )
    ours = head.logits(features).softmax(1).numpy()
    np.testing.assert_allclose(ours, peer.predict_proba(features / scale), atol=5e-3)


def test_the_penalty_with_the_lowest_held_out_loss_is_chosen() -> None:
    features, targets = _blobs(np.random.default_rng(1), noise=4.0, each=15)
    head = fit_linear_head(features, targets, classes=4)
    assert head.penalty in PENALTIES
    assert head.cv_loss == min(loss for _, loss, _ in head.tried)
    assert len(head.tried) >= 3


def test_near_copies_do_not_straddle_folds() -> None:
    """Random labels on pairs of near-copies: random folds would score well above chance, clusters must not."""
    rng = np.random.default_rng(2)
    base = rng.normal(0, 1, (60, 32))
    features = np.concatenate([base + rng.normal(0, 0.01, base.shape) for _ in range(3)]).astype(np.float32)
    targets = np.tile(rng.integers(0, 2, 60), 3)
    assert fit_linear_head(features, targets, classes=2).cv_accuracy < 0.65


def test_groups_decide_the_folds_where_they_are_given() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(0, 1, (40, 8)).astype(np.float32)
    groups = [f"boat {row // 4}" for row in range(40)]
    targets = np.repeat(rng.integers(0, 2, 10), 4)
    features += np.repeat(rng.normal(0, 5, (10, 8)), 4, axis=0).astype(np.float32)
    assert fit_linear_head(features, targets, classes=2, groups=groups).cv_accuracy < 0.8


def test_several_labels_an_image() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(0, 1, (200, 6)).astype(np.float32)
    targets = (features[:, :3] > 0).astype(np.uint8)
    head = fit_linear_head(features, targets, classes=3)
    assert float(((head.logits(features).numpy() > 0) == targets).mean()) > 0.97


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_rows_for_folds_still_give_a_head(count: int) -> None:
    features = np.eye(count, 4, dtype=np.float32)
    head = fit_linear_head(features, np.arange(count) % 2, classes=2)
    assert head.tried == ()
    assert torch.isfinite(head.weight).all()


def test_a_class_without_images_gets_the_lowest_scores() -> None:
    features, targets = _blobs(np.random.default_rng(5), classes=2)
    head = fit_linear_head(features, targets, classes=3)
    assert (head.logits(features).argmax(1) < 2).all()


def test_row_weights_favour_the_rare_class() -> None:
    rng = np.random.default_rng(6)
    features = np.concatenate([rng.normal(-0.3, 1, (95, 4)), rng.normal(0.3, 1, (5, 4))]).astype(np.float32)
    targets = np.repeat([0, 1], [95, 5])
    weights = np.where(targets == 1, 10.0, 0.5)
    plain = fit_linear_head(features, targets, classes=2).logits(features).argmax(1).sum()
    weighted = fit_linear_head(features, targets, classes=2, row_weights=weights).logits(features).argmax(1).sum()
    assert weighted > plain + 10
