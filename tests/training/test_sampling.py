"""What an epoch draws under each sampler, and that everything which counts an epoch's images agrees with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from fovea.core.errors import RecipeError
from fovea.core.recipe import DataRecipe, TrainRecipe
from fovea.data.augment import Augment
from fovea.data.pixelcache import Photo
from fovea.data.preprocess import Preprocess
from fovea.training.batches import PixelBatches
from fovea.training.images import Images
from fovea.training.planning import plan_tail
from fovea.training.sampling import batch_count, check_sampler, earlier_draws, epoch_batches, epoch_size
from fovea.training.session import SplitData

SAMPLERS = ("shuffle", "balanced", "oversample", "undersample")
UNEVEN = np.repeat([0, 2, 5], [96, 17, 3])  # ids with gaps: classes 1, 3 and 4 have no image


def drawn(sampler: str, *, targets: np.ndarray = UNEVEN, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return np.concatenate(epoch_batches(targets, batch_size=8, seed=seed, epoch=epoch, sampler=sampler))


@pytest.mark.parametrize(
    ("sampler", "counts"),
    [
        ("shuffle", [96, 17, 3]),
        ("balanced", [39, 39, 38]),
        ("oversample", [96, 96, 96]),
        ("undersample", [3, 3, 3]),
    ],
)
def test_each_sampler_draws_what_it_promises(sampler: str, counts: list[int]) -> None:
    rows = drawn(sampler)
    assert np.bincount(UNEVEN[rows], minlength=6)[[0, 2, 5]].tolist() == counts
    assert len(rows) == epoch_size(UNEVEN, sampler) == sum(counts)


def test_oversampling_goes_round_all_rows_before_one_repeats() -> None:
    times = np.bincount(drawn("oversample"), minlength=len(UNEVEN))
    assert set(times[:96]) == {1}
    assert set(times[96:113]) == {5, 6}  # 96 of 17 rows
    assert set(times[113:]) == {32}


def test_undersampling_draws_other_rows_in_each_epoch_and_none_twice() -> None:
    epochs = [drawn("undersample", epoch=epoch) for epoch in range(40)]
    assert all(len(set(rows)) == 9 for rows in epochs)
    seen = set(np.concatenate(epochs))
    assert len(seen & set(range(96))) > 60  # of 96; 40 epochs of 3 draws miss a row with probability (1 - 3/96)^40
    assert set(epochs[0][UNEVEN[epochs[0]] == 5]) == {113, 114, 115}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_epoch_is_a_function_of_seed_and_epoch(sampler: str) -> None:
    assert drawn(sampler, seed=1, epoch=2).tolist() == drawn(sampler, seed=1, epoch=2).tolist()
    assert drawn(sampler, seed=1, epoch=2).tolist() != drawn(sampler, seed=1, epoch=3).tolist()
    assert drawn(sampler, seed=1, epoch=2).tolist() != drawn(sampler, seed=2, epoch=2).tolist()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("counts", [[1], [1, 1], [5, 1], [2, 3, 4], [8, 9], [16, 1, 16]])
def test_batches_are_counted_right_and_none_has_a_single_image(sampler: str, counts: list[int]) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    batches = epoch_batches(targets, batch_size=8, seed=0, epoch=0, sampler=sampler)
    size = epoch_size(targets, sampler)
    assert len(batches) == batch_count(size, 8)
    assert sum(map(len, batches)) == size
    assert size == 1 or min(map(len, batches)) > 1


def test_several_labels_can_be_balanced_but_not_brought_to_a_size() -> None:
    targets = np.array([[1, 0], [1, 1], [1, 0], [1, 0]], np.uint8)
    assert (targets[drawn("balanced", targets=targets)].sum(0) >= 2).all()
    for sampler in ("oversample", "undersample"):
        with pytest.raises(RecipeError, match=f"train.sampler is '{sampler}', which needs one class an image") as error:
            epoch_size(targets, sampler)
        assert "train.sampler=balanced" in error.value.hint
        check_sampler(sampler, multilabel=False)


def test_a_row_drawn_again_is_counted_over_batches() -> None:
    again = np.concatenate(earlier_draws(epoch_batches(UNEVEN, batch_size=8, seed=0, epoch=0, sampler="oversample")))
    rows = drawn("oversample")
    for row in (0, 100, 114):
        assert again[rows == row].tolist() == list(range((rows == row).sum()))


@pytest.fixture
def few(tmp_path: Path) -> SplitData:
    """Six images of one class and one of another, whose rows a batch shows as they are."""
    from PIL import Image

    photos = []
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        photos.append(Photo(tmp_path / f"{number}.png", f"{number:032x}", 20, 20))
    return SplitData(photos=photos, targets=np.array([0] * 6 + [1]), groups=[None] * 7)


def batches_of(data: SplitData, sampler: str) -> PixelBatches:
    augment = Augment(crop_scale=0.3)
    images = Images(data, preprocess=Preprocess(input_size=16), settings=DataRecipe(workers=1), store_px=20)
    settings = TrainRecipe(batch_size=4, sampler=sampler)
    fabric = Fabric(accelerator="cpu", devices=1)
    return PixelBatches(images, data, size=16, augment=augment, settings=settings, classes=2, seed=0, fabric=fabric)


@pytest.mark.parametrize(("sampler", "images"), [("shuffle", 7), ("oversample", 12), ("undersample", 2)])
def test_the_loop_gets_as_many_batches_as_it_is_told(few: SplitData, sampler: str, images: int) -> None:
    batches = batches_of(few, sampler)
    steps = list(batches.epoch(3, first=0))
    assert len(steps) == len(batches)
    assert sum(count for *_, count in steps) == images
    for step, resumed in zip(steps[1:], batches.epoch(3, first=1), strict=True):  # from the middle of an epoch
        assert torch.equal(step[0], resumed[0]) and torch.equal(step[1], resumed[1])


def test_an_image_drawn_again_within_an_epoch_shows_another_look(few: SplitData) -> None:
    rare = torch.cat([pixels[targets == 1] for pixels, targets, _ in batches_of(few, "oversample").epoch(0, first=0)])
    assert len(rare) == 6
    assert len({look.numpy().tobytes() for look in rare}) == 6


def test_a_longer_epoch_leaves_time_for_fewer_views() -> None:
    prefix, suffix = {5: 0.01}, {5: 0.01}
    plans = [
        plan_tail(left_s=200, images=1000, drawn=drawn, prefix_s=prefix, suffix_s=suffix)
        for drawn in (1000, 3000, 9000)
    ]
    assert [plan and plan["views"] for plan in plans] == [12, 5, None]
