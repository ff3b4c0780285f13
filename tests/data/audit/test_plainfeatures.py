"""Features from looks alone: what they tell apart, what they must not depend on, and how fast they are."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from fovea.data.audit.plainfeatures import NAME, plain_features
from fovea.data.looks import Looks


def looks(grey: np.ndarray, color: np.ndarray) -> Looks:
    return Looks(pl.DataFrame({"contrast": [0.2] * len(grey)}), grey.astype(np.uint8), color.astype(np.uint8))


def stripes(count: int, *, upright: bool, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wave = 128 + 80 * np.sin(np.arange(64) * 0.8)
    picture = np.broadcast_to(wave[None, :] if upright else wave[:, None], (64, 64))
    return (picture + rng.normal(0, 8, (count, 64, 64))).clip(0, 255)


def test_images_without_anything_in_them_give_zeros() -> None:
    features = plain_features(looks(np.full((5, 64, 64), 90), np.full((5, 16, 16, 3), 90)))
    assert features.shape == (5, 237) and features.dtype == np.float32
    assert not features.any()
    assert plain_features(looks(np.zeros((0, 64, 64)), np.zeros((0, 16, 16, 3)))).shape == (0, 237)


def test_blocks_weigh_alike() -> None:
    rng = np.random.default_rng(0)
    features = plain_features(looks(rng.integers(0, 256, (300, 64, 64)), rng.integers(0, 256, (300, 16, 16, 3))))
    variance = features.var(axis=0)
    widths = [78, 128, 22, 9]
    totals = [float(part.sum()) for part in np.split(variance, np.cumsum(widths)[:-1])]
    assert totals == pytest.approx([1, 1, 1, 0.25], abs=0.01)
    assert np.abs(features.mean(axis=0)).max() < 1e-4


@pytest.mark.parametrize("by", ["colour", "edges", "layout"])
def test_nearest_neighbours_agree_on_what_differs(by: str) -> None:
    rng = np.random.default_rng(1)
    grey = rng.normal(128, 8, (60, 64, 64)).clip(0, 255)
    color = rng.normal(128, 8, (60, 16, 16, 3)).clip(0, 255)
    if by == "colour":
        color[30:, :, :, 0] -= 40
    elif by == "edges":
        grey = np.concatenate([stripes(30, upright=True, seed=1), stripes(30, upright=False, seed=2)])
    else:
        color[:30, :8] -= 40
        color[30:, 8:] -= 40
    features = plain_features(looks(grey, color.clip(0, 255)))
    away = np.linalg.norm(features[:, None] - features[None], axis=2) + 1e9 * np.eye(60)
    same = (away.argmin(axis=1) < 30) == (np.arange(60) < 30)
    assert same.all()


def test_a_flat_edge_is_level_and_an_upright_one_upright() -> None:
    """One known number: all gradients of upright stripes lie in the first of eight orientations of each cell."""
    from fovea.data.audit.plainfeatures import _edges

    wave = np.broadcast_to((128 + 80 * np.sin(np.arange(64) * 0.8))[None, :], (1, 64, 64)).astype(np.uint8)
    shares = np.square(_edges(wave)).reshape(4, 4, 8)
    assert shares[:, :, 1:].max() == 0
    assert shares.sum() == pytest.approx(1, abs=0.01)
    shares = np.square(_edges(wave.transpose(0, 2, 1))).reshape(4, 4, 8)
    assert shares[:, :, 4].sum() == pytest.approx(1, abs=0.01)


def test_features_do_not_depend_on_the_order_of_images() -> None:
    rng = np.random.default_rng(2)
    grey, color = rng.integers(0, 256, (150, 64, 64)), rng.integers(0, 256, (150, 16, 16, 3))
    order = rng.permutation(150)
    one, other = plain_features(looks(grey, color)), plain_features(looks(grey[order], color[order]))
    assert np.allclose(one[order], other, atol=1e-5)


def test_thousands_of_images_take_a_moment() -> None:
    rng = np.random.default_rng(3)
    many = looks(rng.integers(0, 256, (2000, 64, 64)), rng.integers(0, 256, (2000, 16, 16, 3)))
    plain_features(many.take(np.arange(64)))
    began = time.process_time()
    plain_features(many)
    assert time.process_time() - began < 1.0  # 36,000 a second when nothing else runs
    assert "without a network" in NAME
