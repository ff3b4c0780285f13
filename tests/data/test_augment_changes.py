"""Shift, shear, PCA jitter, blur, noise and erasing do what they say, and leave alone what was there before."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from fovea.core.errors import RecipeError
from fovea.core.recipe_io import build_recipe
from fovea.data.augment import Augment
from fovea.data.augment.color import IMAGENET_COVARIANCE, pca_shift
from fovea.data.augment.corruption import erase_box
from fovea.data.augment.draws import LOOKS, look_key, uniforms
from fovea.data.augment.grid import augmented_grid

STILL = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0)
EVERYTHING = Augment(
    crop_scale=0.3, vflip=0.3, rotate=20.0, shift=0.1, shear=10.0, pca_jitter=0.1, blur=1.0, noise=8.0, erase=0.5
)


def photo(height: int = 60, width: int = 80) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (127 + 100 * np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], -1)).astype(np.uint8)


def flat(value: int, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_a_rotation_alone_is_to_the_bit_what_it_was_before_it_could_shear_and_shift() -> None:
    """A training that was begun before must go on alike; below is that code's arithmetic."""
    augment = replace(STILL, rotate=20.0)
    resized = STILL.sample([photo()], size=48, seed=5, keys=[0]).permute(0, 3, 1, 2).float()
    for key in range(10):
        degrees = (2 * uniforms(seed=5, keys=[key], count=28)[0, 24] - 1) * 20.0
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        matrix = torch.tensor([[[cosine, sine, 0.0], [-sine, cosine, 0.0]]])
        grid = functional.affine_grid(matrix, [1, 3, 48, 48], align_corners=False)
        turned = functional.grid_sample(resized, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        expected = (turned + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        assert torch.equal(augment.sample([photo()], size=48, seed=5, keys=[key]), expected)


def test_new_changes_do_not_move_the_old_ones() -> None:
    """A crop stays the same crop when noise is switched on: draws are appended, never inserted."""
    before = uniforms(seed=3, keys=[9], count=28)
    assert uniforms(seed=3, keys=[9], count=42)[:, :28].tolist() == before.tolist()
    for key in range(10):
        old = Augment().placement(60, 80, size=32, seed=3, key=key)
        new = replace(Augment(), noise=5.0, blur=2.0, erase=1.0, pca_jitter=0.1)
        assert new.placement(60, 80, size=32, seed=3, key=key) == old


def test_every_change_depends_on_seed_and_key_alone() -> None:
    images = [photo(60 + number, 80) for number in range(6)]
    batch = EVERYTHING.sample(images, size=24, seed=5, keys=range(6))
    assert torch.equal(EVERYTHING.sample(images[::-1], size=24, seed=5, keys=range(5, -1, -1)), batch.flip(0))
    assert not torch.equal(EVERYTHING.sample(images, size=24, seed=6, keys=range(6)), batch)


@pytest.mark.parametrize("size", [16, (1, 1), (3, 50), (40, 24)])
def test_any_size_will_do(size: int | tuple[int, int]) -> None:
    expected = (size, size) if isinstance(size, int) else size
    for image in (photo(), photo(1, 1), photo(2, 90)):
        assert EVERYTHING.sample([image], size=size, seed=0, keys=[0]).shape == (1, *expected, 3)


def test_pca_jitter_follows_the_paper() -> None:
    """sum of alpha_i lambda_i v_i with alpha ~ N(0, 0.1): the same covariance as the formula of AlexNet, §4.1."""
    covariance = np.array(IMAGENET_COVARIANCE).reshape(3, 3)
    values, vectors = np.linalg.eigh(covariance)
    assert values[::-1].tolist() == pytest.approx([0.2175, 0.0188, 0.0045], abs=2e-4)  # as published
    rng = np.random.default_rng(0)
    theirs = 255 * (rng.normal(0, 0.1, (20_000, 3)) * values) @ vectors.T
    augment = replace(STILL, pca_jitter=0.1)
    looks = augment.sample([flat(128, 2)] * 20_000, size=2, seed=0, keys=range(20_000))[:, 0, 0].numpy().astype(float)
    ours = looks - 128
    assert np.abs(ours.mean(0)).max() < 0.1
    assert np.abs(np.cov(ours.T) - np.cov(theirs.T)).max() < 0.6  # variances near 10; rounding adds 1/12
    assert np.cov(ours.T)[0, 0] == pytest.approx(10.2, abs=0.6)


def test_pca_jitter_takes_the_datas_own_colours() -> None:
    red_only = (0.1, 0, 0, 0, 0, 0, 0, 0, 0)
    look = replace(STILL, pca_jitter=1.0, pca_covariance=red_only).sample([flat(128)], size=32, seed=0, keys=[1])[0]
    assert (look[..., 1:] == 128).all()
    assert look[0, 0, 0] != 128 and look[..., 0].unique().numel() == 1  # one shift for the whole image
    assert pca_shift(red_only, (2.0, 5.0, 5.0), 0.1).tolist() == pytest.approx([5.1, 0, 0])


def test_blur_is_a_gaussian_of_up_to_that_sigma() -> None:
    image = photo(64, 64)
    strength = uniforms(seed=0, keys=range(50), count=42)[:, 34]
    for key in np.argsort(strength)[[0, 25, 49]].tolist():
        got = replace(STILL, blur=3.0).sample([image], size=64, seed=0, keys=[key])[0].numpy().astype(float)
        sigma = 3.0 * strength[key]
        expected = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4)
        assert np.abs(got - expected).max() < 2, sigma
    assert strength.max() > 0.9 and strength.min() < 0.1


def test_noise_has_up_to_that_deviation_and_each_value_its_own() -> None:
    looks = replace(STILL, noise=20.0).sample([flat(128, 64)] * 200, size=64, seed=0, keys=range(200)).numpy()
    spread = looks.astype(float).std((1, 2, 3))
    assert spread.max() < 20.5 and spread.max() > 18
    assert np.quantile(spread, 0.5) == pytest.approx(10, abs=1.5)  # uniform between 0 and 20
    strongest = looks[spread.argmax()].astype(float)
    assert abs(strongest.mean() - 128) < 0.6
    assert np.abs(np.corrcoef(strongest.reshape(-1, 3).T) - np.eye(3)).max() < 0.05
    dark = replace(STILL, noise=60.0).sample([flat(0)], size=32, seed=0, keys=[3])
    assert dark.min() == 0 and dark.float().mean() > 1  # clipped, not wrapped round to white
    assert (dark > 250).float().mean() < 0.01


def test_erasing_paints_one_rectangle_of_the_stated_size() -> None:
    augment = replace(STILL, erase=0.5, erase_area=(0.1, 0.3))
    looks = augment.sample([flat(7, 40)] * 600, size=40, seed=0, keys=range(600)).numpy()
    hit = 0
    for key, look in enumerate(looks):
        box = augment.erased_box(size=40, seed=0, key=key)
        changed = (look != 7).any(-1)
        if box is None:
            assert not changed.any()
            continue
        hit += 1
        top, left, bottom, right = box
        outside = changed.copy()
        outside[top:bottom, left:right] = False
        assert not outside.any()
        assert changed[top:bottom, left:right].mean() > 0.95  # 7 itself may be drawn
        assert 0.08 <= (bottom - top) * (right - left) / 1600 <= 0.33  # whole pixels
    assert hit / 600 == pytest.approx(0.5, abs=0.06)


def test_erased_rectangles_are_upright_as_often_as_lying_and_reach_every_corner() -> None:
    draws = np.random.default_rng(0).random((4000, 4))
    boxes = np.array([erase_box((100, 100), (0.02, 0.4), row) for row in draws])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides[:, 0] > sides[:, 1]).mean() == pytest.approx(0.5, abs=0.03)
    assert boxes[:, :2].min() == 0 and boxes[:, 2:].max() == 100
    assert (sides[:, 0] / sides[:, 1]).max() < 3.7
    assert erase_box((1, 1), (0.02, 0.4), draws[0]) == (0, 0, 1, 1)


