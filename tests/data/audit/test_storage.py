"""Storage: real files under wrong names, sizes and shapes unlike the rest, modes that few images have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.core.findings import Finding
from fovea.data.audit.base import Subject
from fovea.data.audit.evidence import per_file
from fovea.data.audit.storage import odd_mode, odd_size, wrong_extension
from fovea.data.reading import read_with_looks

from .subjects import subject


def folder(root: Path, files: dict[str, bytes | tuple[str, str]]) -> Subject:
    """Write files, given as bytes or as (format, mode), each also beside a good image; read them into a subject."""
    for number, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            form, mode = content
            Image.effect_noise((20 + number, 20), 40).convert(mode).save(path, form)
    manifest, looks = read_with_looks(root)
    keep = np.flatnonzero(manifest.table["excluded"].is_null().to_numpy())
    return Subject(manifest=manifest, rows=manifest.usable(), looks=looks.take(keep), copies=np.full(len(keep), -1))


def of_kind(found: list[Finding], kind: str) -> Finding:
    (finding,) = [finding for finding in found if finding.evidence["kind"] == kind]
    return finding


def sized(*sizes: tuple[int, int]) -> Subject:
    return subject([0] * len(sizes), table={"width": [w for w, _ in sizes], "height": [h for _, h in sizes]})


def test_a_jpeg_called_png_is_named_with_what_it_is(tmp_path: Path) -> None:
    data = folder(
        tmp_path,
        {
            "a b/grüße.PNG": ("JPEG", "RGB"),
            "a b/2.png": ("PNG", "L"),
            "ü/3.tif": ("TIFF", "RGB"),
            "ü/4.JPE": ("JPEG", "RGB"),
            "ü/5.jfif": ("JPEG", "CMYK"),
            "ü/6.jpeg": ("WEBP", "RGB"),
            "ü/7.pgm": ("PPM", "L"),
            "ü/8.dib": ("BMP", "RGB"),
        },
    )
    (found,) = wrong_extension(data)
    assert (found.severity, found.code, found.evidence["kind"]) == ("warning", "wrong-extension", "format")
    assert found.message.startswith("2 of 8 images are stored in another format than the name says")
    assert ".png that is JPEG (1)" in found.message
    assert ".jpeg that is WEBP (1)" in found.message
    assert set(found.files) == {"a b/grüße.PNG", "ü/6.jpeg"}
    assert per_file(found)["a b/grüße.PNG"] == {"content": "JPEG"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\n...", "PDF"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"\n  <HTML>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG or other XML"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, AVIF or MP4 video"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "HEIC, AVIF or MP4 video"),
        (b"PK\x03\x04 and 'quotes'", "ZIP"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "AppleDouble"),
        (bytes(500), "zeros"),
        (b"\x1aE\xdf\xa3\x01\0\0\0", "Matroska or WebM video"),
        (b"\xffO\xffQ\0/\0\0", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"RIFF\x10\0\0\0AVI LIST", "AVI or WAV"),
        (b'{"error": "it\'s gone"}', "JSON"),
    ],
)
def test_what_is_no_image_is_told_by_its_first_bytes(tmp_path: Path, content: bytes, kind: str) -> None:
    data = folder(tmp_path, {"a/1.png": ("PNG", "RGB"), "b/2.png": ("PNG", "RGB"), "b/it's 3.jpg": content})
    (found,) = wrong_extension(data)
    assert (found.severity, found.evidence["kind"], found.files) == ("warning", "no image", ("b/it's 3.jpg",))
    assert f".jpg that is {kind} (1)" in found.message
    assert found.evidence["pairs"] == [{"ending": ".jpg", "content": kind, "images": 1}]


def test_empty_truncated_and_unknown_files_are_left_to_reading(tmp_path: Path) -> None:
    files = {"a/1.png": ("PNG", "RGB"), "b/2.png": ("PNG", "RGB"), "b/3.jpg": b"", "b/4.jpg": b"\x01\x02 what is it"}
    data = folder(tmp_path, {**files, "b/5.jpg": b"\xff\xd8\xff\xe0 cut"})  # type: ignore[dict-item]
    assert data.manifest.excluded().height == 3
    assert wrong_extension(data) == []


def test_a_name_without_an_ending_is_a_note() -> None:
    data = subject([0] * 10, paths=[*[f"{n}.jpg" for n in range(8)], "photo", "shot.0007"])
    (found,) = wrong_extension(data)
    assert (found.severity, found.evidence["kind"], found.files) == ("note", "no ending", ("photo", "shot.0007"))
    assert "they are JPEG (2)" in found.message


def test_one_small_image_among_equal_ones_is_odd() -> None:
    found = of_kind(odd_size(sized(*[(640, 480)] * 50, (320, 240), (319, 240))), "small")
    assert found.severity == "warning"
    assert found.files == ("class 0/0051.jpg",)  # half of each side is a quarter of the area, and not yet odd
    assert "1 image of 52 is far smaller than the rest" in found.message
    assert "class 0/0051.jpg (319 × 240)" in found.message
    assert "(median 640 × 480 px)" in found.message


def test_a_thumbnail_is_odd_however_sizes_vary() -> None:
    sides = np.exp(np.random.default_rng(0).normal(np.log(500), 1.2, 400)).clip(64, 8000).astype(int)
    varied = [(int(side), int(side)) for side in sides]
    assert not any(finding.evidence["kind"] == "small" for finding in odd_size(sized(*varied)))
    found = of_kind(odd_size(sized(*varied, (16, 40))), "small")
    assert found.files == ("class 0/0400.jpg",)
    assert "1 of them under 32 px on the shorter side" in found.message


def test_what_is_more_than_eight_times_as_large_costs_time_and_is_noted() -> None:
    found = of_kind(odd_size(sized(*[(640, 480)] * 50, (4000, 3000), (1800, 1360))), "large")
    assert found.severity == "note"
    assert found.files == ("class 0/0050.jpg",)
    assert found.evidence["share_of_pixels"] == pytest.approx(12 / (12 + 50 * 0.3072 + 2.448), abs=1e-3)  # megapixels
    assert found.evidence["sizes"] == [{"path": "class 0/0050.jpg", "size": "4000 × 3000"}]


def test_long_images_are_odd_and_turned_ones_are_not() -> None:
    usual = [(640, 480)] * 60 + [(480, 640)] * 4
    assert odd_size(sized(*usual)) == []
    found = of_kind(odd_size(sized(*usual, (1500, 300), (300, 1600))), "shape")
    assert (found.severity, found.files) == ("warning", ("class 0/0065.jpg", "class 0/0064.jpg"))
    assert "data.resize=pad" in found.fix


def test_data_of_long_strips_is_its_own_measure() -> None:
    widths = np.random.default_rng(0).integers(300, 900, 200)
    assert odd_size(sized(*[(int(width), 60) for width in widths])) == []


@pytest.mark.parametrize("sizes", [[], [(5, 5)], [(640, 480), (20, 20)], [(8, 8)] * 100, [(64, 64), (900, 900)] * 50])
def test_few_images_small_images_and_two_kinds_of_images_have_no_odd_size(sizes: list[tuple[int, int]]) -> None:
    assert not any(finding.evidence["kind"] == "small" for finding in odd_size(sized(*sizes)))


def test_modes_that_few_images_have_are_noted_with_their_counts() -> None:
    modes = ["RGB"] * 95 + ["L", "L", "CMYK", "I;16", "RGBA"]
    (found,) = odd_mode(subject([0] * 100, facts={"mode": modes}))
    assert (found.severity, found.code) == ("note", "odd-mode")
    assert "5 images of 100 have another colour mode than the rest (colour, RGB)" in found.message
    assert "grey (L, 2), CMYK, made for print (CMYK, 1), 16 bits or more (I;16, 1) and transparency" in found.message
    assert found.evidence["counts"] == {"RGB": 95, "L": 2, "CMYK": 1, "I;16": 1, "RGBA": 1}
    assert per_file(found)["class 0/0097.jpg"] == {"mode": "CMYK"}


@pytest.mark.parametrize("modes", [[], ["L"], ["L"] * 50, ["RGB"] * 40 + ["L"] * 20, ["RGB", "L"]])
def test_one_mode_or_two_common_ones_are_not_odd(modes: list[str]) -> None:
    assert odd_mode(subject([0] * len(modes), facts={"mode": modes})) == []
