"""Copies of photos as they turn up in real folders: rescaled, recompressed, cropped, framed, mirrored, watermarked.

Chooses the originals, and makes one copy of each for every transform, seeded. Knows nothing of who looks for them.

Which originals: grocery has many shots of one shelf from nearly the same spot, and their file names do not tell which.
So within each class the photos that differ most in colour and its layout are taken, farthest first. What is left of
that is told apart when scoring: two originals of one class may be natural near-duplicates, two of different classes
are not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Step = Callable[[Image.Image, np.random.Generator], Image.Image]
JPEG_90 = (".jpg", {"quality": 90})
NAMED_FAMILIES = (
    "rescale",
    "recompress",
    "crop",
    "border",
    "brightness and contrast",
    "mirror",
    "rotation",
    "watermark",
)


class Transform(NamedTuple):
    """A named way of copying: the steps on the pixels, then the file's ending and how it is saved."""

    family: str
    steps: tuple[Step, ...]
    saved: tuple[str, dict[str, object]] = JPEG_90


class Source(NamedTuple):
    """A photo of the data set and the number of its class."""

    path: Path
    label: int


class Picture(NamedTuple):
    """A file that was made: its path in the folder, the original that it shows, its class, the transform ("": none)."""

    path: str
    origin: int
    label: int
    transform: str


def rescale(image: Image.Image, rng: np.random.Generator, *, factor: float) -> Image.Image:
    """Enlarge or reduce."""
    return image.resize([round(side * factor) for side in image.size], Image.Resampling.BICUBIC)


def crop(image: Image.Image, rng: np.random.Generator, *, keep: float, centred: bool) -> Image.Image:
    """Keep a share of each side, of the middle or of one of the four corners."""
    width, height = (round(side * keep) for side in image.size)
    across, down = (0.5, 0.5) if centred else rng.integers(0, 2, 2)
    left, top = round((image.width - width) * across), round((image.height - height) * down)
    return image.crop((left, top, left + width, top + height))


def border(image: Image.Image, rng: np.random.Generator, *, share: float, colour: str) -> Image.Image:
    """Put a frame around, each side as wide as a share of the shorter side."""
    fill = tuple(rng.integers(0, 256, 3).tolist()) if colour == "colour" else colour
    return ImageOps.expand(image, round(share * min(image.size)), fill)


def brightness(image: Image.Image, rng: np.random.Generator, *, factor: float) -> Image.Image:
    """Multiply all values."""
    return ImageEnhance.Brightness(image).enhance(factor)


def contrast(image: Image.Image, rng: np.random.Generator, *, factor: float) -> Image.Image:
    """Multiply the distance from the mean."""
    return ImageEnhance.Contrast(image).enhance(factor)


def gamma(image: Image.Image, rng: np.random.Generator, *, power: float) -> Image.Image:
    """Raise all values, from 0 to 1, to a power."""
    return image.point([round(255 * (value / 255) ** power) for value in range(256)] * 3)


