"""Which images are copies: real photos and drawn scenes against thirty ways of copying them, and against each other."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from fovea.data.audit import copies, threads

from .pictures import (
    COPIES,
    copied,
    copies_among,
    looks_at,
    partition,
    photos,
    scene,
    stored,
    watermarked,
)


class Crowd(NamedTuple):
    """Originals and copies of them: which original each file shows, how it was copied ("": not), and the groups."""

    origin: np.ndarray
    how: np.ndarray
    found: copies.Copies


def crowd_of(originals: list[Image.Image], hows: list[str]) -> Crowd:
    origin = np.repeat(np.arange(len(originals)), 1 + len(hows))
    how = np.array(["", *hows] * len(originals))
    files = [copied(originals[k], name) if name else stored(originals[k]) for k, name in zip(origin, how, strict=True)]
    return Crowd(origin, how, copies_among(files))


def with_lines(image: Image.Image) -> Image.Image:
    """Write translucent words in three lines, over nearly the whole picture."""
    layer = Image.new("RGBA", image.size)
    font = ImageFont.load_default(image.width // 7)
    for height in (0.05, 0.4, 0.75):
        place = (0.05 * image.width, height * image.height)
        ImageDraw.Draw(layer).text(place, "sample photo", font=font, fill=(255, 255, 255, 110))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def recall(crowd: Crowd, how: str) -> float:
    """Share of the originals whose copy of this kind is in their group."""
    near = crowd.found.near
    of_original = near[(crowd.how == "")]
    return float(np.mean((near[crowd.how == how] == of_original) & (of_original >= 0)))


def mixed(groups: np.ndarray, origin: np.ndarray) -> list[set[int]]:
    """Return the originals of each group that shows more than one."""
    shown = [{int(origin[row]) for row in group} for group in partition(groups)]
    return [originals for originals in shown if len(originals) > 1]


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    """Six photos and a drawn scene, each with thirty copies: far more than an image is given neighbours."""
    return crowd_of([*photos()[1:], scene(0)], list(COPIES))


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_in_the_group_of_its_original(crowd: Crowd, how: str) -> None:
    assert recall(crowd, how) >= 6 / 7


def test_nearly_all_copies_are_found_and_no_two_photos_are_taken_for_one(crowd: Crowd) -> None:
    assert np.mean([recall(crowd, how) for how in COPIES]) >= 0.97
    assert mixed(crowd.found.near, crowd.origin) == []
    assert mixed(crowd.found.scene, crowd.origin) == []  # nor for two photos of one scene, being parts of one picture
    assert len(partition(crowd.found.near)) == 7  # one group each, though every image has 30 copies
    assert (crowd.found.exact == -1).all()


def test_a_single_copy_is_found_without_others_that_lead_to_it() -> None:
    """Thirty copies lead from one to the next; in a folder there is mostly one. So each image gets one, three times."""
    originals, hows = [*photos(), *map(scene, range(13))], list(COPIES)
    count, found = len(originals), []
    for turn in range(3):
        files = [copied(image, hows[(11 * place + 10 * turn) % 30]) for place, image in enumerate(originals)]
        near = copies_among([*map(stored, originals), *files]).near
        assert mixed(near, np.tile(np.arange(count), 2)) == []
        found += [near[place] == near[count + place] != -1 for place in range(count)]
    assert np.mean(found) >= 0.9


@pytest.mark.parametrize(
    "how",
    ["border 15 colour", "crop 80", "turned 2", "turned -5", "turned 8", "watermark", "three lines", "white corners"],
)
def test_every_lone_copy_of_the_hard_kinds_is_found(how: str) -> None:
    """These were missed wherever no second copy led to them."""
    calm = [scene(seed).filter(ImageFilter.GaussianBlur(2)) for seed in range(20, 26)]
    originals = [*photos()[1:], *map(scene, range(10)), *calm]
    copied_so = {
        "three lines": lambda image: stored(with_lines(image)),
        "white corners": lambda image: stored(image.rotate(6, Image.Resampling.BICUBIC, fillcolor="white")),
    }.get(how, lambda image: copied(image, how))
    count, files = len(originals), [list(map(stored, originals)), list(map(copied_so, originals))]
    for before, after in (files, reversed(files)):  # whichever comes first
        near = copies_among([*before, *after]).near
        assert mixed(near, np.tile(np.arange(count), 2)) == []
        assert np.mean((near[:count] == near[count:]) & (near[:count] >= 0)) >= 0.9


def test_sixty_versions_of_one_image_are_one_group() -> None:
    versions = [stored(photos()[2], quality=quality) for quality in range(35, 95)]
    found = copies_among([*versions, *(stored(scene(seed)) for seed in range(5))])
    assert partition(found.near) == {frozenset(range(60))}


def test_equal_bytes_are_exact_copies_and_near_ones_too() -> None:
    one, other = stored(scene(0)), stored(scene(1))
    found = copies_among([one, other, one, stored(scene(0), quality=50), other, stored(scene(2))])
    assert found.exact.tolist() == [0, 1, 0, -1, 1, -1]
    assert found.near.tolist() == [0, 1, 0, 0, 1, -1]
    assert found.scene.tolist() == [0, 1, 0, 0, 1, -1]


def test_images_whose_digest_is_unknown_are_no_exact_copies() -> None:
    looks, sides_px = looks_at([stored(scene(0))] * 2)
    found = copies.find_copies(looks, [None, None], sides_px)
    assert found.exact.tolist() == [-1, -1]
    assert found.near.tolist() == [0, 0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_handful_of_images_is_no_special_case(count: int) -> None:
    found = copies_among([stored(scene(seed)) for seed in range(count)])
    assert found.exact.tolist() == found.near.tolist() == found.scene.tolist() == [-1] * count


def test_a_mirrored_pair_alone_is_found() -> None:
    image = photos()[3]
    assert copies_among([stored(image), stored(ImageOps.mirror(image))]).near.tolist() == [0, 0]
    upside_down = stored(ImageOps.flip(image))  # nobody asked for these
    assert copies_among([stored(image), upside_down]).near.tolist() == [-1, -1]


def test_a_thing_moved_within_a_scene_makes_no_copy_but_one_scene() -> None:
    before = photos()[2]
    after = before.copy()
    after.paste(photos()[6].resize((90, 80)), (75, 110))  # a sixth of the picture is another thing
    found = copies_among([stored(before), stored(after), stored(scene(1)), stored(scene(2))])
    assert found.near.tolist() == [-1, -1, -1, -1]
    assert found.scene.tolist() == [0, 0, -1, -1]


def test_the_order_of_the_images_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hows = ["half", "crop 85", "mirror", "noise", "watermark", "turned -5", "border 5 white"]
    files = [copied(image, how) if how else stored(image) for image in (*photos()[3:], scene(5)) for how in ("", *hows)]
    before = copies_among(files)
    order = np.random.default_rng(3).permutation(len(files))
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)  # nor does the number of threads
    after = copies_among([files[place] for place in order])
    for name in ("exact", "near", "scene"):
        moved = {frozenset(int(order[row]) for row in group) for group in partition(getattr(after, name))}
        assert moved == partition(getattr(before, name)), name
    assert len(partition(before.near)) == 5


def test_groups_are_numbered_in_order_of_their_first_image() -> None:
    files = [stored(scene(0)), stored(scene(1)), stored(scene(1), quality=60), stored(scene(0), quality=60)]
    assert copies_among(files).near.tolist() == [0, 1, 1, 0]


def test_torch_divides_its_work_afterwards_as_it_did_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        copies_among([stored(scene(0)), stored(scene(0), quality=30)])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_progress_names_each_step_and_ends_at_its_total() -> None:
    told: list[tuple[str, int, int]] = []
    files = [stored(scene(seed), quality=quality) for seed in range(4) for quality in (90, 40)]
    copies_among(files, advance=lambda label, done, total: told.append((label, done, total)))
    last = {label: (done, total) for label, done, total in told}
    assert list(last) == ["looking for copies", "comparing look-alikes", "aligning look-alikes"]
    assert all(done == total > 0 for done, total in last.values())
    assert all(done <= total for _, done, total in told)


# --- images with little to tell them by ------------------------------------------------------------------------------


def test_tiny_images_are_alike_to_the_byte_or_not_at_all() -> None:
    from sklearn.datasets import load_digits

    digits = [Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)) for image in load_digits().images[:400]]
    found = copies_among([stored(digit, "PNG") for digit in [*digits, digits[7]]])
    assert partition(found.exact) == partition(found.near) == partition(found.scene) == {frozenset({7, 400})}


def test_blank_images_are_copies_only_by_their_bytes() -> None:
    """Nothing in a blank image says which photo it was; `low-information` names them all."""
    blanks = [Image.new("RGB", (100, 100), (value,) * 3) for value in (0, 0, 128, 255)]
    files = [*(stored(blank, "PNG") for blank in blanks), stored(blanks[2]), stored(blanks[2].resize((60, 100)), "PNG")]
    found = copies_among(files)
    assert found.near.tolist() == found.scene.tolist() == [0, 0, -1, -1, -1, -1]


def test_images_without_detail_are_not_taken_for_each_other() -> None:
    across = np.broadcast_to(np.linspace(0, 255, 100)[None, :, None], (100, 100, 3)).astype(np.uint8)
    rng = np.random.default_rng(0)
    grain = [Image.fromarray(rng.normal(128, 3, (100, 100, 3)).astype(np.uint8)) for _ in range(3)]
    fog = [scene(seed).filter(ImageFilter.GaussianBlur(25)) for seed in range(6)]
    ramps = [Image.fromarray(np.ascontiguousarray(pixels)) for pixels in (across, across.transpose(1, 0, 2))]
    found = copies_among([stored(image, "PNG") for image in [*grain, *fog, *ramps]])
    assert set(found.near.tolist()) == set(found.scene.tolist()) == {-1}


def drawings(kind: str, count: int) -> list[Image.Image]:
    """Ellipses or boxes of random place, shape and tone, one on each sheet of the same plain paper."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(count):
        sheet = Image.new("L", (128, 128), 235)
        (x, y), (wide, high), tone = rng.uniform(10, 50, 2), rng.uniform(30, 70, 2), int(rng.integers(0, 180))
        box, draw = (x, y, x + wide, y + high), ImageDraw.Draw(sheet)
        if kind == "outlines":
            draw.ellipse(box, outline=tone, width=3)
        else:
            (draw.ellipse if kind == "ellipses" else draw.rectangle)(box, fill=tone)
        drawn.append(sheet)
    return drawn


