"""Measuring: numbers that are known beforehand, and what is read off a file without its pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fovea.core.errors import DataError
from fovea.data.decoding import Probe
from fovea.data.looks import NUMBERS, SIDE
from fovea.data.measure import measure, see

MANY = 10**7


def file(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def noise(size: tuple[int, int] = (SIDE, SIDE), *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def numbers(*pictures: np.ndarray) -> list[dict[str, float]]:
    """Measure pictures of SIDE x SIDE, grey or coloured."""
    colored = [np.repeat(p[:, :, None], 3, axis=2) if p.ndim == 2 else p for p in pictures]
    rows = measure(np.stack(colored).astype(np.uint8)).numbers
    return [dict(zip(NUMBERS, row.tolist(), strict=True)) for row in rows]


def flat(level: float) -> np.ndarray:
    return np.full((SIDE, SIDE), level)


def step(width_px: int = 1) -> np.ndarray:
    """A picture that goes from black on the left to white on the right within so many pixels."""
    ramp = np.clip((np.arange(SIDE) - SIDE // 2) / width_px, 0, 1) * 255
    return np.broadcast_to(ramp, (SIDE, SIDE))


def test_a_flat_picture_has_brightness_and_nothing_else() -> None:
    black, grey, white = numbers(flat(0), flat(102), flat(255))
    assert [p["brightness"] for p in (black, grey, white)] == pytest.approx([0, 0.4, 1], abs=1e-5)
    for picture in (black, grey, white):
        names = ("contrast", "entropy", "sharpness", "detail", "rim_left", "rim_top", "rim_right", "rim_bottom")
        assert [picture[name] for name in names] == pytest.approx([0] * 8, abs=1e-5)
    assert (white["dark_point"], white["bright_point"]) == (63 / 64, 1)


def test_half_black_half_white_is_one_bit() -> None:
    (picture,) = numbers(step())
    assert picture["brightness"] == pytest.approx(0.5, abs=0.01)
    assert picture["contrast"] == pytest.approx(0.5, abs=0.01)
    assert picture["entropy"] == pytest.approx(1, abs=0.001)
    assert (picture["dark_point"], picture["bright_point"]) == (0, 1)


def test_all_levels_alike_are_six_bits_with_a_hundredth_beyond_each_point() -> None:
    levels = np.random.default_rng(0).permutation(np.repeat(np.arange(256), SIDE * SIDE // 256))
    (picture,) = numbers(levels.reshape(SIDE, SIDE))
    assert picture["entropy"] == pytest.approx(6, abs=0.001)
    assert (picture["dark_point"], picture["bright_point"]) == (0, 1)
    assert picture["contrast"] == pytest.approx(1 / np.sqrt(12), abs=0.002)


def test_luma_weighs_the_channels_as_bt_601() -> None:
    red, green, blue = numbers(*(flat(255)[:, :, None] * np.eye(3)[place] for place in range(3)))
    assert [red["brightness"], green["brightness"], blue["brightness"]] == pytest.approx([0.299, 0.587, 0.114])
    assert (red["mean_r"], red["mean_g"], red["mean_b"]) == pytest.approx((1, 0, 0), abs=1e-5)


def test_means_of_products_are_those_of_numpy() -> None:
    pixels = noise()
    pixels[:, :, 2] = pixels[:, :, 0]
    (picture,) = numbers(pixels)
    r, g, b = (pixels.astype(np.float64) / 255).reshape(-1, 3).T
    expected = {"rr": r * r, "gg": g * g, "bb": b * b, "rg": r * g, "rb": r * b, "gb": g * b}
    assert {name: picture[f"product_{name}"] for name in expected} == pytest.approx(
        {name: values.mean() for name, values in expected.items()}, abs=1e-5
    )


def test_sharpness_of_a_step_a_ramp_and_noise() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, SIDE), (SIDE, SIDE)) + np.linspace(0, 255, SIDE)[:, None]
    steps = np.kron(np.indices((4, 4)).sum(axis=0) % 2, np.ones((32, 32))) * 255  # edges in both directions
    random = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE))
    edged, smooth, rough = numbers(steps, ramp / 2, random)
    assert edged["sharpness"] == pytest.approx((1 / 3) ** 0.25, abs=0.02)
    assert smooth["sharpness"] == pytest.approx(1 / 3, abs=0.02)
    assert rough["sharpness"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("place", [63, 64])
@pytest.mark.parametrize("turned", [False, True])
def test_one_edge_or_stripes_along_one_axis_are_sharp(place: int, turned: bool) -> None:
    edge = np.zeros((SIDE, SIDE))
    edge[:, place:] = 200
    stripes = np.broadcast_to((np.arange(SIDE) + place) // 16 % 2 * 200.0, (SIDE, SIDE))
    lit = stripes + np.linspace(0, 20, SIDE)[:, None]  # the light falls off along the stripes
    for picture in numbers(*(p.T if turned else p for p in (edge, stripes, lit))):
        assert picture["sharpness"] == pytest.approx((1 / 3) ** 0.25, abs=0.03)


def test_sharpness_falls_with_blur_and_motion_and_detail_too() -> None:
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("china.jpg")[:400, :400])
    pictures = [photo.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 2, 4, 8)]
    pixels = np.asarray(photo, np.float32)
    for axis in (0, 1):
        pictures.append(Image.fromarray(np.mean([np.roll(pixels, k, axis) for k in range(20)], axis=0).astype("u1")))
    diagonal = np.mean([np.roll(pixels, (k, k), (0, 1)) for k in range(15)], axis=0)
    pictures.append(Image.fromarray(diagonal.astype(np.uint8)))
    measured = numbers(*(np.asarray(p.resize((SIDE, SIDE), Image.Resampling.BOX)) for p in pictures))
    sharp, *blurred = [picture["sharpness"] for picture in measured]
    assert sharp > 0.5
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    assert max(blurred[1:]) < 0.44  # motion along each axis and the diagonal included
    assert measured[0]["detail"] > measured[1]["detail"] > measured[2]["detail"] > measured[3]["detail"]


def test_sharpness_does_not_depend_on_contrast_or_brightness() -> None:
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("china.jpg")).resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(photo, np.float32)
    usual, pale, dim = numbers(pixels, pixels * 0.4 + 100, pixels * 0.4)
    assert pale["sharpness"] == pytest.approx(usual["sharpness"], abs=0.01)
    assert dim["sharpness"] == pytest.approx(usual["sharpness"], abs=0.01)


def test_detail_of_noise_is_its_standard_deviation() -> None:
    random = np.random.default_rng(0).normal(128, 25.5, (SIDE, SIDE)).round()
    (picture,) = numbers(random)
    assert picture["detail"] == pytest.approx(0.1, abs=0.003)


@pytest.mark.parametrize("level", [0, 255, 90])
def test_a_border_of_a_tenth_is_found_on_its_side(level: int) -> None:
    framed = np.asarray(Image.fromarray(noise()).convert("L")).copy()
    wide = round(0.1 * SIDE)
    framed[:wide], framed[:, -wide:] = level, level
    (picture,) = numbers(framed)
    assert picture["rim_top"] == picture["rim_right"] == pytest.approx(0.1, abs=1 / SIDE)
    assert picture["rim_left"] == picture["rim_bottom"] == 0


def test_jpeg_noise_is_still_a_border_and_a_wall_is_none() -> None:
    framed = Image.fromarray(noise((300, 300)))
    framed.paste((250, 250, 250), (0, 0, 300, 36))  # noise meets it within an 8 x 8 block
    pixels = see(file(framed, "JPEG", quality=60), max_pixels=MANY)[2]
    assert numbers(pixels)[0]["rim_top"] == pytest.approx(0.12, abs=0.025)
    wall = np.asarray(Image.fromarray(noise()).convert("L")).copy()
    wall[: SIDE // 2] = 200  # half of the picture is no border
    assert numbers(wall)[0]["rim_top"] == 0


def test_pictures_are_block_means() -> None:
    pixels = noise()
    measured = measure(pixels[None])
    assert measured.grey.shape == (1, 64, 64)
    cells = pixels.reshape(16, 8, 16, 8, 3).mean(axis=(1, 3))
    assert np.abs(measured.color[0] - cells).max() <= 0.51
    assert measured.grey[0].mean() / 255 == pytest.approx(measured.numbers[0, NUMBERS.index("brightness")], abs=0.002)


def test_a_batch_is_measured_as_its_pictures_alone() -> None:
    pictures = np.stack([noise(seed=seed) // (seed + 1) for seed in range(5)])
    together = measure(pictures)
    for place, picture in enumerate(pictures):
        alone = measure(picture[None])
        assert alone.numbers[0] == pytest.approx(together.numbers[place], abs=1e-6)
        assert np.array_equal(alone.grey[0], together.grey[place])


def test_every_quality_that_pillow_writes_is_told() -> None:
    image = Image.fromarray(noise((16, 16)))
    for quality in range(1, 101):
        stored = see(file(image, "JPEG", quality=quality), max_pixels=MANY)[1]
        assert stored.quality == quality


def test_other_tables_get_the_nearest_quality_and_other_files_none() -> None:
    image = Image.fromarray(noise((16, 16)))
    stored = see(file(image, "JPEG", quality="web_high"), max_pixels=MANY)[1]
    assert stored.quality is not None and 85 <= stored.quality <= 97
    assert see(file(image, "PNG"), max_pixels=MANY)[1].quality is None


def exif(values: Mapping[int, Any], inner: Mapping[int, Any] | None = None) -> Image.Exif:
    block = Image.Exif()
    for tag, value in values.items():
        block[tag] = value
    for tag, value in (inner or {}).items():
        block.get_ifd(0x8769)[tag] = value
    return block


def test_camera_and_time_are_read_from_exif() -> None:
    image = Image.fromarray(noise((20, 10)))
    block = exif({0x010F: "Canon ", 0x0110: "EOS 5D\0", 0x0132: "2020:01:01 00:00:00"}, {0x9003: "2001:09:09 01:46:40"})
    stored = see(file(image, "JPEG", exif=block), max_pixels=MANY)[1]
    assert stored.camera == "Canon EOS 5D"
    assert stored.taken_s == 1_000_000_000
    changed = see(file(image, "JPEG", exif=exif({0x0132: "1970:01:02 00:00:00"})), max_pixels=MANY)[1]
    assert (changed.camera, changed.taken_s) == (None, 86400)


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_a_date_that_is_none_costs_the_date_alone(date: str) -> None:
    block = exif({0x0110: "Pixel"}, {0x9003: date})
    stored = see(file(Image.fromarray(noise((20, 10))), "JPEG", exif=block), max_pixels=MANY)[1]
    assert (stored.camera, stored.taken_s) == ("Pixel", None)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_costs_its_facts_alone() -> None:
    content = file(Image.fromarray(noise((20, 10))), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff rubbish")
    found, stored, _ = see(content, max_pixels=MANY)
    assert (found.width, stored.camera, stored.taken_s) == (20, None, None)


@pytest.mark.parametrize("held", range(1, 9))
def test_pictures_stand_upright_and_sizes_change_places(held: int) -> None:
    pixels = np.zeros((160, 320, 3), np.uint8)
    pixels[:80, :160] = 255  # the file's own top left corner
    content = file(Image.fromarray(pixels), "JPEG", exif=exif({0x0112: held}))
    found, _, small = see(content, max_pixels=MANY)
    assert found == Probe(*((160, 320) if held >= 5 else (320, 160)), "RGB", "JPEG")
    quarters = small.astype(int).mean(axis=2).reshape(2, SIDE // 2, 2, SIDE // 2).mean(axis=(1, 3)) > 127
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[held]
    assert [tuple(place) for place in np.argwhere(quarters)] == [corner]


@pytest.mark.parametrize(
    ("mode", "form", "level"),
    [("L", "PNG", 100), ("1", "PNG", 255), ("P", "PNG", 100), ("CMYK", "TIFF", 100), ("LA", "PNG", 100),
     ("RGBA", "WEBP", 100), ("I;16", "PNG", 100)],
)  # fmt: skip
def test_every_mode_is_squashed_to_the_same_colour(mode: str, form: str, level: int) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((30, 50), level * 257, np.uint16))
    else:
        image = Image.new("RGB", (50, 30), (level, level, level)).convert(mode, palette=Image.Palette.ADAPTIVE)
    found, stored, small = see(file(image, form, **({"lossless": True} if form == "WEBP" else {})), max_pixels=MANY)
    assert (found.width, found.height, stored.format) == (50, 30, form)
    assert small.shape == (SIDE, SIDE, 3)
    assert np.abs(small.astype(int) - level).max() <= 1


def test_transparency_is_seen_on_white() -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 20, 40))
    small = see(file(image), max_pixels=MANY)[2]
    assert (small[:, : SIDE // 2 - 1].max(), small[:, SIDE // 2 + 1 :].min()) == (0, 255)


def test_a_palette_image_with_a_transparent_colour_keeps_it_white() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 20, 30] + [0] * 765)
    assert see(file(image, "GIF", transparency=0), max_pixels=MANY)[2].min() == 255


def test_bad_content_is_refused_as_by_decoding() -> None:
    content = file(Image.fromarray(noise((300, 300))), "JPEG")
    with pytest.raises(DataError, match="truncated or damaged"):
        see(content[: len(content) // 2], max_pixels=MANY)
    with pytest.raises(DataError, match="90,000 pixels, more than the 89,999 allowed"):
        see(content, max_pixels=89_999)
    with pytest.raises(DataError, match="is empty"):
        see(b"", max_pixels=MANY)
