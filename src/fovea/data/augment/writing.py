"""Writing one image and its variants to files, with the annotation of each; what is there already is not made again.

Each file appears whole or not at all. Which images there are and what their copies are called is in `copies`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fovea.core.errors import DataError
from fovea.core.files import digest, write_bytes
from fovea.data.augment.copies import Copy
from fovea.data.augment.draws import look_key
from fovea.data.augment.pixels import Augment
from fovea.data.boxes import ANNOTATIONS, Move, annotation_bytes, declared_size, moved_annotation, read_annotation
from fovea.data.decoding import decode

JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is the same for all images.

    Args:
        out: the folder that names are relative to.
        augment: what may happen to an image.
        seed: of everything random.
        size: shorter side of the variants in pixels; their own when None.
        min_visible: objects with a smaller share of their area in sight lose their box.
        max_pixels: larger images are left out.
    """

    out: Path
    augment: Augment
    seed: int
    size: int | None
    min_visible: float
    max_pixels: int


def write_copies(task: Task, copy: Copy) -> int | DataError:
    """Write the files of one image that are missing; return how many images, or why the image is left out.

    Of an image that cannot be used nothing stays, not even what an earlier call could still write.
    """
    images = [copy.name, *copy.variants]
    annotations = [_annotation_of(name) for name in images] if copy.annotation else []
    paths = [task.out / name for name in (*images, *annotations)]
    if all(path.exists() for path in paths):
        return 0
    try:
        return _make(task, copy)
    except DataError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        return error


def _make(task: Task, copy: Copy) -> int:
    try:
        content = copy.source.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", hint="check its permissions") from error
    written = 0
    if copy.variants:
        # A smaller decoding is enough for a smaller result, but boxes are measured in the image's own pixels.
        least = task.augment.store_px(task.size) if task.size and not copy.annotation else None
        pixels = decode(content, at_least=least, max_pixels=task.max_pixels)
        height, width = pixels.shape[:2]
        annotation = read_annotation(copy.annotation) if copy.annotation else None
        said = declared_size(annotation) if annotation is not None else None
        if said and said != (width, height):
            raise DataError(
                f"its annotation is for {said[0]} x {said[1]} pixels, it has {width} x {height}",
                hint="mend one of them",
            )
        scale = min(1.0, task.size / min(height, width)) if task.size else 1.0
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        for look, name in enumerate(copy.variants, start=1):
            key = look_key(digest(content), look)
            if annotation is not None:
                place = task.augment.placement(height, width, size=size, seed=task.seed, key=key)
                box = task.augment.erased_box(size=size, seed=task.seed, key=key)
                move = Move(
                    matrix=place.matrix(),
                    before=(width, height),
                    after=(size[1], size[0]),
                    shown=place.shown,
                    hidden=(box[1], box[0], box[3], box[2]) if box else None,
                )
                moved = moved_annotation(annotation, move, filename=Path(name).name, min_visible=task.min_visible)
                write_bytes(task.out / _annotation_of(name), annotation_bytes(moved))
            if not (task.out / name).exists():
                look_at = task.augment.sample([pixels], size=size, seed=task.seed, keys=[key])[0].numpy()
                write_bytes(task.out / name, _encoded(Image.fromarray(look_at), name))
                written += 1
    if copy.annotation:
        write_bytes(task.out / _annotation_of(copy.name), copy.annotation.read_bytes())
    if not (task.out / copy.name).exists():
        write_bytes(task.out / copy.name, content)
        written += 1
    return written


def _encoded(image: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    if name.endswith(".jpg"):
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _annotation_of(name: str) -> str:
    return f"{ANNOTATIONS}/{Path(name).stem}.xml"
