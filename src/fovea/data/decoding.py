"""From a file, bytes or an image in memory to 8-bit RGB pixels the right way up.

Reads JPEG, PNG, WebP, GIF (first frame), BMP, TIFF (first page) and PPM in every mode they come in, applies the EXIF
orientation, puts transparency on white, and decodes a JPEG at reduced scale when a smaller image is enough. The size
is checked in the header, before any pixel is decoded. Every failure is a `DataError` in plain words: a truncated file
is never filled up with grey, and nothing of Pillow's global state is read or changed.

It does not resize (see `preprocess`), apply colour profiles, or tell whether a whole file shows what it should.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fovea.core.errors import DataError

MAX_PIXELS = 179_000_000
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Endings, in lower case, of the files that `decode` reads; what decides in the end is the file's first bytes."""

# The plugins' classes are called directly. `Image.open` would compare sizes with Pillow's global limit and warn or
# raise by it, and would try some forty other formats, each one a way in for a hostile file.
_FORMATS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"II+\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0+", TiffImagePlugin.TiffImageFile),
    *((b"P%d" % digit, PpmImagePlugin.PpmImageFile) for digit in range(1, 7)),
)
_ORIENTATION = 0x0112  # EXIF 2.3, table 4: the tag that says how the camera was held
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Probe:
    """What a whole image file holds: its size in pixels after orientation, Pillow's mode, and the format's name."""

    width: int
    height: int
    mode: str
    format: str


