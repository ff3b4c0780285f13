"""Every format and mode becomes upright RGB; every failure is a DataError that names the file."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from fovea.core.errors import DataError
from fovea.data.decoding import Probe, decode, probe

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """32 x 16 pixels: red, green / blue, white quarters, so that every turn and flip shows."""
    image = Image.new("RGB", (32, 16), RED)
    image.paste(GREEN, (16, 0, 32, 8))
    image.paste(BLUE, (0, 8, 16, 16))
    image.paste(WHITE, (16, 8, 32, 16))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("PPM", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_lossless_formats_return_every_pixel(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    image = corners()
    path = tmp_path / "zwölf Äpfel.bin"  # the ending decides nothing
    path.write_bytes(encoded(image, kind, **options))
    np.testing.assert_array_equal(decode(path), np.asarray(image))
    np.testing.assert_array_equal(decode(path.read_bytes()), np.asarray(image))
    found = probe(path)
    assert (found.width, found.height, found.format) == (32, 16, kind)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_close(options: dict[str, object]) -> None:
    image = corners().resize((256, 128), Image.Resampling.NEAREST)
    pixels = decode(encoded(image, "JPEG", quality=95, **options))
    assert np.abs(pixels.astype(int) - np.asarray(image)).mean() < 2


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(content) == RED).all()


def test_grey_and_one_bit() -> None:
    ramp = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    pixels = decode(encoded(ramp, "PNG"))
    assert pixels.shape == (8, 8, 3)
    np.testing.assert_array_equal(pixels[..., 1], np.asarray(ramp))
    bits = decode(encoded(Image.fromarray(np.eye(8, dtype=bool)), "PNG"))
    np.testing.assert_array_equal(bits[..., 2], np.eye(8) * 255)


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 100), (128, 177)])
def test_alpha_is_composited_on_white(alpha: int, expected: int) -> None:
    for image, kind in [
        (Image.new("RGBA", (4, 4), (100, 100, 100, alpha)), "PNG"),
        (Image.new("LA", (4, 4), (100, alpha)), "PNG"),
        (Image.new("RGBA", (4, 4), (100, 100, 100, alpha)), "TIFF"),
    ]:
        assert np.abs(decode(encoded(image, kind)).astype(int) - expected).max() <= 1


def test_transparent_palette_entries_and_colour_keys_become_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.putpixel((1, 0), 1)
    for content in (
        encoded(palette, "PNG", transparency=0),
        encoded(palette, "PNG", transparency=bytes([0, 255])),
        encoded(palette, "GIF", transparency=0),
    ):
        np.testing.assert_array_equal(decode(content), [[WHITE, (0, 0, 200)]])
    np.testing.assert_array_equal(decode(encoded(palette, "PNG")), [[(200, 0, 0), (0, 0, 200)]])
    keyed = encoded(Image.new("RGB", (1, 1), RED), "PNG", transparency=RED)
    np.testing.assert_array_equal(decode(keyed), [[WHITE]])


def test_cmyk_jpeg_in_adobes_inverted_form() -> None:
    content = encoded(Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    assert np.abs(decode(content).astype(int) - (200, 40, 90)).max() <= 4
    assert probe(content).mode == "CMYK"
    tiff = encoded(Image.new("RGB", (4, 4), (200, 40, 90)).convert("CMYK"), "TIFF")
    np.testing.assert_array_equal(decode(tiff)[0, 0], (200, 40, 90))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_divide_by_257(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    pixels = decode(encoded(Image.fromarray(values), kind))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_rgb_with_sixteen_bits_a_channel() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = b"\0" + struct.pack(">6H", 65535, 0, 32896, 257, 514, 771)  # no filter; two pixels
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(content), [[(255, 0, 128), (1, 2, 3)]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # 0..1: times 255
        ([0.0, 100.4, 255.0], [0, 100, 255]),  # 0..255: as it is
        ([-10.0, 0.0, 10.0], [0, 128, 255]),  # anything else: stretched
        ([np.nan, 0.0, 1.0], [0, 0, 255]),
        ([np.nan, np.nan, np.inf], [0, 0, 0]),
        ([700.0, 700.0, 700.0], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_their_range(values: list[float], expected: list[int]) -> None:
    array = np.array([values], np.float32)
    assert decode(encoded(Image.fromarray(array), "TIFF"))[0, :, 0].tolist() == expected
    assert decode(array)[0, :, 1].tolist() == expected


def test_wide_integers_are_scaled_by_their_range() -> None:
    assert decode(np.array([[0, 7, 255]], np.int64))[0, :, 0].tolist() == [0, 7, 255]
    assert decode(np.array([[0, 257, 65535]], np.int32))[0, :, 0].tolist() == [0, 1, 255]
    assert decode(np.array([[-100, 0, 100]], np.int32))[0, :, 0].tolist() == [0, 128, 255]
    assert decode(np.array([[False, True]]))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    """Store the image as a camera held that way would, and expect it upright."""
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = corners().resize((64, 32), Image.Resampling.NEAREST)
    image = upright.transpose(stored[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, kind, exif=exif)
    pixels = decode(content).astype(int)
    assert pixels.shape == (32, 64, 3)
    assert [pixels[y, x].round(-2).tolist() for y, x in [(8, 16), (8, 48), (24, 16), (24, 48)]] == [
        np.round(color, -2).tolist() for color in (RED, GREEN, BLUE, WHITE)
    ]
    assert (probe(content).width, probe(content).height) == (64, 32)


def test_a_damaged_exif_block_costs_the_orientation_only() -> None:
    content = encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow says that the EXIF is corrupt
        assert decode(content).shape == (16, 32, 3)


def test_jpeg_decodes_at_reduced_scale_and_never_below_what_is_needed() -> None:
    content = encoded(Image.fromarray(noise(600, 1000)), "JPEG")
    shapes = {need: decode(content, at_least=need).shape[:2] for need in (1, 75, 76, 150, 151, 300, 301, 600, 4000)}
    assert shapes == {
        1: (75, 125),
        75: (75, 125),
        76: (150, 250),
        150: (150, 250),
        151: (300, 500),
        300: (300, 500),
        301: (600, 1000),
        600: (600, 1000),
        4000: (600, 1000),
    }
    assert decode(encoded(Image.fromarray(noise(60, 100)), "PNG"), at_least=1).shape == (60, 100, 3)


def test_reduced_scale_and_orientation_together() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(noise(400, 800)), "JPEG", exif=exif)
    assert decode(content, at_least=100).shape == (200, 100, 3)
    assert probe(content) == Probe(width=400, height=800, mode="RGB", format="JPEG")


def test_images_in_memory() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    assert (decode(rgba) == 255).all()
    assert decode(np.zeros((2, 5, 1), np.uint16)).shape == (2, 5, 3)
    assert (decode(np.full((2, 2, 2), (50, 255), np.uint8)) == 50).all()
    image = Image.open(io.BytesIO(encoded(Image.fromarray(noise(64, 64)), "JPEG")))
    assert decode(image, at_least=8).shape == (64, 64, 3)
    assert image.size == (64, 64)
    with pytest.raises(DataError, match=r"array of shape \(3, 3, 7\) is not an image"):
        decode(np.zeros((3, 3, 7), np.uint8))
    with pytest.raises(DataError, match=r"array of <U1 is not an image"):
        decode(np.array([["a"]]))


def test_the_result_is_writable_and_contiguous() -> None:
    for source in (corners(), corners().convert("L"), np.zeros((4, 4), np.uint8), encoded(corners(), "JPEG")):
        pixels = decode(source)
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous
        assert pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(kind: str, share: float, tmp_path: Path) -> None:
    content = encoded(Image.fromarray(noise(64, 64)), kind)
    path = tmp_path / "half a photo.img"
    path.write_bytes(content[: int(len(content) * share)])
    for read in (decode, probe, lambda source: decode(source, at_least=8)):
        with pytest.raises(DataError, match=r"half a photo\.img (is|has|does)") as caught:
            read(path)
        assert caught.value.hint


def test_what_is_not_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.png").write_text("<html>not found</html>")
    for path, message in [
        (tmp_path / "empty.jpg", r"empty\.jpg is empty \(0 bytes\)"),
        (tmp_path / "page.png", r"page\.png is not an image that fovea reads \(it begins with b'<html>no'\)"),
        (tmp_path / "naïve näme.jpg", r"no such file: .*naïve näme\.jpg"),
        (tmp_path, r"is a folder, expected an image"),
        (Path("a\0b"), "cannot read"),
    ]:
        for read in (decode, probe):
            with pytest.raises(DataError, match=message):
                read(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(corners(), "PNG"))
    path.chmod(0)
    with pytest.raises(DataError, match=r"cannot read .*secret\.png: permission denied"):
        decode(path)


def test_permission_denied_as_the_system_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=r"cannot read x\.png: permission denied"):
        decode("x.png")


def test_random_damage_never_raises_anything_else() -> None:
    rng = np.random.default_rng(0)
    outcomes = set()
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        content = np.frombuffer(encoded(Image.fromarray(noise(24, 24)), kind), np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[rng.integers(0, min(len(damaged), 400), 6)] = rng.integers(0, 256, 6)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    outcomes.add(decode(damaged.tobytes(), max_pixels=10_000).dtype)
                except DataError:
                    outcomes.add("refused")
    assert outcomes == {np.dtype(np.uint8), "refused"}


def huge_header(kind: str) -> bytes:
    """A file of a few bytes that declares 60,000 x 60,000 pixels (WebP: 16,384 x 16,384, its most)."""
    if kind == "PNG":
        body = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
        start = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
        return b"\x89PNG\r\n\x1a\n" + start + struct.pack(">I", 9) + b"IDAT"
    if kind == "BMP":
        content = bytearray(encoded(Image.new("RGB", (1, 1)), "BMP"))
        content[18:26] = struct.pack("<ii", 60000, 60000)
        return bytes(content)
    if kind == "GIF":
        return b"GIF89a" + struct.pack("<HH", 60000, 60000) + b"\0\0\0" + encoded(corners(), "GIF")[13:]
    if kind == "JPEG":
        content = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
        start = content.index(b"\xff\xc0")
        content[start + 5 : start + 9] = struct.pack(">HH", 60000, 60000)
        return bytes(content)
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (16383).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG", "WEBP"])
def test_too_many_pixels_are_refused_from_the_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise AssertionError("decoded before the size was checked")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    for read in (decode, probe):
        with pytest.raises(DataError, match=r"pixels, more than the 179,000,000 allowed") as caught:
            read(huge_header(kind))
        assert "max_pixels" in caught.value.hint


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_sizes_are_read_before_its_decoder_runs(lossless: bool) -> None:
    content = encoded(Image.new("RGB", (123, 45)), "WEBP", lossless=lossless)
    with pytest.raises(DataError, match="123 x 45 = 5,535 pixels, more than the 5,534 allowed"):
        decode(content, max_pixels=5534)
    assert decode(content, max_pixels=5535).shape == (45, 123, 3)


def test_pillows_own_limit_neither_warns_nor_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(corners(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(content).shape == (16, 32, 3)
    with pytest.raises(DataError, match="32 x 16 = 512 pixels, more than the 511 allowed"):
        decode(content, max_pixels=511)


def test_real_photos_probe_as_they_decode(shared: Path) -> None:
    for path in sorted((shared / "data/grocery/train").rglob("*.jpg"))[::600]:
        found, pixels = probe(path), decode(path)
        assert pixels.shape == (found.height, found.width, 3)
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(path).convert("RGB")))
