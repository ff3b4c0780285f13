"""`fovea augment`: what is written, that it can be read again, that it goes on after a kill and never harms DATA."""

from __future__ import annotations

import csv
import errno
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fovea
from fovea.core.errors import DataError, FoveaError, RecipeError
from fovea.core.recipe_io import build_recipe
from fovea.data.augment import writing
from fovea.data.splits import with_splits
from fovea.workflows.augmenting import augment

TURN = build_recipe(overrides=["data.rotate=15"])


def save(path: Path, seed: int = 0, size: tuple[int, int] = (48, 36), **options: object) -> Path:
    """A smooth picture, so that JPEG keeps it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, unsplit, with odd names: the same stem twice, and one that a variant would take."""
    root = tmp_path / "my photos"
    for number, name in enumerate(["Äpfel rot/a b.jpg", "Äpfel rot/a b.png", "Äpfel rot/a b_1.jpg", "plum/ü.JPG"]):
        save(root / name, number)
    save(root / "plum" / "p.bmp", 9)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def table(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_class_folders_keep_their_layout_and_get_a_table(folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    out = tmp_path / "out ä"
    result = augment(folder, out=out, factor=3, recipe=TURN)
    assert contents(folder) == before  # DATA stays as it is
    assert (result.originals, result.variants, result.copied, result.written) == (5, 10, 0, 15)
    assert result.left_out == ()
    made = contents(out)
    assert all(made[name] == content for name, content in before.items())  # variant 0 is the original, to the byte
    rows = table(out)
    assert len(rows) == 15 == len({row["path"] for row in rows})
    assert {Path(row["path"]).parent.name for row in rows if row["label"] == "plum"} == {"plum"}
    assert all(row["split"] == "" for row in rows)
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row["path"])
    assert {len(paths) for paths in groups.values()} == {3}
    assert groups["plum/ü.JPG"] == ["plum/ü.JPG", "plum/ü_1.jpg", "plum/ü_2.jpg"]
    assert groups["plum/p.bmp"][1:] == ["plum/p_1.png", "plum/p_2.png"]  # lossless stays lossless
    assert groups["Äpfel rot/a b.jpg"][1] != "Äpfel rot/a b_1.jpg"  # that name is another original's
    assert groups["Äpfel rot/a b_1.jpg"][0] == "Äpfel rot/a b_1.jpg"
    for row in rows:
        with Image.open(out / row["path"]) as image:
            assert image.size == (48, 36)
            assert image.format == {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}[Path(row["path"]).suffix.lower()]


def test_the_table_reads_back_and_no_split_parts_the_variants(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in range(8):
        save(folder / "plum" / f"more {number}.jpg", 20 + number)
        save(folder / "Äpfel rot" / f"more {number}.jpg", 40 + number)
    result = augment(folder, out=out, factor=4)
    manifest = fovea.read(result.labels)
    assert manifest.usable().height == 21 * 4
    assert manifest.classes == ("plum", "Äpfel rot")
    split = with_splits(manifest, val_fraction=0.3, seed=0).usable()
    sides: dict[str, set[str]] = {}
    for group, side in split.select("group", "split").iter_rows():
        sides.setdefault(group, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())
    assert {side for found in sides.values() for side in found} == {"train", "val"}
    assert fovea.read(out).classes == manifest.classes  # as folders too


def test_a_variant_is_what_training_would_show(folder: Path, tmp_path: Path) -> None:
    """Against `Augment.sample` with the same seed, on a lossless source."""
    from fovea.core.files import digest
    from fovea.data.augment import Augment
    from fovea.data.augment.draws import look_key

    recipe = build_recipe(overrides=["data.rotate=15", "seed=7"])
    augment(folder, out=tmp_path / "out", factor=3, recipe=recipe)
    source = folder / "plum" / "p.bmp"
    changes = Augment.from_recipe(recipe.data, interpolation="bicubic")
    pixels = np.asarray(Image.open(source))
    key = look_key(digest(source.read_bytes()), 2)
    expected = changes.sample([pixels], size=(36, 48), seed=7, keys=[key])[0].numpy()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/plum/p_2.png")), expected)


def test_the_same_call_makes_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in "abc"]
    for out, seed in zip(outs, (1, 1, 2), strict=True):
        augment(folder, out=out, factor=2, recipe=build_recipe(overrides=[f"seed={seed}"]))
    first, same, other = ({k: v for k, v in contents(out).items() if k != "augment.json"} for out in outs)
    assert first == same
    assert first.keys() == other.keys()
    assert first["plum/p_1.png"] != other["plum/p_1.png"]
    assert first["plum/p.bmp"] == other["plum/p.bmp"]


def test_only_training_images_are_augmented(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number, split in enumerate(("train", "train", "val", "test")):
        for label in ("cat", "dog"):
            save(data / split / label / f"{number}.png", number)
    result = augment(data, out=tmp_path / "out", factor=3)
    assert (result.originals, result.variants, result.copied) == (4, 8, 4)
    rows = table(tmp_path / "out")
    assert [row["split"] for row in rows].count("train") == 12
    for split in ("val", "test"):
        assert contents(tmp_path / "out" / split) == contents(data / split)
        assert {row["group"] for row in rows if row["split"] == split} == {
            f"{split}/{label}/{2 if split == 'val' else 3}.png" for label in ("cat", "dog")
        }


def test_a_table_keeps_its_groups_and_labels_and_files_from_elsewhere(tmp_path: Path) -> None:
    save(tmp_path / "data" / "in side" / "one.jpg", 1)
    save(tmp_path / "elsewhere" / "two.jpg", 2)
    save(tmp_path / "data" / "three.jpg", 3)
    csv_file = tmp_path / "data" / "photos.csv"
    csv_file.write_text(
        "path,label,split,group\nin side/one.jpg,cat|dog,train,boat 1\n"
        "../elsewhere/two.jpg,dog,train,\nthree.jpg,cat,val,\n"
    )
    result = augment(csv_file, out=tmp_path / "out", factor=2)
    manifest = fovea.read(result.labels)
    assert manifest.multilabel and manifest.usable().height == 5
    rows = {row["path"]: row for row in table(tmp_path / "out")}
    assert rows["in side/one_1.jpg"]["label"] == "cat|dog"
    assert rows["in side/one_1.jpg"]["group"] == "boat 1"
    elsewhere = [row for path, row in rows.items() if path.startswith("outside/")]
    assert {row["group"] for row in elsewhere} == {"../elsewhere/two.jpg"}
    assert all((tmp_path / "out" / path).is_file() for path in rows)
    assert {path.name for path in tmp_path.iterdir()} >= {"data", "elsewhere", "out"}


def test_a_path_that_begins_with_a_blank_and_a_long_name_survive(tmp_path: Path) -> None:
    save(tmp_path / "data" / " cat" / "a.jpg", 1)
    save(tmp_path / "data" / "dog" / f"{'ü' * 115}.png", 2)
    result = augment(tmp_path / "data", out=tmp_path / "out", factor=2)
    assert fovea.read(result.labels).usable().height == 4
    assert max(len(path.name.encode()) for path in (tmp_path / "out").rglob("*")) < 230


@pytest.mark.parametrize(("size", "expected"), [(18, (24, 18)), (500, (48, 36))])
def test_size_is_the_shorter_side_and_enlarges_nothing(
    folder: Path, tmp_path: Path, size: int, expected: tuple[int, int]
) -> None:
    augment(folder, out=tmp_path / "out", factor=2, size=size)
    assert Image.open(tmp_path / "out/plum/p_1.png").size == expected
    assert Image.open(tmp_path / "out/plum/p.bmp").size == (48, 36)


def test_a_webp_becomes_what_it_is(tmp_path: Path) -> None:
    save(tmp_path / "data/a/sharp.webp", 1, lossless=True)
    save(tmp_path / "data/b/soft.webp", 2, quality=80)
    augment(tmp_path / "data", out=tmp_path / "out", factor=2)
    assert (tmp_path / "out/a/sharp_1.png").exists() and (tmp_path / "out/b/soft_1.jpg").exists()


def test_exif_orientation_is_applied_to_variants(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "data/a/x.jpg", 1, exif=exif)
    save(tmp_path / "data/b/y.png", 2)
    augment(tmp_path / "data", out=tmp_path / "out", factor=2)
    assert Image.open(tmp_path / "out/a/x_1.jpg").size == (36, 48)


def test_bad_images_are_named_and_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "plum" / "empty.jpg").touch()
    broken = save(folder / "plum" / "broken ü.png", 3)
    broken.write_bytes(broken.read_bytes()[:-40])
    result = augment(folder, out=tmp_path / "out", factor=2)
    assert {path for path, _ in result.left_out} == {"plum/empty.jpg", "plum/broken ü.png"}
    assert dict(result.left_out)["plum/empty.jpg"] == "is empty (0 bytes)"
    assert not any("broken" in row["path"] for row in table(tmp_path / "out"))
    assert not (tmp_path / "out/plum/broken ü.png").exists()


def test_an_image_that_breaks_after_it_was_read_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = writing.decode

    def failing(content: bytes, **options: int) -> np.ndarray:
        if content == (folder / "plum" / "p.bmp").read_bytes():
            raise DataError("the image is truncated or damaged (gone)")
        return decode(content, **options)

    monkeypatch.setattr(writing, "decode", failing)
    result = augment(folder, out=tmp_path / "out", factor=3)
    assert result.left_out == (("plum/p.bmp", "is truncated or damaged (gone)"),)
    assert not list((tmp_path / "out" / "plum").glob("p*"))
    assert len(table(tmp_path / "out")) == 12


def test_a_second_call_does_nothing_and_a_missing_file_is_made_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    augment(folder, out=out, factor=3)
    before = contents(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    (out / "plum" / "p_2.png").unlink()
    (out / "plum" / ".p_2.png.0123456789ab.part").write_bytes(b"half")  # left by a kill
    result = augment(folder, out=out, factor=3)
    assert result.written == 1
    assert contents(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")} == stamps


def test_what_is_something_else_is_not_written_into(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    save(out / "holiday.jpg")
    with pytest.raises(DataError, match="already holds something else"):
        augment(folder, out=out)
    assert [path.name for path in out.iterdir()] == ["holiday.jpg"]
    (out / "augment.json").write_text("[]")
    with pytest.raises(DataError, match=r"augment\.json is not fovea's"):
        augment(folder, out=out)


def test_other_settings_need_another_folder(folder: Path, tmp_path: Path) -> None:
    augment(folder, out=tmp_path / "out", factor=2, recipe=TURN)
    with pytest.raises(DataError, match=r"factor 2, now 3; rotate 15\.0, now 0\.0") as error:
        augment(folder, out=tmp_path / "out", factor=3)
    assert "--out" in error.value.hint
    save(folder / "plum" / "new.jpg")
    with pytest.raises(DataError, match="the images or their labels have changed"):
        augment(folder, out=tmp_path / "out", factor=2, recipe=TURN)


def test_the_output_may_not_lie_in_the_data(folder: Path) -> None:
    for out in (folder, folder / "out", folder / "plum"):
        with pytest.raises(DataError, match="lies inside"):
            augment(folder, out=out)
    assert not (folder / "augment.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 1}, "factor is 1; expected 2 to 1,000"),
        ({"factor": 1001}, "factor is 1001"),
        ({"size": 4}, "size is 4"),
        ({"min_visible": 1.2}, "min_visible is 1.2"),
        ({"recipe": build_recipe(overrides=["data.augment=false"])}, "all changes are switched off"),
        (
            {"recipe": build_recipe(overrides=["data.crop_scale=1", "data.hflip=0", "data.color_jitter=0"])},
            "every variant would be its original",
        ),
    ],
)
def test_a_wrong_wish_is_explained_before_anything_is_read(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        augment(tmp_path / "nothing here", out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_data_without_training_images_or_with_odd_class_names_is_refused(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        save(tmp_path / "held" / "test" / label / "a.jpg")
        save(tmp_path / "held" / "val" / label / "b.jpg", 2)
        save(tmp_path / "odd" / f"{label}|small" / "a.jpg")
    with pytest.raises(DataError, match="has no training images"):
        augment(tmp_path / "held", out=tmp_path / "out")
    with pytest.raises(DataError, match=r"the class 'cat\|small' has a name that a table cannot hold"):
        augment(tmp_path / "odd", out=tmp_path / "out")
    with pytest.raises(DataError, match="there is nothing at"):
        augment(tmp_path / "none", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(FoveaError, match="cannot make"):
        augment(save(tmp_path / "x" / "c" / "a.jpg").parents[1], out=tmp_path / "file" / "out")


def test_a_full_disk_is_said_and_a_second_call_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FoveaError, match="no space left while writing"):
        augment(folder, out=tmp_path / "out", factor=4)
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not (tmp_path / "out" / "labels.csv").exists()
    monkeypatch.setattr(os, "fsync", fsync)
    result = augment(folder, out=tmp_path / "out", factor=4)
    assert result.originals + result.variants == 20 > result.written
    assert len(table(tmp_path / "out")) == 20


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Six images with a white rectangle that their annotation frames; one for validation, one for test."""
    root = tmp_path / "VOC ü"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    for number in range(6):
        pixels = np.full((120, 160, 3), 40, np.uint8)
        left, top = 20 + 10 * number, 30 + 5 * number
        pixels[top : top + 40, left : left + 50] = 250
        Image.fromarray(pixels).save(root / "JPEGImages" / f"zelle {number}.png")
        (root / "Annotations" / f"zelle {number}.xml").write_text(
            f"<annotation><filename>zelle {number}.png</filename>"
            "<size><width>160</width><height>120</height><depth>3</depth></size><object><name>cell</name>"
            "<pose>Unspecified</pose><truncated>0</truncated><difficult>1</difficult><bndbox>"
            f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{left + 50}</xmax><ymax>{top + 40}</ymax>"
            "</bndbox></object></annotation>"
        )
    lists = {"train": [0, 1, 2, 3], "val": [4], "test": [5], "trainval": [0, 1, 2, 3, 4]}
    for name, numbers in lists.items():
        text = "".join(f"zelle {number}\n" for number in numbers)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    (root / "ImageSets" / "Main" / "cell_train.txt").write_text("zelle 0  1\nzelle 1 -1\n")
    return root


def test_boxes_are_carried_along_into_a_voc_folder(voc: Path, tmp_path: Path) -> None:
    before = contents(voc)
    out = tmp_path / "out"
    changes = ["data.rotate=20", "data.shear=10", "data.shift=0.1", "data.vflip=0.5", "data.color_jitter=0"]
    result = augment(voc, out=out, factor=6, recipe=build_recipe(overrides=changes))
    assert contents(voc) == before
    assert (result.originals, result.variants, result.copied, result.labels) == (4, 20, 2, None)
    assert {path.name for path in out.iterdir()} == {"JPEGImages", "Annotations", "ImageSets", "augment.json"}
    for name in before:
        if not name.startswith("ImageSets"):
            assert (out / name).read_bytes() == before[name]
    lists = {path.stem: path.read_text().splitlines() for path in (out / "ImageSets" / "Main").iterdir()}
    assert lists["val"] == ["zelle 4"] and lists["test"] == ["zelle 5"]
    assert lists["train"][:7] == ["zelle 0", *(f"zelle 0_{look}" for look in range(1, 6)), "zelle 1"]
    assert len(lists["trainval"]) == 25
    assert lists["cell_train"][5:7] == ["zelle 0_5  1", "zelle 1 -1"]
    seen = 0
    for name in lists["train"]:
        annotation = ElementTree.parse(out / "Annotations" / f"{name}.xml").getroot()
        assert annotation.findtext("filename") == f"{name}.png"
        white = np.asarray(Image.open(out / "JPEGImages" / f"{name}.png"))[..., 0] > 170
        for item in annotation.findall("object"):
            corners = [int(item.findtext(f"bndbox/{corner}", "")) for corner in ("xmin", "ymin", "xmax", "ymax")]
            rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
            painted = (columns[0] + 1, rows[0] + 1, columns[-1] + 1, rows[-1] + 1)
            assert np.abs(np.subtract(painted, corners)).max() <= 3, name
            assert item.findtext("difficult") == "1" and item.findtext("pose") == "Unspecified"
            seen += 1
    assert seen >= 15


def test_an_erased_object_has_no_box(voc: Path, tmp_path: Path) -> None:
    """Painting over up to everything: where less than 30 % is left to see, the object is gone from the annotation."""
    settings = ["data.crop_scale=1", "data.hflip=0", "data.color_jitter=0", "data.erase=1", "data.erase_area=1"]
    augment(voc, out=tmp_path / "out", factor=30, recipe=build_recipe(overrides=settings))
    kept, gone = 0, 0
    for path in (tmp_path / "out" / "Annotations").glob("zelle 0_*.xml"):
        pixels = np.asarray(Image.open(tmp_path / "out" / "JPEGImages" / f"{path.stem}.png"))
        white = (pixels[30:70, 20:70] == 250).all(-1).mean()
        found = len(ElementTree.parse(path).getroot().findall("object"))
        if abs(white - 0.3) > 0.02:
            assert found == (white > 0.3), (path.name, white)
        kept, gone = kept + found, gone + 1 - found
    assert kept > 3 and gone > 3


def test_a_hostile_or_wrong_annotation_leaves_its_image_out(voc: Path, tmp_path: Path) -> None:
    annotations = voc / "Annotations"
    (annotations / "zelle 0.xml").write_text('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>')
    wrong = (annotations / "zelle 1.xml").read_text().replace("<width>160</width>", "<width>120</width>")
    (annotations / "zelle 1.xml").write_text(wrong)
    (annotations / "zelle 2.xml").unlink()  # an image without objects
    result = augment(voc, out=tmp_path / "out", factor=3)
    reasons = dict(result.left_out)
    assert set(reasons) == {"zelle 0.png", "zelle 1.png"}
    assert "declares a document type" in reasons["zelle 0.png"]
    assert reasons["zelle 1.png"] == "its annotation is for 120 x 120 pixels, it has 160 x 120"
    out = tmp_path / "out"
    assert not list(out.rglob("zelle 0*")) and not list(out.rglob("zelle 1*"))
    assert (out / "JPEGImages" / "zelle 2_1.png").exists() and not (out / "Annotations" / "zelle 2_1.xml").exists()
    assert (out / "ImageSets/Main/train.txt").read_text().splitlines()[:3] == ["zelle 2", "zelle 2_1", "zelle 2_2"]


def test_a_size_scales_the_boxes_too(voc: Path, tmp_path: Path) -> None:
    recipe = build_recipe(overrides=["data.crop_scale=1", "data.hflip=0", "data.noise=1"])
    augment(voc, out=tmp_path / "out", factor=2, size=60, recipe=recipe)
    annotation = ElementTree.parse(tmp_path / "out/Annotations/zelle 0_1.xml").getroot()
    assert [annotation.findtext(f"size/{side}") for side in ("width", "height")] == ["80", "60"]
    box = [annotation.findtext(f"object/bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    assert box == ["11", "16", "35", "35"]


@pytest.mark.slow
def test_real_cells_are_augmented_and_stay_a_voc_folder(shared: Path, tmp_path: Path) -> None:
    result = augment(shared / "data" / "bccd", out=tmp_path / "out", factor=2, size=240, recipe=TURN)
    assert (result.originals, result.variants, result.copied, result.left_out) == (205, 205, 159, ())
    boxes = 0
    for path in (tmp_path / "out" / "Annotations").glob("*_1.xml"):
        for item in ElementTree.parse(path).getroot().findall("object"):
            left, top, right, bottom = (
                int(item.findtext(f"bndbox/{corner}", "")) for corner in ("xmin", "ymin", "xmax", "ymax")
            )
            assert 1 <= left <= right <= 320 and 1 <= top <= bottom <= 240
            boxes += 1
    assert boxes > 1000
