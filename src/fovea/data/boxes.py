"""Boxes around objects, as PASCAL VOC keeps them: a folder of images, one XML file each, and lists of names.

Reads such a folder, moves the boxes of an annotation along with its picture, and writes it anew. It opens no image.
XML that declares a document type is refused before anything in it is expanded.

The format: Everingham et al. 2010, "The PASCAL visual object classes (VOC) challenge", and its development kit. Box
coordinates are whole pixels counted from 1, and the last one belongs to the box.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from fovea.core.errors import DataError
from fovea.data.formats.base import split_of
from fovea.data.formats.text import lines_of, read_text
from fovea.data.formats.tree import child_folders, walk

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_WHOLE = 0.999  # of an object's area: what is cut off beyond that is no rounding

Frame = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels from the upper left corner; the first pixel reaches from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """How a picture was moved, all in pixels.

    Args:
        matrix: (3, 3), from places before to places after; see `Placement.matrix`.
        before, after: (width, height) of the picture.
        shown: what of the picture before was used (a crop); None for all of it.
        hidden: what was painted over afterwards; it counts as out of sight.
    """

    matrix: np.ndarray
    before: tuple[int, int]
    after: tuple[int, int]
    shown: Frame | None = None
    hidden: Frame | None = None


@dataclass(frozen=True)
class VocFolder:
    """What a folder in the layout of PASCAL VOC holds.

    Args:
        root: the folder with JPEGImages and Annotations in it.
        images: file names in JPEGImages, sorted.
        lists: lines of each list below ImageSets, by its path there.
        held_out: names (without ending) in a val or test list: no training images.
        training: names of the training images.
    """

    root: Path
    images: tuple[str, ...]
    lists: Mapping[str, tuple[str, ...]]
    held_out: frozenset[str]
    training: frozenset[str]

    def annotation(self, image: str) -> Path | None:
        """Return the annotation of an image, or None where there is none."""
        path = self.root / ANNOTATIONS / f"{Path(image).stem}.xml"
        return path if path.is_file() else None


def find_voc(source: Path) -> Path | None:
    """Return the folder in VOC's layout: `source` itself, or the only one right below it (VOCdevkit/VOC2007)."""
    if not source.is_dir():
        return None
    inside = child_folders(source)
    found = [path for path in (source, *inside) if (path / IMAGES).is_dir() and (path / ANNOTATIONS).is_dir()]
    return found[0] if found[:1] == [source] or len(found) == len(inside) == 1 else None


def read_voc(root: Path) -> VocFolder:
    """Read the names and lists of a folder in VOC's layout; training images are those of train.txt.

    Without that list they are those of trainval.txt, and without any list all images; never those of val or test.
    """
    images = tuple(walk(root / IMAGES).images.get("", ()))
    paths = sorted((root / LISTS).rglob("*.txt"))
    lists = {path.relative_to(root / LISTS).as_posix(): tuple(lines_of(read_text(path))) for path in paths}
    stems = {Path(image).stem for image in images}
    members: dict[str, set[str]] = {}
    for path, lines in lists.items():
        kind = "trainval" if Path(path).stem == "trainval" else split_of(Path(path).stem)
        if kind:
            members.setdefault(kind, set()).update(filter(None, (listed_name(line, stems)[0] for line in lines)))
    held_out = frozenset(members.get("val", set()) | members.get("test", set()))
    training = members.get("train") or members.get("trainval") or stems
    return VocFolder(root, images, lists, held_out, frozenset(training & stems) - held_out)


def listed_name(line: str, names: set[str] | Mapping[str, Any]) -> tuple[str, str]:
    """Return the image that a line of a list names, and what follows it: a class's lists have `name  1` or `name -1`.

    >>> listed_name("cell 07  -1", {"cell 07"})
    ('cell 07', '  -1')
    """
    text = line.strip()
    head = text.rsplit(None, 1)[0] if text else ""
    return (head, text[len(head) :]) if text not in names and head in names else (text, "")


