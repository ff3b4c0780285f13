"""Augmentation has the stated statistics, and depends on (seed, key) alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.data.augment import Augment, cutmix, mixup
from fovea.data.augment.draws import splitmix64, uniforms

STILL = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0)
FULL = Augment(crop_scale=0.3, vflip=0.3, rotate=20.0, color_jitter=0.4)


def photos(count: int) -> list[np.ndarray]:
    """Smooth images of differing sizes."""
    out = []
    for number in range(count):
        y, x = np.mgrid[: 40 + 7 * number, : 60 + 3 * number]
        waves = np.stack([np.sin(x / 9 + number), np.cos(y / 7), np.sin((x + y) / 11)], -1)
        out.append((127 + 100 * waves).astype(np.uint8))
    return out


def flat(color: Sequence[int], side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), color, np.uint8)


def test_splitmix64_gives_the_published_numbers() -> None:
    """The first outputs for state 0 of the authors' reference, splitmix64.c."""
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(np.array([0], np.uint64), 3)[0].tolist() == expected


def test_uniforms_are_fixed_for_ever() -> None:
    """A training resumed by another version must see the same crops."""
    row = uniforms(seed=7, keys=[123], count=3)[0]
    assert row.tolist() == [0.4491937213818694, 0.7040119453056557, 0.9357991294429696]


def test_uniforms_are_uniform_and_independent() -> None:
    draws = uniforms(seed=1, keys=np.arange(20_000), count=6)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(draws.mean(0) - 0.5).max() < 0.01
    assert np.abs(draws.var(0) - 1 / 12).max() < 0.002
    correlation = np.corrcoef(draws.T)
    assert np.abs(correlation - np.eye(6)).max() < 0.03
    successive = np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]
    assert abs(successive) < 0.03
    assert np.abs(np.corrcoef(draws[:, 0], uniforms(seed=2, keys=np.arange(20_000), count=1)[:, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_all_off_is_the_plain_resize(interpolation: str) -> None:
    """Within 2 of 255 of Pillow's; the kernels round differently."""
    images = [*photos(3), np.ascontiguousarray(photos(1)[0][:20, :20])]
    batch = replace(STILL, interpolation=interpolation).sample(images, size=32, seed=0, keys=range(4))
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    for image, got in zip(images, batch.numpy(), strict=True):
        expected = np.asarray(Image.fromarray(image).resize((32, 32), filters[interpolation])).astype(int)
        assert np.abs(got - expected).max() <= 2


def test_a_crop_is_antialiased_like_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 260, 3), np.uint8)
    augment = Augment(hflip=0.0, color_jitter=0.0)
    got = augment.sample([image], size=48, seed=3, keys=[11])[0].numpy()
    top, left, height, width = augment.crop_box(200, 260, uniforms(seed=3, keys=[11], count=28)[0])
    crop = Image.fromarray(image[top : top + height, left : left + width])
    expected = np.asarray(crop.resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(got - expected).max() <= 2


def test_the_batch_around_an_image_and_the_threads_do_not_matter() -> None:
    images, keys = photos(12), np.arange(12) + 1000
    batch = FULL.sample(images, size=24, seed=5, keys=keys)
    order = np.random.default_rng(0).permutation(12)
    with ThreadPoolExecutor(4) as pool:
        permuted = FULL.sample([images[i] for i in order], size=24, seed=5, keys=keys[order], pool=pool)
    assert torch.equal(permuted, batch[torch.from_numpy(order)])
    assert torch.equal(FULL.sample(images[3:4], size=24, seed=5, keys=[1003])[0], batch[3])
    assert not torch.equal(FULL.sample(images, size=24, seed=6, keys=keys), batch)
    assert not torch.equal(FULL.sample(images, size=24, seed=5, keys=keys + 12), batch)


def test_flip_rates() -> None:
    left_right, up_down = flat((0, 0, 0)), flat((0, 0, 0))
    left_right[:, :4], up_down[:4] = 255, 255
    keys = range(4000)
    for name, image, corner in [("hflip", left_right, (0, -1)), ("vflip", up_down, (-1, 0))]:
        for rate in (0.0, 0.3, 1.0):
            batch = replace(STILL, **{name: rate}).sample([image] * 4000, size=8, seed=0, keys=keys)
            flipped = (batch[:, corner[0], corner[1], 0] == 255).float().mean().item()
            assert flipped == pytest.approx(rate, abs=0.03 if 0 < rate < 1 else 0)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (224, 224), (500, 200)])
