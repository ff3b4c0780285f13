"""Quality: real photos with planted faults, data that is all dark or all soft, and what must not be called a fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from fovea.core.findings import Finding
from fovea.data.audit.base import Check, Subject
from fovea.data.audit.evidence import per_file
from fovea.data.audit.quality import blurry, bright, dark, low_information
from fovea.data.looks import NUMBERS, SIDE
from fovea.data.measure import measure

from .subjects import subject

CHECKS: tuple[Check, ...] = (dark, bright, blurry, low_information)
SIZE = 348


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Sixty crops of scikit-learn's photo of a pagoda, brighter and darker by up to a quarter."""
    from sklearn.datasets import load_sample_image

    pixels, rng = load_sample_image("china.jpg"), np.random.default_rng(0)
    crops = []
    for _ in range(60):
        top, left = rng.integers(0, pixels.shape[0] - SIZE), rng.integers(0, pixels.shape[1] - SIZE)
        crop = pixels[top : top + SIZE, left : left + SIZE] * rng.uniform(0.5, 0.8)
        crops.append(Image.fromarray(crop.astype(np.uint8)))
    return crops


def seen(images: Sequence[Image.Image], **table: list) -> Subject:
    """Return a subject that looks like these images."""
    small = [image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX) for image in images]
    numbers, grey, color = measure(np.stack([np.asarray(image) for image in small]))
    columns = {"width": [image.width for image in images], "height": [image.height for image in images]}
    facts = {name: numbers[:, place].tolist() for place, name in enumerate(NUMBERS)}
    return subject([0] * len(images), facts=facts, grey=grey, color=color, table=columns | table)


def scaled(image: Image.Image, factor: float, plus: float = 0) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image, np.float32) * factor + plus, 0, 255).astype(np.uint8))


def moved(image: Image.Image, distance_px: int) -> Image.Image:
    """Blur along the horizontal."""
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.mean([np.roll(pixels, step, axis=1) for step in range(distance_px)], axis=0).astype("u1"))