@pytest.mark.parametrize("kind", ["outlines", "ellipses", "boxes"])
def test_simple_drawings_are_copies_only_in_place(kind: str) -> None:
    """Any ellipse can be drawn out over any other. So a few strokes are no proof, unless they lie where they lay."""
    sheets = drawings(kind, 40)
    smaller = sheets[1].resize((96, 96), Image.Resampling.BICUBIC)
    found = copies_among([stored(sheet, "PNG") for sheet in [*sheets, smaller]])
    assert frozenset({1, 40}) in partition(found.near)
    for groups in (found.near, found.scene):
        assert max(map(len, partition(groups))) <= 2
        assert len(partition(groups)) <= 4  # two that are nearly the same by chance


def test_enlarged_thumbnails_make_no_scenes() -> None:
    from sklearn.datasets import load_digits

    digits = [Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)) for image in load_digits().images[:150]]
    large = [digit.resize((64, 64), Image.Resampling.BICUBIC) for digit in digits]
    found = copies_among([*(stored(digit, "PNG") for digit in large), stored(large[7])])
    assert partition(found.near) == partition(found.scene) == {frozenset({7, 150})}


def test_a_thing_that_stands_elsewhere_is_no_overprint() -> None:
    """A logo or words change a picture one way, lighter or darker; what moved has changed it both ways."""
    before, after = photos()[3].copy(), photos()[3].copy()
    before.paste(photos()[5].resize((80, 100)), (10, 60))
    after.paste(photos()[5].resize((80, 100)), (110, 60))
    found = copies_among([stored(before), stored(after), stored(watermarked(watermarked(before)))])
    assert partition(found.near) == {frozenset({0, 2})}


