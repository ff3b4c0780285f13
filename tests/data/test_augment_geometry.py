"""Boxes follow the pixels: what is painted into an image is where the moved box says, whatever happened to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fovea.data.augment import Augment
from fovea.data.augment.geometry import Placement
from fovea.data.boxes import Frame, Move, moved_box

OFF = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0, border="mean")
HEIGHT, WIDTH = 160, 240
BOX: Frame = (70.0, 50.0, 130.0, 120.0)


def painted() -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[50:120, 70:130] = 255
    return image


def looks_at(augment: Augment, *, size: int | tuple[int, int], keys: range) -> list[tuple[np.ndarray, Move]]:
    """Return (where the box shows (H, W), how the picture was moved) for each key."""
    found = []
    high, wide = (size, size) if isinstance(size, int) else size
    for key in keys:
        pixels = augment.sample([painted()], size=size, seed=4, keys=[key])[0].numpy()
        place = augment.placement(HEIGHT, WIDTH, size=size, seed=4, key=key)
        move = Move(matrix=place.matrix(), before=(WIDTH, HEIGHT), after=(wide, high), shown=place.shown)
        background = painted().mean() if augment.border == "mean" else 0
        found.append((pixels[..., 0] > max(127.5, (background + 255) / 2), move))
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"crop_scale": 0.3},
        {"hflip": 1.0},
        {"vflip": 1.0},
        {"rotate": 60.0},
        {"shift": 0.3},
        {"shear": 40.0},
        {"crop_scale": 0.4, "hflip": 0.5, "vflip": 0.5, "rotate": 40.0, "shift": 0.3, "shear": 25.0},
    ],
    ids=lambda change: "+".join(change),
)
@pytest.mark.parametrize("size", [200, (120, 300)])
def test_a_painted_box_is_found_where_its_moved_box_is(change: dict[str, float], size: int | tuple[int, int]) -> None:
    """Within a pixel and a half: resize and rotation soften edges, and the sharp corner of a turned box is rounded."""
    seen = 0
    for shown, move in looks_at(replace(OFF, **change), size=size, keys=range(40)):
        frame, share, _ = moved_box(BOX, move)
        if frame is None or share < 0.1:
            assert shown.mean() < 0.02
            continue
        rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
        pixels = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.abs(np.subtract(pixels, frame)).max() <= 1.5, (pixels, frame)
        area = abs(np.linalg.det(move.matrix[:2, :2])) * 60 * 70
        assert shown.sum() == pytest.approx(share * area, rel=0.05, abs=40)
        seen += 1
    assert seen > 25


def test_a_matrix_says_where_each_corner_of_the_crop_goes() -> None:
    place = Placement(top=10, left=20, height=40, width=80, size=(120, 160), hflip=True)
    corners = np.array([[20, 10, 1], [100, 10, 1], [100, 50, 1], [60, 30, 1]]).T
    assert (place.matrix() @ corners)[:2].T.tolist() == [[160, 0], [0, 0], [0, 120], [80, 60]]
    assert place.shown == (20, 10, 100, 50)


def test_a_quarter_turn_shift_and_shear_have_the_stated_directions() -> None:
    square = {"top": 0, "left": 0, "height": 100, "width": 100, "size": (100, 100), "turned": True}
    right_of_centre = [90.0, 50.0, 1.0]
    assert (Placement(**square, rotate=90).matrix() @ right_of_centre).round(6).tolist() == [50, 90, 1]  # clockwise
    assert (Placement(**square, shift=(0.1, -0.2)).matrix() @ right_of_centre).round(6).tolist() == [100, 30, 1]
    leaning = Placement(**square, shear=45).matrix()
    assert (leaning @ [50.0, 100.0, 1.0]).round(6).tolist() == [100, 100, 1]
    assert (leaning @ [50.0, 50.0, 1.0]).round(6).tolist() == [50, 50, 1]


def test_a_turn_of_a_wide_picture_keeps_its_angles() -> None:
    """In torch's units of half a side a rotation of a 2:1 picture is none; a square must stay one."""
    matrix = Placement(top=0, left=0, height=50, width=100, size=(50, 100), turned=True, rotate=30).matrix()
    linear = matrix[:2, :2]
    assert np.allclose(linear @ linear.T, np.eye(2))
    assert linear[0, 0] == pytest.approx(np.cos(np.radians(30)))


def test_what_the_crop_left_out_does_not_come_back_with_the_shift() -> None:
    """A crop of the left half, shifted to the left, shows the rim's colour where the box would go on."""
    place = Placement(top=0, left=0, height=100, width=50, size=(100, 100), turned=True, shift=(-0.5, 0.0))
    move = Move(matrix=place.matrix(), before=(100, 100), after=(100, 100), shown=place.shown)
    frame, share, _ = moved_box((40.0, 0.0, 60.0, 100.0), move)
    assert frame == pytest.approx((30.0, 0.0, 50.0, 100.0))
    assert share == pytest.approx(0.5)


@pytest.mark.parametrize(("border", "outside"), [("mean", (100, 140)), ("reflect", (0, 255))])
def test_what_comes_in_at_the_rim(border: str, outside: tuple[int, int]) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2] = 240  # the mean is 120; a reflection has the stripes
    look = replace(OFF, shift=0.5, border=border).sample([image], size=64, seed=0, keys=[7])[0, :, :, 0].numpy()
    place = replace(OFF, shift=0.5, border=border).placement(64, 64, size=64, seed=0, key=7)
    right = round(place.shift[0] * 64)
    rim = look[20:40, : right - 1] if right > 1 else look[20:40, right:]
    assert abs(right) > 3
    if border == "mean":
        assert outside[0] <= rim.min() and rim.max() <= outside[1]
    else:
        assert rim.std() > 10