def enlarged(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BOX).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def of_noise(mean: float, deviation: float) -> Image.Image:
    noise = np.random.default_rng(1).normal(mean, deviation, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def gradient() -> Image.Image:
    ramp = np.linspace(40, 220, SIZE)[:, None, None] * np.array([1, 0.8, 0.3])
    return Image.fromarray(np.broadcast_to(ramp, (SIZE, SIZE, 3)).astype(np.uint8))


def empty_page() -> Image.Image:
    page = Image.new("RGB", (800, 1100), (250, 249, 246))
    ImageDraw.Draw(page).text((100, 500), "page 17", fill="black")
    return page


def speck(image: Image.Image, side: int) -> Image.Image:
    """The photo, small, on a plain ground."""
    ground = Image.new("RGB", (SIZE, SIZE), (90, 120, 140))
    ground.paste(image.resize((side, side)), (200, 30))
    return ground


def only(found: list[Finding], severity: str = "warning") -> Finding:
    (finding,) = [finding for finding in found if finding.severity == severity]
    return finding


def test_photos_have_no_fault(photos: list[Image.Image]) -> None:
    assert [check(seen(photos)) for check in CHECKS] == [[], [], [], []]


@pytest.mark.parametrize(
    ("check", "code", "fault"),
    [
        (dark, "dark", lambda image: scaled(image, 0.15)),
        (dark, "dark", lambda image: scaled(image, 0.05)),
        (dark, "dark", lambda image: scaled(image, 0.24)),
        (bright, "bright", lambda image: scaled(image, 3.5)),
        (bright, "bright", lambda image: scaled(image, 0.3, 178)),  # washed out
        (blurry, "blurry", lambda image: image.filter(ImageFilter.GaussianBlur(3))),
        (blurry, "blurry", lambda image: image.filter(ImageFilter.GaussianBlur(8))),
        (blurry, "blurry", lambda image: moved(image, 17)),
        (blurry, "blurry", lambda image: enlarged(image, 48)),
        (low_information, "low-information", lambda image: Image.new("RGB", image.size, (90, 120, 40))),
        (low_information, "low-information", lambda image: of_noise(120, 20)),
        (low_information, "low-information", lambda image: of_noise(128, 70)),
        (low_information, "low-information", lambda image: of_noise(2, 3)),
        (low_information, "low-information", lambda image: gradient()),
        (low_information, "low-information", lambda image: empty_page()),
        (low_information, "low-information", lambda image: scaled(image, 0.06, 120)),
        (low_information, "low-information", lambda image: speck(image, SIZE // 5)),
    ],
)
def test_a_planted_fault_is_named_alone(
    photos: list[Image.Image], check: Check, code: str, fault: Callable[[Image.Image], Image.Image]
) -> None:
    images = [*photos[:40], fault(photos[40]), *photos[41:], fault(photos[5])]
    data = seen(images)
    found = only(check(data))
    assert found.code == code
    assert set(found.files) == {data.paths[40], data.paths[60]}
    assert found.message.startswith("2 images of 61 are ")
    assert found.fix


def test_the_worst_comes_first_with_its_score_and_the_limit(photos: list[Image.Image]) -> None:
    data = seen([*photos, scaled(photos[0], 0.12), scaled(photos[0], 0.03)])
    found = only(dark(data))
    assert found.files == (data.paths[61], data.paths[60])
    assert found.evidence["scores"] == sorted(found.evidence["scores"])
    assert found.evidence["scores"][1] == pytest.approx(0.12 * data.looks.column("brightness")[0], abs=0.003)
    assert found.evidence["threshold"] == 0.145
    found = only(bright(seen([*photos, scaled(photos[0], 1, 120), scaled(photos[0], 1, 220)])))
    assert found.files[0].endswith("0061.jpg")
    assert found.evidence["scores"] == sorted(found.evidence["scores"], reverse=True)


def test_what_little_there_is_is_said_of_each(photos: list[Image.Image]) -> None:
    data = seen([*photos, gradient(), empty_page(), of_noise(128, 70)])
    found = only(low_information(data))
    told = {path: about["reason"] for path, about in per_file(found).items()}
    assert told == {
        data.paths[60]: "nearly one colour or a smooth course of colours",
        data.paths[61]: "a plain ground with hardly anything on it",
        data.paths[62]: "noise",
    }
    assert found.evidence["counts"]["noise"] == 1


def test_data_that_is_dark_throughout_gets_one_note_and_only_black_frames_are_named(
    photos: list[Image.Image],
) -> None:
    images = [scaled(image, 0.15) for image in photos]
    (note,) = dark(seen(images))
    assert (note.severity, note.files) == ("note", ())
    assert "60 images of 60 are dark, which is usual for this data" in note.message
    data = seen([*images, Image.new("RGB", (SIZE, SIZE))])
    assert only(dark(data)).files == (data.paths[60],)


def test_where_images_differ_much_black_and_white_ones_are_named_all_the_same(photos: list[Image.Image]) -> None:
    mixed = [scaled(image, 0.12 if row % 2 else 2.5) for row, image in enumerate(photos)]  # by night and by day
    assert [finding.severity for finding in dark(seen(mixed))] == ["note"]
    data = seen([*mixed, Image.new("RGB", (SIZE, SIZE)), Image.new("RGB", (SIZE, SIZE), (254, 252, 250))])
    assert only(dark(data)).files == (data.paths[60],)
    assert only(bright(data)).files == (data.paths[61],)
    assert {data.paths[60], data.paths[61]} <= set(only(low_information(data)).files)


def test_what_is_black_is_no_fault_where_most_of_the_data_is(photos: list[Image.Image]) -> None:
    data = seen([*photos[:30], *[Image.new("RGB", (SIZE, SIZE))] * 31])
    (note,) = dark(data)
    assert (note.severity, note.evidence["images"]) == ("note", 31)
    assert len(only(dark(data.take(np.arange(60)))).files) == 30  # half of it: the photos are as usual as they


def test_specks_on_a_plain_ground_are_no_fault_where_all_are_so(photos: list[Image.Image]) -> None:
    sides = np.random.default_rng(0).integers(SIZE // 8, SIZE // 4, len(photos)).tolist()
    found = low_information(seen([speck(image, side) for image, side in zip(photos, sides, strict=True)]))
    assert [finding.severity for finding in found] == ["note"]


def test_data_that_is_soft_throughout_gets_one_note(photos: list[Image.Image]) -> None:
    found = blurry(seen([image.filter(ImageFilter.GaussianBlur(4)) for image in photos]))
    assert [finding.severity for finding in found] == ["note"]


def test_digits_on_black_are_none_of_it() -> None:
    from sklearn.datasets import load_digits

    images = [Image.fromarray((pixels * 15.9).astype(np.uint8)) for pixels in load_digits().images[:200]]
    assert [check(seen(images)) for check in CHECKS] == [[], [], [], []]


def test_a_lamp_at_night_is_not_dark_and_a_picture_on_white_paper_not_bright(photos: list[Image.Image]) -> None:
    night = scaled(photos[0], 0.15)
    night.paste((255, 255, 230), (100, 100, 170, 170))
    paper = Image.new("RGB", (SIZE, SIZE), "white")
    paper.paste(photos[0].resize((100, 100)), (120, 120))
    data = seen([*photos, night, paper])
    assert dark(data) == bright(data) == []


def test_images_smaller_than_a_look_are_not_called_blurred(photos: list[Image.Image]) -> None:
    small = photos[0].filter(ImageFilter.GaussianBlur(6)).resize((100, 100))
    assert blurry(seen([*photos, small])) == []


def test_without_a_distribution_the_limits_stand_alone(photos: list[Image.Image]) -> None:
    black = Image.new("RGB", (SIZE, SIZE))
    assert only(dark(seen([black]))).files == ("class 0/0000.jpg",)
    assert only(low_information(seen([photos[0], black]))).files == ("class 0/0001.jpg",)
    assert [check(seen([photos[0]])) for check in CHECKS] == [[], [], [], []]
    assert [check(subject([])) for check in CHECKS] == [[], [], [], []]


@pytest.mark.slow
def test_on_shop_photos_faults_are_found_and_hardly_any_photo_is_blamed(shared: Path) -> None:
    paths = sorted((shared / "data" / "grocery" / "train").rglob("*.jpg"))[::3]
    images = [Image.open(path).convert("RGB").resize((SIZE, SIZE)) for path in paths]
    assert len(images) > 800
    for check in CHECKS:
        named = [path for finding in check(seen(images)) for path in finding.files]
        assert len(named) <= 0.005 * len(images), check
    some = images[::25]
    for check, least, fault in (
        (dark, 0.95, lambda image: scaled(image, 0.15)),
        (bright, 0.8, lambda image: scaled(image, 3)),
        (bright, 0.95, lambda image: scaled(image, 5)),
        (bright, 0.95, lambda image: scaled(image, 0.4, 153)),
        (blurry, 0.95, lambda image: image.filter(ImageFilter.GaussianBlur(3))),
        (blurry, 0.8, lambda image: moved(image, 13)),
        (blurry, 0.95, lambda image: moved(image, 25)),
        (blurry, 0.95, lambda image: enlarged(image, 48)),
    ):
        found = only(check(seen([*images, *map(fault, some)])))
        planted = {f"class 0/{row:04}.jpg" for row in range(len(images), len(images) + len(some))}
        assert len(planted & set(found.files)) >= least * len(some), (check, found.message)