def read_annotation(path: Path) -> ElementTree.Element:
    """Return the root element of an annotation.

    Raises:
        DataError: it is missing, no XML, no annotation, or declares a document type, through which a few lines could
            expand to gigabytes or name other files.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", hint="check its permissions") from error
    refuser = expat.ParserCreate()
    refuser.StartDoctypeDeclHandler = _refuse
    try:
        refuser.Parse(content, True)
        root = ElementTree.fromstring(content)
    except _DocumentType as error:
        raise DataError(
            f"{path} declares a document type, which an annotation has no use for", hint="remove the <!DOCTYPE …>"
        ) from error
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path} is not valid XML: {error}", hint="write the annotation again") from error
    if root.tag != "annotation":
        raise DataError(f"{path} holds <{root.tag}>, expected <annotation>", hint="write it in PASCAL VOC's format")
    return root


class _DocumentType(Exception):
    """Raised inside the parser to end it."""


def _refuse(*_: Any) -> None:
    raise _DocumentType


def declared_size(annotation: ElementTree.Element) -> tuple[int, int] | None:
    """Return the (width, height) that an annotation says its image has, or None where it says nothing of use."""
    try:
        width, height = (int(float(annotation.findtext(f"size/{side}", "0"))) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def moved_annotation(
    annotation: ElementTree.Element, move: Move, *, filename: str, min_visible: float = 0.3
) -> ElementTree.Element:
    """Return the annotation of a picture that was moved; the one given stays as it is.

    Everything of an object is kept but its box, and `truncated`, which becomes 1 where the picture's rim cuts it off.
    Masks are not moved, so `segmented` becomes 0; `path`, which names the picture before, goes.

    Args:
        annotation: from `read_annotation`.
        move: what happened to the picture.
        filename: of the moved picture.
        min_visible: objects with a smaller share of their area in sight are left out.

    Raises:
        DataError: a box lacks a number.
    """
    result = copy.deepcopy(annotation)
    _set(result, "filename", filename)
    _set(result, "segmented", "0")
    for stale in result.findall("path"):
        result.remove(stale)
    size = result.find("size")
    size = ElementTree.SubElement(result, "size") if size is None else size
    _set(size, "width", str(move.after[0]))
    _set(size, "height", str(move.after[1]))
    for holder, tag in [(result, "object"), *((item, "part") for item in result.findall("object"))]:
        for item in holder.findall(tag):
            box = item.find("bndbox")
            if box is None:
                continue
            seen, share, inside = moved_box(_corners(box, move.before), move)
            if seen is None or share < min_visible:
                holder.remove(item)
                continue
            for corner, value in zip(_CORNERS, _counted(seen), strict=True):
                _set(box, corner, str(value))
            if tag == "object" and inside < _WHOLE:
                _set(item, "truncated", "1")
    return result


def annotation_bytes(annotation: ElementTree.Element) -> bytes:
    """Return the annotation as an indented XML file."""
    ElementTree.indent(annotation, "\t")
    return ElementTree.tostring(annotation, encoding="utf-8") + b"\n"


def moved_box(box: Frame, move: Move) -> tuple[Frame | None, float, float]:
    """Return where a box is in a moved picture, the share of it in sight, and the share inside the picture.

    The box becomes a parallelogram; the new box is the smallest upright one around what of it lies in the picture. For
    a turned round object that is a little too large: its own outline is not known.

    Returns:
        (None, 0.0, 0.0) for a box of no area or one that is outside altogether.

    >>> mirror = np.array([[-1.0, 0, 10], [0, 1, 0], [0, 0, 1]])
    >>> moved_box((1.0, 0.0, 4.0, 5.0), Move(matrix=mirror, before=(10, 8), after=(8, 8)))
    ((6.0, 0.0, 8.0, 5.0), 0.6666666666666666, 0.6666666666666666)
    """
    corners = np.array([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]])
    if box[2] <= box[0] or box[3] <= box[1]:
        return None, 0.0, 0.0
    whole = _area(_moved(corners, move))
    inside = _clipped(_moved(_clipped(corners, move.shown) if move.shown else corners, move), (0.0, 0.0, *move.after))
    seen = _area(inside)
    if not seen:
        return None, 0.0, 0.0
    covered = _area(_clipped(inside, move.hidden)) if move.hidden else 0.0
    (left, top), (right, bottom) = inside.min(0).tolist(), inside.max(0).tolist()
    return (left, top, right, bottom), (seen - covered) / whole, seen / whole


def _moved(corners: np.ndarray, move: Move) -> np.ndarray:
    return corners @ move.matrix[:2, :2].T + move.matrix[:2, 2]


def _clipped(corners: np.ndarray, frame: Frame) -> np.ndarray:
    """Cut a convex polygon (N, 2) to a frame (Sutherland and Hodgman 1974, "Reentrant polygon clipping")."""
    for axis, limit, sign in ((0, frame[0], 1), (1, frame[1], 1), (0, frame[2], -1), (1, frame[3], -1)):
        kept: list[np.ndarray] = []
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            starts_in, ends_in = sign * (start[axis] - limit) >= 0, sign * (end[axis] - limit) >= 0
            if starts_in:
                kept.append(start)
            if starts_in != ends_in:
                crossing = start + (limit - start[axis]) / (end[axis] - start[axis]) * (end - start)
                crossing[axis] = limit
                kept.append(crossing)
        corners = np.array(kept).reshape(-1, 2)
    return corners


def _area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _corners(box: ElementTree.Element, size: tuple[int, int]) -> Frame:
    """Read a box, counted from 1, and cut it to its picture (some tools count from 0, or reach out by a pixel)."""
    texts = [box.findtext(corner, "") for corner in _CORNERS]
    try:
        left, top, right, bottom = (float(text) for text in texts)
    except ValueError as error:
        raise DataError(
            f"a box has {dict(zip(_CORNERS, texts, strict=True))}, expected four numbers", hint="mend the annotation"
        ) from error
    return max(left - 1, 0.0), max(top - 1, 0.0), min(right, float(size[0])), min(bottom, float(size[1]))


def _counted(frame: Frame) -> tuple[int, int, int, int]:
    """Return the frame in whole pixels counted from 1; at least one of them belongs to it."""
    left, top, right, bottom = map(round, frame)
    return min(left + 1, max(right, 1)), min(top + 1, max(bottom, 1)), max(right, 1), max(bottom, 1)


def _set(parent: ElementTree.Element, tag: str, text: str) -> None:
    child = parent.find(tag)
    (ElementTree.SubElement(parent, tag) if child is None else child).text = text
