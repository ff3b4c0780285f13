"""Confident learning: numbers worked out by hand, toy data with known flips, real photos, and data too small for it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from fovea.data.audit.confident import (
    confident_joint,
    cut,
    margins,
    means_of,
    noise_of,
    precision_by,
    suspects,
    units_of,
)
from fovea.data.audit.heldout import held_out
from fovea.data.audit.neighbours import nearest
from fovea.data.audit.relevance import label_suspects


def clouds(
    *, classes: int = 5, each: int = 40, width: int = 6, apart: float = 5.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds, a class each: (features, targets)."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), each)
    centres = rng.normal(size=(classes, width))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    return (centres[targets] + rng.normal(size=(len(targets), width))).astype(np.float32), targets


def flipped(targets: np.ndarray, *, share: float, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets with a share of them moved to another class, and which they are."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(targets), round(share * len(targets)), replace=False)
    noisy = targets.copy()
    noisy[rows] = (targets[rows] + rng.integers(1, classes, len(rows))) % classes
    return noisy, noisy != targets


def test_the_confident_joint_of_a_case_worked_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9], [0.6, 0.4]])
    targets = np.array([0, 0, 0, 1, 1, 1])
    # Thresholds: (.9 + .7 + .2) / 3 = .6 for class 0, (.7 + .9 + .4) / 3 = .6667 for class 1.
    joint = confident_joint(probabilities, targets)
    assert joint.tolist() == [[2, 1], [1, 2]]
    assert noise_of(joint, np.array([3, 3])) == pytest.approx(1 / 3)
    assert noise_of(joint, np.array([300, 3])) == pytest.approx(1 / 3)
    assert noise_of(np.array([[1, 1], [0, 4]]), np.array([30, 10])) == pytest.approx(15 / 40)


def test_an_image_that_is_confidently_nothing_does_not_count() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.34, 0.33, 0.33]])
    joint = confident_joint(probabilities, np.array([0, 1, 2, 2]))
    assert joint.sum() == 3 and np.trace(joint) == 3


def test_margins_compare_the_label_with_the_best_other_class() -> None:
    margin, best = margins(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]), np.array([0, 2]))
    assert margin == pytest.approx([np.log(2), -np.log(8)])
    assert best[1] == 1
    assert cut(np.array([0.5, -1.0, -3.0, -0.1]), 2).tolist() == [2, 1]
    assert cut(np.array([0.5, -1.0]), 2).tolist() == [1]  # where the label is the likelier one, nothing is suspect


def test_left_out_distances_are_those_of_a_fit_without_the_image() -> None:
    """The closed form against the honest way: fit again without each row."""
    features, targets = clouds(classes=3, each=7, width=4, apart=1.5)
    from fovea.data.audit.heldout import _Discriminant

    whole = _Discriminant.of(features, targets, 3)
    typical, weight = whole.scatter.sum() / 4, 0.2 / 0.8
    scores = whole.scores(np.arange(21), 0.2)
    for row in (0, 8, 20):
        rest = np.arange(21) != row
        means = np.stack([features[rest & (targets == label)].mean(axis=0) for label in range(3)])
        away = features[rest] - means[targets[rest]]
        shrunk = (away.T @ away + weight * typical * np.eye(4)) / 21
        honest = [-0.5 * (features[row] - mean) @ np.linalg.solve(shrunk, features[row] - mean) for mean in means]
        assert scores[row] == pytest.approx(honest, rel=1e-3)


def test_known_flips_come_first_and_their_share_is_estimated() -> None:
    features, targets = clouds(each=80, apart=7.0)
    noisy, wrong = flipped(targets, share=0.06, classes=5)
    found = suspects(features, noisy, classes=5)
    assert wrong[found.rows[: wrong.sum()]].mean() > 0.9
    assert wrong[found.rows[: found.suspected]].mean() > 0.9
    assert abs(found.suspected - wrong.sum()) <= 6
    assert found.precision is not None and found.precision > 0.75
    assert found.noise == pytest.approx(0.06, abs=0.02)
    right = found.suggested[: found.suspected] == targets[found.rows[: found.suspected]]
    assert right.mean() > 0.9
    assert (np.diff(found.scores) <= 0).all() and found.scores[0] > 0.98


def test_overlapping_classes_are_told_from_wrong_labels() -> None:
    """Hard images have bad margins too; the estimate must not call them wrong labels."""
    features, targets = clouds(classes=4, each=150, apart=3.0, seed=3)
    found = suspects(features, targets, classes=4)
    assert found.precision is None or found.precision < 0.5
    assert found.noise < 0.02


def test_the_order_repeats_and_follows_from_the_seed_alone() -> None:
    features, targets = clouds(each=20)
    noisy, _ = flipped(targets, share=0.1, classes=5)
    one, two = (suspects(features, noisy, classes=5, seed=4) for _ in range(2))
    assert one.rows.tolist() == two.rows.tolist()
    assert (one.precision, one.recall) == (two.precision, two.recall)


def test_copies_with_the_same_wrong_label_do_not_vouch_for_each_other() -> None:
    features, targets = clouds(each=30, apart=4.0)
    rows = np.repeat(np.arange(0, 150, 10), 3)  # fifteen images, three more copies of each
    features = np.concatenate([features, features[rows]])
    targets = np.concatenate([targets, targets[rows]])
    copies = np.full(len(targets), -1)
    copies[np.arange(0, 150, 10)] = np.arange(15)
    copies[150:] = np.repeat(np.arange(15), 3)
    wrong = np.isin(copies, [2, 7, 11])
    noisy = np.where(wrong, (targets + 1) % 5, targets)
    found = suspects(features, noisy, classes=5, copies=copies)
    assert set(found.rows[: wrong.sum()].tolist()) == set(np.flatnonzero(wrong).tolist())
    trusting = suspects(features, noisy, classes=5)
    assert wrong[trusting.rows[: wrong.sum()]].mean() < 0.5


def test_copies_with_different_labels_stay_apart() -> None:
    unit_of, first = units_of(np.array([0, 1, 0, 2, 0]), np.array([5, 5, 5, -1, -1]))
    assert unit_of.tolist() == [0, 1, 0, 2, 3]
    assert first.tolist() == [0, 1, 3, 4]
    means = means_of(np.array([[1.0], [9], [3], [4], [5]], np.float32), unit_of)
    assert means.ravel().tolist() == [2.0, 9.0, 4.0, 5.0]


def test_precision_is_the_least_share_at_any_depth() -> None:
    planted = np.linspace(-10, -1, 100)
    assert precision_by(planted, np.linspace(-10, -1, 200), 200, wrong=200)[0] == pytest.approx(1, abs=0.02)
    shallow = np.concatenate([np.full(50, -10.0), np.full(50, -1.0)])  # half of them as deep as planted ones get
    share, recall = precision_by(planted, shallow, 100, wrong=100)
    assert share == pytest.approx(51 / 91, abs=0.01)  # at nine tenths: (50 + 1) / (0.9 * 100 + 1)
    assert recall == 1.0
    assert precision_by(planted, shallow, 0, wrong=9) == (None, None)
    assert precision_by(planted[:5], shallow, 100, wrong=9) == (None, None)


def test_small_classes_are_not_judged() -> None:
    features, targets = clouds(classes=3, each=10)
    targets[:10] = 0
    targets[8:10] = 3
    found = suspects(features, targets, classes=5)
    assert found.unjudged.tolist() == [3]
    assert not np.isin(found.rows, [8, 9]).any()
    assert len(found.rows) == 28


@pytest.mark.parametrize("count", range(1, 11))
@pytest.mark.parametrize("constant", [False, True])
def test_tiny_and_constant_data_is_judged_without_complaint(count: int, constant: bool) -> None:
    rng = np.random.default_rng(count)
    features = np.ones((count, 3), np.float32) if constant else rng.normal(size=(count, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for targets in (np.zeros(count, np.int64), np.arange(count), np.arange(count) % 2):
            found = suspects(features, targets, classes=count + 1, copies=np.full(count, -1))
            assert np.isfinite(found.scores).all() and np.isfinite(found.probabilities).all()
            indicators = np.eye(count + 1, dtype=np.uint8)[targets]
            found = label_suspects(features, indicators, copies=np.zeros(count, np.int64))
            assert np.isfinite(found.scores).all()


def test_nearest_never_returns_the_row_itself() -> None:
    near = nearest(np.zeros((6, 4), np.float32), k=10, seed=0)
    assert near.rows.shape == (6, 5)
    assert all(row not in near.rows[row] for row in range(6))


def test_many_rows_are_searched_in_cells_and_fewer_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fovea.data.audit.lookalikes.EXACT", 100)
    monkeypatch.setattr("fovea.data.audit.neighbours._FEW", 100)
    monkeypatch.setattr("fovea.data.audit.neighbours._DIMENSIONS", 8)
    features, targets = clouds(classes=5, each=60, width=24, apart=8.0)
    near = nearest(features, k=5, seed=0)
    assert (targets[near.rows] == targets[:, None]).mean() > 0.95
    assert not (near.rows == np.arange(300)[:, None]).any()


def test_an_image_alone_in_its_class_has_no_probability_of_it() -> None:
    features, targets = clouds(classes=2, each=5)
    targets[9] = 2
    probabilities, _ = held_out(features, targets, nearest(features, k=3, seed=0), classes=4)
    assert probabilities[9, 2] == 0
    assert probabilities[:, 3].max() < 1e-6  # nobody has that class
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_each_label_of_several_is_judged_by_itself() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 4)) < 0.4).astype(np.uint8)
    features = (7 * labels + rng.normal(size=(300, 4))).astype(np.float32)
    noisy = labels.copy()
    rows = rng.choice(300, 12, replace=False)
    places = rng.integers(0, 4, 12)
    noisy[rows, places] ^= 1
    found = label_suspects(features, noisy)
    assert np.isin(found.rows[:12], rows).mean() > 0.8
    said = dict(zip(found.rows.tolist(), found.suggested.tolist(), strict=True))
    assert np.mean([said[row] == place for row, place in zip(rows.tolist(), places.tolist(), strict=True)]) > 0.9
    assert found.joint_noise == pytest.approx(12 / 1200, abs=0.008)


@pytest.mark.slow
def test_flipped_labels_of_real_photos_are_in_the_top_tenth(shared: Path) -> None:
    """The bar of the audit: of 5 % flipped labels in grocery (81 classes) at least 80 % in the top 10 % of the ranking.

    Measured: 99.3 to 100 % with MobileNetV2's features, and 97 to 99 % with the features of no network.
    """
    from PIL import Image

    from fovea.core.progress import Silent
    from fovea.core.recipe import DataRecipe
    from fovea.data.audit.plainfeatures import plain_features
    from fovea.data.decoding import decode
    from fovea.data.looks import COLOR_SIDE, GREY_SIDE, Looks
    from fovea.data.preprocess import Preprocess
    from fovea.data.reading import read
    from fovea.models.catalogue import create
    from fovea.training.embedding import embed

    manifest = read(shared / "data" / "grocery")
    rows = manifest.usable().filter(manifest.usable()["split"].is_in(["train", "val"]))
    loaded = create(None, classes=81, weights=str(shared / "weights" / "mobilenetv2_100.tf_in1k"))
    preprocess = Preprocess.from_pretrained_cfg(loaded.pretrained_cfg)
    features, kept = embed(
        manifest,
        rows,
        loaded=loaded,
        preprocess=preprocess,
        settings=DataRecipe(),
        progress=Silent(),
        stop=lambda: False,
    )
    assert len(kept) == rows.height
    small = [Image.fromarray(decode(path, at_least=128)) for path in manifest.paths(rows)]
    grey = np.stack([np.asarray(image.convert("L").resize((GREY_SIDE,) * 2, Image.Resampling.BOX)) for image in small])
    color = np.stack([np.asarray(image.resize((COLOR_SIDE,) * 2, Image.Resampling.BOX)) for image in small])
    plain = plain_features(Looks(rows.select("width"), grey, color))
    targets = manifest.targets(rows)
    for seed in range(3):
        noisy, wrong = flipped(targets, share=0.05, classes=81, seed=seed)
        for given, least in ((features, 0.98), (plain, 0.95)):
            found = suspects(given, noisy, classes=81)
            assert wrong[found.rows[: len(noisy) // 10]].sum() / wrong.sum() >= least
            assert found.precision is not None
            assert 0.3 < found.precision <= wrong[found.rows[: found.suspected]].mean() + 0.1
    for given in (features, plain):
        found = suspects(given, targets, classes=81)
        assert found.suspected * (found.precision or 0) < 10  # measured: 13 suspects at 0 %, 112 at 4 %