def test_crops_are_distributed_as_torchvisions(height: int, width: int) -> None:
    from torchvision.transforms import RandomResizedCrop

    augment = Augment(crop_scale=0.2)
    draws = uniforms(seed=0, keys=np.arange(6000), count=28)
    ours = np.array([augment.crop_box(height, width, row) for row in draws])
    torch.manual_seed(0)
    blank = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(6000)])
    assert (ours[:, 0] + ours[:, 2]).max() <= height
    assert (ours[:, 1] + ours[:, 3]).max() <= width
    assert ours[:, :2].min() >= 0
    for measure in (
        lambda boxes: boxes[:, 2] * boxes[:, 3] / (height * width),
        lambda boxes: np.log(boxes[:, 3] / boxes[:, 2]),
        lambda boxes: (boxes[:, 0] + boxes[:, 2] / 2) / height,
        lambda boxes: (boxes[:, 1] + boxes[:, 3] / 2) / width,
    ):
        deciles = np.linspace(0.05, 0.95, 10)
        assert np.abs(np.quantile(measure(ours), deciles) - np.quantile(measure(theirs), deciles)).max() < 0.025


def test_an_extreme_shape_falls_back_to_the_largest_box() -> None:
    for height, width, expected in [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10))]:
        for row in uniforms(seed=0, keys=range(20), count=28):
            assert Augment(crop_scale=0.9).crop_box(height, width, row) == expected
    assert Augment().sample([np.zeros((1, 1, 3), np.uint8)], size=4, seed=0, keys=[0]).shape == (1, 4, 4, 3)


def test_colour_changes_follow_their_definitions() -> None:
    """Against torchvision's, in its order brightness, contrast, saturation; mid-tones, so that nothing is clipped."""
    from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation

    image = np.random.default_rng(0).integers(90, 150, (32, 32, 3), np.uint8)
    augment = replace(STILL, color_jitter=0.3)
    for key in range(10):
        got = augment.sample([image], size=32, seed=0, keys=[key])[0].permute(2, 0, 1).float()
        factors = 1 + 0.3 * (2 * uniforms(seed=0, keys=[key], count=28)[0, -3:] - 1)
        expected = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        for change, factor in zip((adjust_brightness, adjust_contrast, adjust_saturation), factors, strict=True):
            expected = change(expected, float(factor))
        assert (got - expected * 255).abs().max() <= 1


def test_colour_factors_stay_within_the_strength_and_clip() -> None:
    augment = replace(STILL, color_jitter=0.2)
    grey = augment.sample([flat((100, 100, 100))] * 2000, size=4, seed=0, keys=range(2000))[:, 0, 0].float()
    assert torch.equal(grey.min(1).values, grey.max(1).values)  # grey stays grey
    assert 80 <= grey.min() <= 82
    assert 118 <= grey.max() <= 120
    white = augment.sample([flat((255, 255, 255))] * 50, size=4, seed=0, keys=range(50))
    assert white.max() == 255
    assert white.min() >= 203


def test_rotation_turns_about_the_centre_and_leaves_no_black_corner() -> None:
    bright = replace(STILL, rotate=180.0).sample([flat((200, 100, 50), 16)] * 40, size=16, seed=0, keys=range(40))
    assert (bright.float() - torch.tensor([200.0, 100.0, 50.0])).abs().max() <= 1
    dot = flat((0, 0, 0), 33)
    dot[16, 16] = 255
    turned = replace(STILL, rotate=90.0).sample([dot] * 20, size=33, seed=0, keys=range(20))
    assert (turned[:, 16, 16, 0] >= 254).all()
    spot = flat((0, 0, 0), 33)
    spot[16, 28] = 255  # 12 pixels to the right of the centre
    small = replace(STILL, rotate=10.0).sample([spot] * 200, size=33, seed=0, keys=range(200))[..., 0].float()
    rows = (small * torch.arange(33.0)[None, :, None]).sum((1, 2)) / small.sum((1, 2)) - 16
    reach = 12 * np.sin(np.radians(10))
    assert rows.abs().max() <= reach + 0.3
    assert rows.max() > 0.7 * reach
    assert rows.min() < -0.7 * reach


def test_the_store_is_large_enough_for_the_smallest_crop() -> None:
    augment = Augment(crop_scale=0.5)
    side = augment.store_px(224)
    assert side == 366
    boxes = [augment.crop_box(side, side, row) for row in uniforms(seed=0, keys=range(5000), count=28)]
    assert min(min(box[2:]) for box in boxes) >= 223


