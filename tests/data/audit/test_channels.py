"""Channels: statistics with known numbers, settings that a recipe accepts, and sizes that suit the images."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

from fovea.core.recipe_io import build_recipe
from fovea.data.audit.base import Subject
from fovea.data.audit.channels import channel_statistics, input_size
from fovea.data.augment.color import check_covariance
from fovea.data.looks import NUMBERS, SIDE
from fovea.data.measure import measure

from .subjects import subject


def seen(pixels: np.ndarray, **table: list) -> Subject:
    """Return a subject that looks like these squashed pictures, (N, SIDE, SIDE, 3) uint8."""
    numbers, grey, color = measure(pixels)
    facts = {name: numbers[:, place].tolist() for place, name in enumerate(NUMBERS)}
    return subject([0] * len(pixels), facts=facts, grey=grey, color=color, table=table)


def of_size(*sizes: tuple[int, int], **table: list) -> Subject:
    columns = {"width": [width for width, _ in sizes], "height": [height for _, height in sizes]}
    return subject([0] * len(sizes), table=columns | table)


def options(command: str) -> list[str]:
    """Return the overrides of a command line, as the shell would hand them over."""
    words = shlex.split(command)
    assert words[::2] == ["--set"] * (len(words) // 2)
    return words[1::2]


def test_statistics_are_those_of_all_pixels_pooled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:3, :, :, 0] //= 2
    pixels[4, :, :, 2] = pixels[4, :, :, 1]
    (found,) = channel_statistics(seen(pixels))
    assert (found.severity, found.code, found.files) == ("note", "channel-statistics", ())
    flat = pixels.reshape(-1, 3).astype(np.float64) / 255
    assert found.evidence["mean"] == pytest.approx(flat.mean(axis=0), abs=1e-4)
    assert found.evidence["std"] == pytest.approx(flat.std(axis=0), abs=1e-4)
    assert found.evidence["mean_255"] == pytest.approx(255 * flat.mean(axis=0), abs=0.02)
    assert np.array(found.evidence["covariance"]) == pytest.approx(np.cov(flat.T, bias=True), abs=1e-4)
    values = found.evidence["eigenvalues"]
    assert values == sorted(values, reverse=True)
    axes = np.array(found.evidence["eigenvectors"])
    assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-4)
    assert (axes.T * values) @ axes == pytest.approx(np.cov(flat.T, bias=True), abs=1e-4)


def test_two_flat_colours_have_the_covariance_of_their_difference() -> None:
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pixels[1] = (255, 0, 51)  # differs by (1, 0, 0.2): covariance of a fair coin is a quarter of its products
    (found,) = channel_statistics(seen(pixels))
    assert np.array(found.evidence["covariance"]) == pytest.approx(
        np.array([[0.25, 0, 0.05], [0, 0, 0], [0.05, 0, 0.01]]), abs=1e-5
    )
    assert found.evidence["eigenvalues"] == pytest.approx([0.26, 0, 0], abs=1e-5)
    assert "100 % of the variance lies along the first principal axis" in found.message


def test_a_singular_covariance_survives_rounding() -> None:
    for seed in range(20):
        pixels = np.broadcast_to(
            np.random.default_rng(seed).integers(0, 256, (2, 1, 1, 3), dtype=np.uint8), (2, SIDE, SIDE, 3)
        )
        (found,) = channel_statistics(seen(pixels))
        check_covariance(build_recipe(overrides=options(found.evidence["command"])).data.pca_covariance)


def test_the_command_is_one_that_a_recipe_and_the_augmentation_take() -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (4, SIDE, SIDE, 3), dtype=np.uint8)
    (found,) = channel_statistics(seen(pixels))
    assert found.evidence["command"] in found.fix
    recipe = build_recipe(overrides=options(found.evidence["command"]))
    assert recipe.data.pca_jitter == 0.1
    check_covariance(recipe.data.pca_covariance)
    assert np.array(recipe.data.pca_covariance).reshape(3, 3) == pytest.approx(
        np.array(found.evidence["covariance"]), abs=1e-5
    )


def test_only_training_images_count() -> None:
    pixels = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in (51, 204, 255)])
    pixels[:, ::2] //= 2
    (found,) = channel_statistics(seen(pixels, split=["train", "val", "test"]))
    assert found.evidence["images"] == 1
    assert found.evidence["mean"] == pytest.approx([0.15] * 3, abs=0.002)
    assert "over 1 training image red" in found.message
    assert channel_statistics(seen(pixels, split=["val", "val", "test"])) == []


def test_grey_data_is_noticed_and_compared_with_imagenet() -> None:
    grey = np.random.default_rng(2).integers(0, 120, (5, SIDE, SIDE, 1), dtype=np.uint8)
    (found,) = channel_statistics(seen(np.repeat(grey, 3, axis=3)))
    assert found.evidence["grey"]
    assert "all three channels are equal: the images are grey" in found.message
    assert "darker and poorer in contrast than ImageNet's (0.485, 0.456, 0.406" in found.message
    assert "saturation has no effect" in found.fix
    assert not channel_statistics(seen(np.repeat(grey, 3, axis=3) + np.array([0, 0, 9], np.uint8)))[0].evidence["grey"]


def test_pixels_that_hardly_differ_are_a_warning() -> None:
    pixels = np.random.default_rng(3).integers(126, 131, (5, SIDE, SIDE, 3), dtype=np.uint8)
    (found,) = channel_statistics(seen(pixels))
    assert found.severity == "warning"
    assert "the pixels hardly differ from one colour" in found.message
    assert "16-bit" in found.fix


def test_nothing_to_describe_is_no_finding() -> None:
    assert channel_statistics(subject([])) == input_size(subject([])) == []
    assert channel_statistics(subject([0], facts={"mean_r": None})) == []


def test_the_input_is_the_largest_common_size_that_three_quarters_reach() -> None:
    (found,) = input_size(of_size(*[(348, 348)] * 90, *[(200, 300)] * 10))
    assert (found.severity, found.code) == ("note", "input-size")
    assert (found.evidence["suggested"], found.evidence["resize"]) == (320, "crop")
    assert "three of four have a shorter side of at least 348 px, enough for an input of 320 px" in found.message
    assert "10 % are smaller than the usual 224 px" in found.message
    assert "--set data.input_size=320, at 2.0 times the arithmetic of 224" in found.fix
    assert build_recipe(overrides=options(found.evidence["command"])).data.input_size == 320
    assert found.evidence["short_side"]["5 %"] == 200
    assert sum(found.evidence["histogram"]["images"]) == 100
    assert found.evidence["sizes"] == {"348 × 348": 90, "200 × 300": 10}


def test_small_images_are_a_warning_but_a_pretrained_network_wants_them_enlarged() -> None:
    (found,) = input_size(of_size(*[(32, 32)] * 20))
    assert (found.severity, found.evidence["suggested"]) == ("warning", 32)
    assert "100 % are smaller than the usual 224 px and would be enlarged" in found.message
    assert "a network from scratch needs no more than 32 px" in found.fix
    assert "pretrained" in found.fix
    assert "less than the smallest usual input of 32 px" in input_size(of_size((8, 8)))[0].message


@pytest.mark.parametrize(
    ("sizes", "resize", "why"),
    [
        ([(640, 480)] * 20, "crop", "nine of ten are at most 1.33 to 1 long"),
        ([(960, 300)] * 20, "squash", "nearly all are 3.20 times as wide as high"),
        ([(960, 300)] * 10 + [(300, 900)] * 10, "pad", "of which a square crop keeps 31 %"),
    ],
)
def test_shapes_decide_between_crop_squash_and_pad(sizes: list[tuple[int, int]], resize: str, why: str) -> None:
    (found,) = input_size(of_size(*sizes))
    assert found.evidence["resize"] == resize
    assert why in found.message
    assert build_recipe(overrides=options(found.evidence["command"])).data.resize == (
        None if resize == "crop" else resize
    )
    assert ("data.resize" in found.fix) == (resize != "crop")