def test_wrong_settings_are_refused() -> None:
    for name, value in [
        ("shift", 1.1),
        ("shear", 85.0),
        ("pca_jitter", -0.1),
        ("blur", float("nan")),
        ("noise", float("inf")),
        ("erase", 2.0),
        ("erase_area", (0.5, 0.2)),
        ("border", "black"),
        ("pca_covariance", (1.0, 2.0)),
        ("pca_covariance", (1.0, 2.0, 0, 0, 1.0, 0, 0, 0, 1.0)),
        ("pca_covariance", (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    ]:
        with pytest.raises(ValueError, match=name):
            Augment(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.shift=1.5", "data.shift: is 1.5, expected a share below 1"),
        ("data.shear=85", r"data.shear: is 85.0, expected at most 80 degrees"),
        ("data.erase=-1", "data.erase: is -1.0, the smallest sensible value is 0"),
        ("data.pca_covariance=[1, 2]", "has 2 numbers, expected 9"),
        ("data.pca_covariance=[a]", "expected numbers"),
    ],
)
def test_a_recipe_with_wrong_changes_is_a_recipe_error(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_recipe(overrides=[override])


def test_a_recipe_says_all_of_it() -> None:
    assert not Augment.from_recipe(
        build_recipe(overrides=["data.crop_scale=1", "data.hflip=0", "data.color_jitter=0"]).data
    ).changes
    covariance = [0.1, 0, 0, 0, 0.2, 0, 0, 0, 0.3]
    recipe = build_recipe(
        {"data": {"shift": 0.1, "shear": 5, "pca_jitter": 0.1, "blur": 1.5, "noise": 4, "erase": 0.25}},
        overrides=["data.erase_area=0.2", f"data.pca_covariance={covariance}"],
    )
    augment = Augment.from_recipe(recipe.data)
    assert (augment.shift, augment.shear, augment.pca_jitter, augment.blur, augment.noise) == (0.1, 5, 0.1, 1.5, 4)
    assert (augment.erase, augment.erase_area, augment.pca_covariance) == (0.25, (0.02, 0.2), tuple(covariance))
    for name in ("shift", "shear", "pca_jitter", "blur", "noise", "erase"):
        assert replace(STILL, **{name: 0.1}).changes


def test_a_recipe_with_an_impossible_covariance_is_a_recipe_error() -> None:
    recipe = build_recipe(overrides=["data.pca_covariance=[1, 2, 3, 4, 5, 6, 7, 8, 9]"])
    with pytest.raises(RecipeError, match=r"data\.pca_covariance is .* equal across the diagonal"):
        Augment.from_recipe(recipe.data)


def test_looks_at_different_images_never_share_a_key() -> None:
    assert look_key("00000000000f" + "0" * 20, LOOKS - 1) + 1 == look_key("000000000010" + "f" * 20, 0)
    assert look_key("f" * 32, LOOKS - 1) < 2**63


def test_the_grid_shows_each_image_plain_and_then_changed() -> None:
    images = [flat(40, 30), flat(200, 50)]
    grid = augmented_grid(images, augment=replace(STILL, pca_jitter=0.5), size=20, views=3, seed=1)
    assert grid.shape == (42, 86, 3) and grid.dtype == np.uint8
    assert (grid[:20, :20] == 40).all() and (grid[22:, :20] == 200).all()  # plain
    assert (grid[20:22] == 255).all() and (grid[:, 20:22] == 255).all()  # separators
    views = {grid[5, 22 * column + 5].tobytes() for column in range(4)}
    assert len(views) == 4
    assert np.array_equal(
        grid, augmented_grid(images, augment=replace(STILL, pca_jitter=0.5), size=20, views=3, seed=1)
    )
    assert augmented_grid(images, augment=STILL, size=8, views=0, seed=0).shape == (18, 8, 3)
    with pytest.raises(ValueError, match="0 images"):
        augmented_grid([], augment=STILL, size=8, views=1, seed=0)
