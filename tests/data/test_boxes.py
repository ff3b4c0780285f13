"""VOC annotations are read, moved with the picture and written; a hostile one is refused before it expands."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from fovea.core.errors import DataError
from fovea.data.boxes import (
    Move,
    annotation_bytes,
    declared_size,
    find_voc,
    listed_name,
    moved_annotation,
    moved_box,
    read_annotation,
    read_voc,
)

ANNOTATION = """<annotation><folder>JPEGImages</folder><filename>a.jpg</filename><path>/old/a.jpg</path>
<size><width>100</width><height>80</height><depth>3</depth></size><segmented>1</segmented>
<object><name>Bär &amp; Katze</name><pose>Left</pose><truncated>0</truncated><difficult>1</difficult>
  <bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>60</ymax></bndbox>
  <part><name>head</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>15</xmax><ymax>25</ymax></bndbox></part></object>
<object><name>dog</name><truncated>0</truncated>
  <bndbox><xmin>61.4</xmin><ymin>1</ymin><xmax>100</xmax><ymax>80</ymax></bndbox></object>
</annotation>"""
HERE = np.eye(3)


def shifted(right: float, down: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = right, down
    return matrix


def moved(matrix: np.ndarray, **options: object) -> ElementTree.Element:
    move = Move(matrix=matrix, before=(100, 80), after=(100, 80))
    return moved_annotation(ElementTree.fromstring(ANNOTATION), move, filename="a_1.jpg", **options)  # type: ignore[arg-type]


def box_of(item: ElementTree.Element) -> list[str | None]:
    return [item.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]


def test_a_picture_that_stays_keeps_its_boxes_to_the_pixel() -> None:
    first, second = moved(HERE).findall("object")
    assert box_of(first) == ["11", "21", "30", "60"]
    assert box_of(second) == ["61", "1", "100", "80"]
    assert [item.findtext("truncated") for item in (first, second)] == ["0", "0"]


def test_a_mirrored_box_is_counted_from_the_other_side() -> None:
    mirror = np.diag([-1.0, 1.0, 1.0])
    mirror[0, 2] = 100
    assert box_of(moved(mirror).findall("object")[0]) == ["71", "21", "90", "60"]  # 100 - 30 + 1, 100 - 11 + 1


def test_what_a_rim_cuts_is_truncated_and_the_rest_is_kept() -> None:
    result = moved(shifted(-15, 0))
    first, second = result.findall("object")
    assert box_of(first) == ["1", "21", "15", "60"]
    assert [item.findtext("truncated") for item in (first, second)] == ["1", "0"]
    assert [first.findtext(tag) for tag in ("name", "pose", "difficult")] == ["Bär & Katze", "Left", "1"]
    assert first.find("part") is None  # the head is out of sight
    assert result.findtext("filename") == "a_1.jpg"
    assert result.find("path") is None and result.findtext("segmented") == "0"


@pytest.mark.parametrize(("least", "left"), [(0.0, 2), (0.24, 2), (0.26, 1), (1.0, 1)])
def test_an_object_hardly_in_sight_is_left_out(least: float, left: int) -> None:
    """A quarter of the first object's width stays inside."""
    assert len(moved(shifted(-25, 0), min_visible=least).findall("object")) == left


def test_what_is_painted_over_is_out_of_sight() -> None:
    move = Move(matrix=HERE, before=(100, 80), after=(100, 80), hidden=(0.0, 0.0, 20.0, 80.0))
    assert moved_box((10.0, 20.0, 30.0, 60.0), move) == ((10.0, 20.0, 30.0, 60.0), 0.5, 1.0)