def decode(
    source: Path | str | bytes | Image.Image | np.ndarray, *, at_least: int | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Return the image as uint8 RGB pixels, (H, W, 3), upright.

    Args:
        source: a path, the bytes of a file, a Pillow image, or an array (H, W), (H, W, 1), (H, W, 2) grey and alpha,
            (H, W, 3) RGB or (H, W, 4) RGBA of integers or floats.
        at_least: the shorter side, in pixels, that is needed. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size,
            never below this side; other formats come whole. None asks for every pixel.
        max_pixels: the most pixels that the header may declare.

    Alpha is composited on white. 16-bit values are divided by 257 (RGB with 16 bits a channel: the high byte, as
    Pillow reads it). Floats and wide integers have no agreed range, so the image's own decides: floats within 0..1 are
    multiplied by 255, values within 0..255 stay, integers within 0..65535 are divided by 257, anything else is
    stretched from its least to its greatest; not-a-number becomes black.

    Raises:
        DataError: no such file, permission denied, empty, not an image, truncated or damaged, too many pixels.

    >>> decode(np.full((2, 3), 7, np.uint8)).shape
    (2, 3, 3)
    """
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source)
    with opened(source, max_pixels) as image:
        if at_least is not None and not isinstance(source, Image.Image):  # a caller's image stays as it is
            image.draft(None, (max(at_least, 1), max(at_least, 1)))
        return to_rgb(image)


def probe(source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS) -> Probe:
    """Prove that a file is whole, by decoding it at the smallest scale, and say what it holds.

    Raises:
        DataError: as `decode`.

    >>> buffer = io.BytesIO()
    >>> Image.new("L", (5, 4)).save(buffer, "PNG")
    >>> probe(buffer.getvalue())
    Probe(width=5, height=4, mode='L', format='PNG')
    """
    with opened(source, max_pixels) as image:
        (width, height), mode = image.size, image.mode
        image.draft(None, (1, 1))
        image.load()
        if orientation(image) >= 5:
            width, height = height, width
        return Probe(width, height, mode, image.format or "")


@contextlib.contextmanager
def opened(source: Path | str | bytes | Image.Image, max_pixels: int) -> Iterator[Image.Image]:
    """Yield the image with its header read and its size checked; turn whatever goes wrong into a DataError."""
    name = str(source) if isinstance(source, (str, Path)) else "the image"
    try:
        with _binary(source, name) as file:
            image = source if isinstance(source, Image.Image) else _identify(file, name, max_pixels)
            _check_size(image.size, name, max_pixels)
            yield image
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name} does not fit into memory", hint="lower data.max_pixels") from error
    except Exception as error:
        # A decoder fed hostile bytes raises whatever it trips over: OSError, SyntaxError, ValueError, struct.error,
        # zlib.error, EOFError, KeyError … The reader of the message needs the file's name, not the kind.
        raise DataError(
            f"{name} is truncated or damaged ({_plain_reason(error)})", hint="replace the file or leave it out"
        ) from error


@contextlib.contextmanager
def _binary(source: Path | str | bytes | Image.Image, name: str) -> Iterator[IO[bytes]]:
    """Yield an open binary file; an image in memory needs none and gets an empty one."""
    if not isinstance(source, (str, Path)):
        yield io.BytesIO(source if isinstance(source, bytes) else b"")
        return
    try:
        # Closed below, outside this `try`: a failure to decode must not read as a failure to open.
        file = open(source, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise DataError(f"no such file: {name}", hint="check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{name} is a folder, expected an image", hint="pass a file inside it") from error
    except PermissionError as error:
        raise DataError(f"cannot read {name}: permission denied", hint="check the file's permissions") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {name}: {error}", hint="check the path") from error
    with file:
        yield file


def _identify(file: IO[bytes], name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header with the plugin that the first bytes call for."""
    head = file.read(30)
    file.seek(0)
    if not head:
        raise DataError(f"{name} is empty (0 bytes)", hint="replace the file or leave it out")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        # Its plugin allocates the whole canvas as it opens, so the size has to be known before.
        _check_size(_webp_size(head), name, max_pixels)
        return WebPImagePlugin.WebPImageFile(file)
    for magic, plugin in _FORMATS:
        if head.startswith(magic):
            return plugin(file)
    raise DataError(
        f"{name} is not an image that fovea reads (it begins with {head[:8]!r})",
        hint="use JPEG, PNG, WebP, GIF, BMP, TIFF or PPM",
    )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height in the first 30 bytes of a WebP file (RFC 9649, sections 2.5-2.7 and 3.4)."""
    head = head.ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DataError(
            f"{name} has {width} x {height} = {width * height:,} pixels, more than the {max_pixels:,} allowed",
            hint="shrink it, or raise data.max_pixels if you trust it",
        )


def _plain_reason(error: Exception) -> str:
    return f"{error}".strip().rstrip(".") or type(error).__name__


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. A damaged EXIF block costs the orientation, not the image."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the parser raises as many kinds as the decoders
        return 1
    return value if value in UPRIGHT else 1


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return an opened image as uint8 RGB pixels (H, W, 3), upright."""
    image.load()
    held = orientation(image)
    pixels = _mode_to_rgb(image)
    return pixels if held == 1 else np.array(Image.fromarray(pixels).transpose(UPRIGHT[held]))


def _mode_to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _array_to_rgb(np.asarray(image))
    if image.has_transparency_data:
        layers = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # La: premultiplied
        return np.array(Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB"))
    return np.array(image.convert("RGB"))


def _array_to_rgb(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise DataError(
            f"an array of shape {array.shape} is not an image",
            hint="expected (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4)",
        )
    pixels = _to_uint8(array)
    channels = pixels.shape[2]
    if channels in (2, 4):
        image = Image.fromarray(np.ascontiguousarray(pixels), "LA" if channels == 2 else "RGBA")
        return _mode_to_rgb(image)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Bring any numbers to 0..255 by the rules that `decode` states."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return _sixteen_to_eight(values.astype(np.uint32))
    if values.dtype.kind not in "iuf":
        raise DataError(f"an array of {values.dtype} is not an image", hint="pass integers or floats")
    return _unbounded_to_uint8(values)


def _unbounded_to_uint8(values: np.ndarray) -> np.ndarray:
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    if np.isnan(finite).all():
        return np.zeros(values.shape, np.uint8)
    low, high = float(np.nanmin(finite)), float(np.nanmax(finite))
    integers = values.dtype.kind in "iu"
    if low >= 0 and high <= 1 and not integers:
        scaled: Any = finite * 255
    elif low >= 0 and high <= 255:
        scaled = finite
    elif low >= 0 and high <= 65535 and integers:
        scaled = finite / 257
    else:
        scaled = (finite - low) / (high - low) * 255 if high > low else np.zeros_like(finite)
    return np.nan_to_num(np.rint(scaled), nan=0.0).astype(np.uint8)


def _sixteen_to_eight(values: np.ndarray) -> np.ndarray:
    """0..65535 to 0..255, rounded: 65535 = 255 * 257."""
    return ((values + 128) // 257).astype(np.uint8)