def mirror(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Swap left and right."""
    return ImageOps.mirror(image)


def rotate(image: Image.Image, rng: np.random.Generator, *, degrees: float, inside: bool) -> Image.Image:
    """Turn either way, with black corners or cut to the largest box of the same shape without any."""
    angle = degrees * rng.choice([-1, 1])
    turned = image.rotate(angle, Image.Resampling.BICUBIC)
    if not inside:
        return turned
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    longer, shorter = max(image.size), min(image.size)
    return crop(turned, rng, keep=shorter / (longer * sine + shorter * cosine), centred=True)


def watermark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write translucent words over the whole width."""
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    size = image.width // 7
    for row in (0.2, 0.5, 0.8):
        place = (rng.uniform(0, 0.3) * image.width, row * image.height - size / 2)
        draw.text(place, "sample photo", font=ImageFont.load_default(size), fill=(255, 255, 255, 110))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def logo(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Paste an opaque sign, a fifth of the shorter side, into a corner."""
    marked, side = image.copy(), min(image.size) // 5
    left, top = rng.integers(0, 2, 2) * (np.array(image.size) - side)
    draw = ImageDraw.Draw(marked)
    draw.rectangle((left, top, left + side, top + side), fill=(200, 30, 40))
    draw.ellipse((left + side // 5, top + side // 5, left + side * 4 // 5, top + side * 4 // 5), fill=(255, 255, 255))
    return marked


def grey(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Take the colour away."""
    return ImageOps.grayscale(image).convert("RGB")


def blur(image: Image.Image, rng: np.random.Generator, *, radius: float) -> Image.Image:
    """Blur with a Gaussian, its standard deviation a share of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(radius * min(image.size)))


def noise(image: Image.Image, rng: np.random.Generator, *, sigma: float) -> Image.Image:
    """Add independent Gaussian noise, in grey levels."""
    pixels = np.asarray(image) + rng.normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8))


def named_transforms() -> dict[str, Transform]:
    """Return every transform by name, the simple ones before the combinations."""
    made: dict[str, Transform] = {}
    for factor in (0.5, 0.25, 2):
        made[f"rescale {factor}"] = Transform("rescale", (partial(rescale, factor=factor),))
    for quality in (50, 30, 10):
        made[f"jpeg {quality}"] = Transform("recompress", (), (".jpg", {"quality": quality}))
    made["png"] = Transform("recompress", (), (".png", {}))
    made["webp 80"] = Transform("recompress", (), (".webp", {"quality": 80}))
    for percent in (95, 90, 85, 80):
        for where, centred in (("centre", True), ("corner", False)):
            step = partial(crop, keep=percent / 100, centred=centred)
            made[f"crop {percent} {where}"] = Transform("crop", (step,))
    for percent in (5, 10, 15):
        for colour in ("white", "black", "colour"):
            step = partial(border, share=percent / 100, colour=colour)
            made[f"border {percent} {colour}"] = Transform("border", (step,))
    for change in (-35, -20, 20, 35):
        factor = 1 + change / 100
        made[f"brightness {change:+d}"] = Transform("brightness and contrast", (partial(brightness, factor=factor),))
        made[f"contrast {change:+d}"] = Transform("brightness and contrast", (partial(contrast, factor=factor),))
    for power in (0.6, 1.6):
        made[f"gamma {power}"] = Transform("gamma", (partial(gamma, power=power),))
    made["mirror"] = Transform("mirror", (mirror,))
    for degrees in (2, 5, 8):
        for how, inside in (("corners", False), ("inside", True)):
            made[f"rotate {degrees} {how}"] = Transform("rotation", (partial(rotate, degrees=degrees, inside=inside),))
    made["watermark text"] = Transform("watermark", (watermark,))
    made["watermark logo"] = Transform("watermark", (logo,))
    made["grey"] = Transform("grey", (grey,))
    made["blur"] = Transform("blur", (partial(blur, radius=0.006),))
    made["noise"] = Transform("noise", (partial(noise, sigma=8),))
    for first, second in (
        ("rescale 0.5", "jpeg 30"),
        ("border 10 white", "jpeg 50"),
        ("watermark text", "rescale 0.5"),
        ("crop 90 corner", "brightness +20"),
        ("crop 90 centre", "grey"),
        ("mirror", "crop 90 corner"),
        ("mirror", "brightness -20"),
        ("rotate 5 inside", "contrast +20"),
    ):
        steps = made[first].steps + made[second].steps
        made[f"{first}, {second}"] = Transform("two at once", steps, made[second].saved)
    return made


TRANSFORMS = named_transforms()


def apply(name: str, image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the copy's pixels before it is saved."""
    return reduce(lambda pixels, step: step(pixels, rng), TRANSFORMS[name].steps, image)


def choose_originals(sources: Sequence[Source], *, count: int) -> list[Source]:
    """Return `count` photos, as evenly over the classes as can be, within a class those that differ most."""
    queues = []
    for label in sorted({source.label for source in sources}):
        mates = [source for source in sources if source.label == label]
        order = farthest_first(np.stack([colour_layout(mate.path) for mate in mates]), count=8)
        queues.append([mates[row] for row in order])
    turns = chain.from_iterable(zip_longest(*queues))  # the first of every class, then the second of every class ...
    return [source for source in turns if source is not None][:count]


def colour_layout(path: Path) -> np.ndarray:
    """Return the shares of 64 colours in each quarter of the photo, shape (256,)."""
    with Image.open(path) as image:
        small = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX)) // 64
    codes = small @ np.array([16, 4, 1])  # (64, 64)
    quarters = codes.reshape(2, 32, 2, 32).swapaxes(1, 2).reshape(4, 1024)
    return np.concatenate([np.bincount(quarter, minlength=64) for quarter in quarters]) / 1024


def farthest_first(points: np.ndarray, *, count: int) -> list[int]:
    """Return rows of `points`, each the farthest (L1) from all before it, starting from row 0."""
    chosen, nearest = [0], np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        nearest = np.minimum(nearest, np.abs(points - points[chosen[-1]]).sum(1))
        chosen.append(int(nearest.argmax()))
    return chosen


def make_copies(
    originals: Sequence[Source], folder: Path, *, transforms: Sequence[str], seed: int, cores: int
) -> list[Picture]:
    """Write the originals and their copies into class folders, under names that give nothing away."""
    work = partial(copy_one, folder=folder, transforms=tuple(transforms), seed=seed)
    with ProcessPoolExecutor(cores) as pool:
        made = pool.map(work, range(len(originals)), originals, chunksize=4)
        return [picture for pictures in made for picture in pictures]


def copy_one(number: int, source: Source, *, folder: Path, transforms: tuple[str, ...], seed: int) -> list[Picture]:
    """Write one original, byte for byte, and a copy of it for each transform."""
    place = folder / f"class {source.label:02d}"
    place.mkdir(parents=True, exist_ok=True)
    with Image.open(source.path) as opened:
        image = opened.convert("RGB")
    pictures = []
    for turn, name in enumerate(("", *transforms)):
        suffix, options = TRANSFORMS[name].saved if name else (source.path.suffix, {})
        path = place / (hashlib.sha256(f"{seed} {number} {name}".encode()).hexdigest()[:12] + suffix)
        if name:
            apply(name, image, np.random.default_rng([seed, number, turn])).save(path, **options)
        else:
            path.write_bytes(source.path.read_bytes())
        pictures.append(Picture(str(path.relative_to(folder)), number, source.label, name))
    return pictures
