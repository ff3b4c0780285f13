"""Alignment: known maps, gains and offsets are undone; strangers stay strangers; what is overprinted stays a detail."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fovea.data.audit import threads
from fovea.data.audit.alignment import Fit, align
from fovea.data.audit.corners import find_corners
from fovea.data.audit.overlays import overlay
from fovea.data.audit.signatures import insides

from .pictures import copied, looks_at, photos, scene, stored, with_logo

WHOLE = np.array([[1, 0, 0], [0, 1, 0]], np.float32)


def grey(image: Image.Image) -> np.ndarray:
    """The picture as the audit sees it: (1, 64, 64)."""
    return looks_at([stored(image, "PNG")])[0].grey


def fit(first: np.ndarray, second: np.ndarray, start: np.ndarray = WHOLE, rims: np.ndarray | None = None) -> Fit:
    rims = np.zeros((len(first), 4), np.float32) if rims is None else rims
    starts = np.broadcast_to(start, (len(first), 2, 3)).copy()
    return align(first, second, np.zeros((len(first), 4), np.float32), rims, starts)


def warped(image: Image.Image, *, degrees: float, size: float, shift: tuple[float, float]) -> Image.Image:
    """The part of a picture that lies under a turned, smaller, shifted square; `shift` in shares of half a side."""
    width, height = image.size
    cosine, sine = size * np.cos(np.radians(degrees)), size * np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    # from pixels of the result to pixels of the picture; both are squashed to squares afterwards
    scale = np.array([width / 2, height / 2])
    linear = turn * scale[:, None] / scale[None]
    offset = scale + np.array(shift) * scale - linear @ scale
    numbers = [*linear[0], offset[0], *linear[1], offset[1]]
    return image.transform(image.size, Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)


PICTURES = [photos()[2], photos()[3], photos()[5], scene(2), scene(3)]


@pytest.mark.parametrize(
    ("degrees", "size", "shift"),
    [(0, 1, (0, 0)), (0, 0.85, (0, 0)), (0, 0.9, (0.08, -0.08)), (3, 0.9, (0.02, 0)), (-5, 0.85, (0, 0.03))],
)
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0), (0.6, 30), (1.15, -15)])
def test_a_known_map_and_a_known_change_of_contrast_are_undone(
    degrees: float, size: float, shift: tuple[float, float], gain: float, offset: float
) -> None:
    first = np.concatenate([grey(warped(image, degrees=degrees, size=size, shift=shift)) for image in PICTURES])
    changed = [np.asarray(image, np.float32) * gain + offset for image in PICTURES]
    second = np.concatenate([grey(Image.fromarray(pixels.clip(0, 255).astype(np.uint8))) for pixels in changed])
    found = fit(first, second, start=np.array([[size, 0, 0], [0, size, 0]], np.float32))
    assert (found.correlation > 0.98).all()
    assert (found.lower > 0.88).all() and (found.middle > 0.93).all()
    assert (found.overlap > 0.9).all()  # the part lies wholly within the whole
    assert (found.detail > 20).all()


def test_the_overlap_of_a_whole_with_its_part_is_the_share_of_the_area() -> None:
    part = grey(warped(scene(2), degrees=0, size=0.8, shift=(0, 0)))
    found = fit(grey(scene(2)), part, start=np.array([[1 / 0.8, 0, 0], [0, 1 / 0.8, 0]], np.float32))
    assert found.overlap[0] == pytest.approx(0.64, abs=0.04)
    assert found.lower[0] > 0.88


def test_another_picture_never_fits() -> None:
    wholes = np.concatenate([grey(image) for image in [*photos(), *map(scene, range(5))]])
    rows = [(one, other) for one in range(len(wholes)) for other in range(len(wholes)) if one != other]
    left, right = np.array(rows).T
    found = fit(wholes[left], wholes[right])
    assert found.lower.max() < 0.5
    assert (found.correlation < 0.9).mean() > 0.99


def test_a_logo_spoils_some_blocks_and_not_the_rest() -> None:
    found = fit(grey(scene(1)), grey(with_logo(scene(1))))
    assert found.middle[0] > 0.98 and found.lower[0] > 0.88


def test_borders_are_left_out_of_the_comparison() -> None:
    picture = grey(scene(3))
    framed = np.full((1, 64, 64), 255, np.uint8)
    inner = Image.fromarray(picture[0]).resize((48, 48), Image.Resampling.BOX)
    framed[0, 8:56, 8:56] = np.asarray(inner)
    rims = np.full((1, 4), 8 / 64, np.float32)
    told = fit(picture, framed, rims=rims)
    assert told.correlation[0] > 0.98 and told.lower[0] > 0.75 and told.overlap[0] > 0.8
    assert fit(picture, framed).correlation[0] < told.correlation[0]


@pytest.mark.parametrize("name", ["turned 8", "border 15 colour", "crop 80", "half"])
def test_what_a_copy_shows_agrees_whatever_lies_around_it_and_whichever_comes_first(name: str) -> None:
    """Black corners, borders, and the rest of the scene have no part in the fine structure; nor has the resolution."""
    looks, _ = looks_at([file for image in PICTURES for file in (stored(image, "PNG"), copied(image, name))])
    rims = np.stack([looks.column(f"rim_{side}") for side in ("left", "top", "right", "bottom")], axis=1)
    rims = rims.astype(np.float32)
    for one, other in ((0, 1), (1, 0)):
        first, second = find_corners(looks.grey, rims)[one::2], find_corners(looks.grey, rims)[other::2]
        guess = overlay(
            insides(first, rims[one::2]), insides(second, rims[other::2]), np.array([[k, k] for k in range(5)])
        )
        found = align(first, second, rims[one::2], rims[other::2], guess.maps)
        assert found.lower.min() > 0.92, (one, found.lower)
        assert found.detail.min() > 20


def test_changes_are_told_by_their_share_and_their_way() -> None:
    lighter, both = scene(2).copy(), scene(2).copy()
    width, height = lighter.size
    box = (width // 4, height // 4, width // 2, height // 2)  # a sixteenth of the area
    lighter.paste((255, 255, 255), box)
    both.paste(scene(3).crop(box), box)
    found = fit(np.repeat(grey(scene(2)), 3, axis=0), np.concatenate([grey(scene(2)), grey(lighter), grey(both)]))
    assert found.changed[0] == 0 and found.moved[0] < 0.01
    assert 1 / 16 < found.changed[1] < 0.2
    assert found.one_way[1] > 0.8 > 0.6 > found.one_way[2]  # copies are overprinted from 0.6 on


def test_a_stroke_is_spread_over_few_blocks_and_an_enlarged_thumbnail_is_smooth() -> None:
    stroke = Image.new("L", (128, 128), 235)
    ImageDraw.Draw(stroke).ellipse((30, 40, 90, 80), outline=20, width=3)
    thumbnail = scene(1).resize((8, 8)).resize((128, 128), Image.Resampling.BICUBIC)
    pictures = np.concatenate([grey(stroke), grey(thumbnail), grey(scene(1))])
    found = fit(pictures, pictures)
    assert found.spread[0] < 15.5 < 30 < found.spread[2]
    assert found.roughness[1] < 0.005 < 0.02 < found.roughness[2]


def test_pictures_without_structure_give_zeros_and_no_warning() -> None:
    blank, full = np.zeros((1, 64, 64), np.uint8), np.full((1, 64, 64), 255, np.uint8)
    for first, second in ((blank, blank), (blank, full), (blank, grey(scene(0))), (grey(scene(0)), full)):
        found = fit(first, second)
        assert np.isfinite(np.stack(found)).all()
        assert found.correlation[0] < 0.5 and found.lower[0] == found.middle[0] == 0


def test_no_pairs_give_no_numbers() -> None:
    found = fit(np.zeros((0, 64, 64), np.uint8), np.zeros((0, 64, 64), np.uint8))
    assert [len(values) for values in found] == [0] * len(Fit._fields)


def test_a_pair_fits_the_same_among_many_and_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    first = np.concatenate([grey(scene(seed)) for seed in range(5)] * 25)  # more than one group of pairs
    second = np.concatenate([grey(warped(scene(seed), degrees=2, size=0.95, shift=(0, 0))) for seed in range(5)] * 25)
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    many = fit(first, second)
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    for row in (0, 49, 124):
        alone = fit(first[row : row + 1], second[row : row + 1])
        for one, other in zip(alone, many, strict=True):
            assert one[0] == pytest.approx(other[row], abs=2e-3)
