"""Pictures and copies of them, made in memory: photos that come with scikit-learn, scenes of shapes, and transforms."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from fovea.data.audit.copies import Copies, find_copies
from fovea.data.looks import FACTS, NUMBERS, STORED, Looks
from fovea.data.measure import measure, see

Copy = Callable[[Image.Image], Image.Image]


@functools.cache
def photos() -> tuple[Image.Image, ...]:
    """Seven photos of different things: parts of scikit-learn's two sample images that do not overlap."""
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(image) for image in load_sample_images().images)  # 640 x 427
    boxes = [(0, 0, 213, 213), (213, 0, 426, 213), (0, 214, 213, 427), (427, 214, 640, 427)]
    petals = [(60, 100, 260, 240), (260, 40, 520, 240), (240, 240, 500, 420)]
    return tuple([china.crop(box) for box in boxes] + [flower.crop(box) for box in petals])


@functools.cache
def scene(seed: int, *, width: int = 200, height: int = 160) -> Image.Image:
    """Shapes of many sizes over a gradient, with a little grain: structure at every scale, as photos have."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    tilt, ends = rng.uniform(-1, 1, 2), rng.integers(30, 226, (2, 3))
    slope = (tilt[0] * across + tilt[1] * down)[..., None]
    picture = Image.fromarray((ends[0] + (ends[1] - ends[0]) * slope).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for size in (0.5, 0.4, 0.3, *[0.2] * 6, *[0.1] * 20, *[0.05] * 40):
        x, y = rng.uniform(-0.1, 1, 2) * (width, height)
        wide, high = rng.uniform(0.4, 1.2, 2) * size * height
        shape = (draw.ellipse, draw.rectangle)[rng.integers(2)]
        shape((x, y, x + wide, y + high), fill=tuple(rng.integers(0, 256, 3).tolist()))
    grain = rng.normal(0, 4, (height, width, 3))
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7))) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def scaled(factor: float) -> Copy:
    return lambda image: image.resize([round(side * factor) for side in image.size], Image.Resampling.BICUBIC)


def cropped(keep: float, across: float = 0.5, down: float = 0.5) -> Copy:
    """Keep a share of each side: of the room that is left over, so much lies left and above."""

    def change(image: Image.Image) -> Image.Image:
        width, height = (round(side * keep) for side in image.size)
        left, top = round((image.width - width) * across), round((image.height - height) * down)
        return image.crop((left, top, left + width, top + height))

    return change


def bordered(share: float, fill: Any) -> Copy:
    return lambda image: ImageOps.expand(image, round(share * min(image.size)), fill)


def brighter(factor: float) -> Copy:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def contrasted(factor: float) -> Copy:
    return lambda image: ImageEnhance.Contrast(image).enhance(factor)


def turned(degrees: float) -> Copy:
    """Turn; the corners become black."""
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC)


def watermarked(image: Image.Image) -> Image.Image:
    """Write translucent words across the middle."""
    layer = Image.new("RGBA", image.size)
    font, place = ImageFont.load_default(image.width // 7), (0.1 * image.width, 0.45 * image.height)
    ImageDraw.Draw(layer).text(place, "sample photo", font=font, fill=(255, 255, 255, 110))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def with_logo(image: Image.Image) -> Image.Image:
    """Paste a red square, a fifth of the shorter side, into the lower right corner."""
    marked, side = image.copy(), min(image.size) // 5
    box = (image.width - side, image.height - side, image.width, image.height)
    ImageDraw.Draw(marked).rectangle(box, fill=(200, 30, 40))
    return marked


def noisy(sigma: float) -> Copy:
    def change(image: Image.Image) -> Image.Image:
        grain = np.random.default_rng(0).normal(0, sigma, (image.height, image.width, 3))
        return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))

    return change


def same(image: Image.Image) -> Image.Image:
    return image


def chain(*steps: Copy) -> Copy:
    return lambda image: functools.reduce(lambda seen, step: step(seen), steps, image)


def stored(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """Return the bytes of a file; JPEGs of quality 90 unless told otherwise."""
    content = io.BytesIO()
    image.save(content, form, **({"quality": 90} if form == "JPEG" else {}) | options)
    return content.getvalue()


# name -> what is done to the pixels, and how the copy is stored
COPIES: dict[str, tuple[Copy, dict[str, Any]]] = {
    "half": (scaled(0.5), {}),
    "a quarter": (scaled(0.25), {}),
    "jpeg 10": (same, {"quality": 10}),
    "jpeg 30": (same, {"quality": 30}),
    "png": (same, {"form": "PNG"}),
    "webp": (same, {"form": "WEBP", "quality": 80}),
    "crop 95": (cropped(0.95), {}),
    "crop 90 corner": (cropped(0.9, 0, 1), {}),
    "crop 85": (cropped(0.85), {}),
    "crop 80": (cropped(0.8), {}),
    "crop 80 corner": (cropped(0.8, 1, 0), {}),
    "border 5 white": (bordered(0.05, "white"), {}),
    "border 10 black": (bordered(0.10, "black"), {}),
    "border 15 colour": (bordered(0.15, (30, 120, 200)), {}),
    "brighter": (brighter(1.35), {}),
    "darker": (brighter(0.65), {}),
    "more contrast": (contrasted(1.35), {}),
    "less contrast": (contrasted(0.65), {}),
    "mirror": (ImageOps.mirror, {}),
    "turned 2": (turned(2), {}),
    "turned -5": (turned(-5), {}),
    "turned 8": (turned(8), {}),
    "watermark": (watermarked, {}),
    "logo": (with_logo, {}),
    "grey": (lambda image: ImageOps.grayscale(image), {}),
    "blur": (lambda image: image.filter(ImageFilter.GaussianBlur(0.006 * min(image.size))), {}),
    "noise": (noisy(8), {}),
    "half, jpeg 30": (scaled(0.5), {"quality": 30}),
    "mirror, crop 90 corner": (chain(ImageOps.mirror, cropped(0.9, 1, 1)), {}),
    "border 10 white, darker": (chain(bordered(0.10, "white"), brighter(0.8)), {}),
}


def copied(image: Image.Image, name: str) -> bytes:
    """Return the bytes of the named copy."""
    change, options = COPIES[name]
    return stored(change(image), **options)


def looks_at(files: Sequence[bytes]) -> tuple[Looks, np.ndarray]:
    """Return looks at N files and their shorter sides in pixels (N,)."""
    seen = [see(file, max_pixels=10**8) for file in files]
    if not seen:
        empty = pl.DataFrame(schema=FACTS)
        return Looks(empty, np.zeros((0, 64, 64), np.uint8), np.zeros((0, 16, 16, 3), np.uint8)), np.zeros(0)
    measured = measure(np.stack([pixels for _, _, pixels in seen]))
    facts = pl.DataFrame([kept for _, kept, _ in seen], schema=STORED, orient="row")
    numbers = pl.DataFrame(measured.numbers, schema=dict.fromkeys(NUMBERS, pl.Float32))
    sides_px = np.array([min(probe.width, probe.height) for probe, _, _ in seen])
    return Looks(facts.hstack(numbers), measured.grey, measured.color), sides_px


def copies_among(files: Sequence[bytes], **options: Any) -> Copies:
    """Group files by what they show; equal bytes are exact copies."""
    names: dict[bytes, str] = {}
    digests = [names.setdefault(file, str(len(names))) for file in files]
    looks, sides_px = looks_at(files)
    return find_copies(looks, digests, sides_px, **options)


def partition(groups: np.ndarray) -> set[frozenset[int]]:
    """Return the groups of two and more as sets of rows."""
    return {frozenset(np.flatnonzero(groups == number).tolist()) for number in set(groups.tolist()) - {-1}}