def test_a_turned_square_is_cut_where_it_lies_and_not_where_its_hull_does() -> None:
    """A diamond about the corner of the picture: a quarter is in sight, and its box is no larger than that quarter."""
    turn = np.array([[0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [0, 0, 1]]) * [[np.sqrt(2)], [np.sqrt(2)], [1]]
    frame, share, inside = moved_box((-10.0, -10.0, 10.0, 10.0), Move(matrix=turn, before=(9, 9), after=(50, 50)))
    assert share == inside == pytest.approx(0.25)
    assert frame == pytest.approx((0, 0, 10 * np.sqrt(2), 10 * np.sqrt(2)))


@pytest.mark.parametrize("box", [(5.0, 5.0, 5.0, 9.0), (7.0, 1.0, 3.0, 9.0), (200.0, 0.0, 300.0, 9.0)])
def test_a_box_of_no_area_or_outside_is_gone(box: tuple[float, float, float, float]) -> None:
    assert moved_box(box, Move(matrix=HERE, before=(100, 80), after=(100, 80))) == (None, 0.0, 0.0)


def test_a_box_of_one_pixel_stays_one(tmp_path: Path) -> None:
    """Real annotations have them: xmin = xmax, and the last pixel belongs to the box."""
    text = ANNOTATION.replace("<xmax>30</xmax><ymax>60</ymax>", "<xmax>11</xmax><ymax>21</ymax>")
    for right in (0.0, 0.3, 0.5, 0.7):
        move = Move(matrix=shifted(right, right), before=(100, 80), after=(100, 80))
        result = moved_annotation(ElementTree.fromstring(text), move, filename="x")
        xmin, ymin, xmax, ymax = map(int, box_of(result.findall("object")[0]))  # type: ignore[arg-type]
        assert 1 <= xmin <= xmax <= xmin + 1 and 1 <= ymin <= ymax <= ymin + 1


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "ä b.xml"
    path.write_bytes(annotation_bytes(moved(HERE)))
    again = read_annotation(path)
    assert again.findtext("object/name") == "Bär & Katze"
    assert declared_size(again) == (100, 80)


def test_a_document_type_is_refused_before_it_expands(tmp_path: Path) -> None:
    """The billion laughs: ten entities of ten entities each, in UTF-8 and where no search for text finds it."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    for encoding in ("utf-8", "utf-16"):
        bomb = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [{entities}]><annotation>&e9;</annotation>'
        path = tmp_path / f"{encoding}.xml"
        path.write_bytes(bomb.encode(encoding))
        with pytest.raises(DataError, match="declares a document type"):
            read_annotation(path)
    outside = tmp_path / "outside.xml"
    outside.write_text('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation>&x;</annotation>')
    with pytest.raises(DataError, match="declares a document type"):
        read_annotation(outside)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is not valid XML"), ("<annotation><object>", "is not valid XML"), ("<html/>", "holds <html>")],
)
def test_what_is_no_annotation_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotation(path)
    with pytest.raises(DataError, match="cannot read"):
        read_annotation(tmp_path / "none.xml")


def test_a_box_without_a_number_is_named() -> None:
    broken = ElementTree.fromstring(ANNOTATION.replace("<xmin>11</xmin>", "<xmin>left</xmin>", 1))
    with pytest.raises(DataError, match="'xmin': 'left'"):
        moved_annotation(broken, Move(matrix=HERE, before=(9, 9), after=(9, 9)), filename="x")


def make_voc(
    root: Path, lists: dict[str, str], images: tuple[str, ...] = ("a.jpg", "b c.png", "d.jpg", "e.jpg")
) -> Path:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for image in images:
        (root / "JPEGImages" / image).touch()
    for name, text in lists.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    return root


@pytest.mark.parametrize(
    ("lists", "training"),
    [
        ({}, {"a", "b c", "d", "e"}),
        ({"train": "a\nb c\n", "val": "d\n"}, {"a", "b c"}),
        ({"trainval": "a\nb c\nd\n", "val": "d\n"}, {"a", "b c"}),
        ({"train": "a\nd\nmissing\n", "test": "d\n"}, {"a"}),  # listed in both: held out
        ({"test": "d\n"}, {"a", "b c", "e"}),
        ({"train": "a\n", "dog_train": "a  1\nd -1\n"}, {"a"}),  # a class's list is no split
    ],
)
def test_training_images_are_those_of_the_lists(tmp_path: Path, lists: dict[str, str], training: set[str]) -> None:
    assert read_voc(make_voc(tmp_path / "voc", lists)).training == training


def test_a_folder_in_vocs_layout_is_found_where_archives_put_it(tmp_path: Path) -> None:
    root = make_voc(tmp_path / "VOCdevkit" / "VOC2007", {})
    assert find_voc(root) == root
    assert find_voc(tmp_path / "VOCdevkit") == root
    assert find_voc(tmp_path) is None
    (tmp_path / "VOCdevkit" / "VOC2012").mkdir()
    assert find_voc(tmp_path / "VOCdevkit") is None
    assert find_voc(root / "JPEGImages" / "a.jpg") is None


def test_names_in_lists_may_hold_blanks() -> None:
    assert listed_name("b c  1", {"b c"}) == ("b c", "  1")
    assert listed_name("b c", {"b c"}) == ("b c", "")
    assert listed_name(" a\t-1 ", {"a"}) == ("a", "\t-1")
    assert listed_name("x 1", {"a"}) == ("x 1", "")
    assert listed_name("", {"a"}) == ("", "")


def test_every_annotation_of_real_cells_moves(shared: Path) -> None:
    """BCCD: 4,888 boxes in 364 images, two of them one pixel wide; nothing moved, nothing changes."""
    voc = read_voc(shared / "data" / "bccd")
    assert (len(voc.images), len(voc.training), len(voc.held_out)) == (364, 205, 159)
    boxes = 0
    for image in voc.images:
        path = voc.annotation(image)
        assert path
        annotation = read_annotation(path)
        size = declared_size(annotation)
        assert size == (640, 480)
        result = moved_annotation(annotation, Move(matrix=HERE, before=size, after=size), filename=image)
        assert [box_of(item) for item in result.iter("object")] == [box_of(item) for item in annotation.iter("object")]
        boxes += len(result.findall("object"))
    assert boxes == 4888