def test_wrong_settings_and_calls_are_refused() -> None:
    for name, value in [
        ("crop_scale", 0.0),
        ("crop_scale", 1.1),
        ("hflip", 1.5),
        ("vflip", -0.1),
        ("color_jitter", 2.0),
        ("rotate", 200.0),
        ("crop_ratio", (2.0, 1.0)),
        ("interpolation", "best"),
    ]:
        with pytest.raises(ValueError, match=f"{name} is "):
            Augment(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 images but 1 keys"):
        STILL.sample(photos(2), size=8, seed=0, keys=[0])


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    class Broken(Sequence[np.ndarray]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
            raise RuntimeError(f"image {index}")

    with ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError, match="image 0"):
        STILL.sample(Broken(), size=8, seed=0, keys=range(3), pool=pool)


def test_the_batch_can_be_trained_on() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = Augment().sample(photos(2), size=8, seed=0, keys=[0, 1])
    weight = torch.ones(3, requires_grad=True)
    (batch.float() * weight).sum().backward()
    assert weight.grad is not None


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_targets_mix_as_the_images_do(mix) -> None:
    """Image i is all i-th unit vector, so the mean of each mixed image must be its mixed target."""
    x = torch.eye(6)[:, :, None, None].expand(6, 6, 9, 7).contiguous(memory_format=torch.channels_last)
    for seed in range(20):
        mixed, soft = mix(x, torch.eye(6), alpha=1.0, generator=generator(seed))
        torch.testing.assert_close(mixed.mean((2, 3)), soft, atol=1e-6, rtol=0)
        torch.testing.assert_close(soft.sum(1), torch.ones(6))
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        again, _ = mix(x, torch.eye(6), alpha=1.0, generator=generator(seed))
        assert torch.equal(again, mixed)
    assert torch.equal(x[:, :, 0, 0], torch.eye(6))


@pytest.mark.parametrize(("mix", "mean", "variance"), [(mixup, 1 / 2, 1 / 12), (cutmix, 0.679, 0.0356)])
def test_the_share_follows_its_distribution(mix, mean: float, variance: float) -> None:
    """Beta(1, 1) is uniform; cutmix keeps more, since its rectangle is clipped at the rim (by simulation: 0.679)."""
    source = generator()
    x, targets = torch.zeros(2, 1, 64, 64), torch.eye(2)
    shares = []
    while len(shares) < 600:
        soft = mix(x, targets, alpha=1.0, generator=source)[1]
        if 0 < soft[0, 1] < 1:  # the permutation swapped the two; otherwise the share does not show
            shares.append(soft[0, 0].item())
    assert np.mean(shares) == pytest.approx(mean, abs=0.04)
    assert np.var(shares) == pytest.approx(variance, abs=0.01)


def test_cutmix_pastes_one_rectangle_and_counts_its_pixels() -> None:
    x = torch.stack([torch.zeros(1, 20, 30), torch.ones(1, 20, 30)])
    source = generator(3)
    for _ in range(50):
        mixed, soft = cutmix(x, torch.eye(2), alpha=1.0, generator=source)
        rows, columns = mixed[0, 0].any(1), mixed[0, 0].any(0)
        assert mixed[0, 0].sum() == rows.sum() * columns.sum()
        assert mixed[0, 0].mean().item() == pytest.approx(soft[0, 1].item(), abs=1e-6)


def test_mixing_works_on_pixels_and_tiny_activations() -> None:
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    assert cutmix(pixels, torch.eye(4), alpha=1.0, generator=generator())[0].dtype == torch.uint8
    one = torch.rand(4, 16, 1, 1)
    mixed, soft = cutmix(one, torch.eye(4), alpha=1.0, generator=generator())
    torch.testing.assert_close(mixed, torch.einsum("ij,jchw->ichw", soft, one))
    assert mixup(torch.rand(4, 10), torch.eye(4), alpha=0.2, generator=generator())[0].shape == (4, 10)


def test_mixing_refuses_what_it_cannot_mix() -> None:
    x = torch.rand(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"mixup blends floats, got torch\.uint8"):
        mixup(x.to(torch.uint8), torch.eye(2), alpha=1.0, generator=generator())
    with pytest.raises(ValueError, match=r"expected float targets \(2, classes\), got torch\.int64 \(2,\)"):
        mixup(x, torch.tensor([0, 1]), alpha=1.0, generator=generator())
    with pytest.raises(ValueError, match=r"cutmix expects \(B, C, H, W\), got \(2, 3\)"):
        cutmix(torch.rand(2, 3), torch.eye(2), alpha=1.0, generator=generator())
    with pytest.raises(ValueError, match="alpha is 0"):
        mixup(x, torch.eye(2), alpha=0.0, generator=generator())