def test_pure_noise_has_copies_but_no_doubles() -> None:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)) for _ in range(6)]
    found = copies_among([*(stored(image, "PNG") for image in noise), stored(noise[2], quality=90)])
    assert partition(found.near) == {frozenset({2, 6})}


# --- real photos ------------------------------------------------------------------------------------------------------


def test_on_grocery_photos_nine_in_ten_copies_are_found_and_next_to_nothing_else(shared: Path) -> None:
    lines = (shared / "data" / "grocery" / "train.txt").read_text(encoding="utf-8").splitlines()
    by_class = {label: path for path, label, *_ in (line.split(",") for line in reversed(lines))}
    paths = [shared / "data" / "grocery" / by_class[label].strip() for label in list(by_class)[:60]]
    originals = [Image.open(path).convert("RGB") for path in paths]
    hows = ["a quarter", "jpeg 10", "crop 80 corner", "border 10 black", "darker", "mirror", "turned -5", "watermark"]
    crowd = crowd_of(originals, hows)
    found = {(min(a, b), max(a, b)) for group in partition(crowd.found.near) for a in group for b in group if a != b}
    right = sum(crowd.origin[a] == crowd.origin[b] for a, b in found)
    assert right / len(found) >= 0.98
    assert min(recall(crowd, how) for how in hows) >= 0.9
