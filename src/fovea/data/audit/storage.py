"""How the files are stored: names that promise another format, sizes and shapes unlike the rest, unusual colour modes.

What cannot be read at all is named by `data.reading`; of those files this says what they are, where their first bytes
tell. That a size or a mode goes with one class is the matter of `metadata`.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import polars as pl

from fovea.core.findings import Finding
from fovea.core.wording import counted, listed, percent
from fovea.data.audit.base import CHECKS, NAMED_FILES, Subject

TINY_PX = 32  # a shorter side from which hardly any object can be told
SMALL, LARGE = 4.0, 8.0  # times the median area, at least
LONG, LONGER = 4.0, 1.75  # sides to one another; the same, times that of the median image
SPREADS = 5.0  # robust standard deviations: of normally distributed sizes, one image in two million is as far
RARE = 0.1  # a size or mode that more of the images have is none of the odd ones
_LEAST_IMAGES = 8  # of fewer there is no telling what is usual

_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    ".webp": "WEBP",
    ".gif": "GIF",
}
# First bytes, in any case, of what bears an image's ending and is none that fovea reads.
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "SVG or other XML"),
    (b"<!DOCTYP", "HTML"),
    (b"<html", "HTML"),
    (b"<head", "HTML"),
    (b"<", "HTML or other XML"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"Rar!", "RAR"),
    (b"7z\xbc\xaf", "7-Zip"),
    (b"8BPS", "Photoshop"),
    (b"RIFF", "AVI or WAV"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\x01\0", "icon (ICO)"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"\x89HDF", "HDF5"),
    (b"\x93NUMPY", "NumPy array"),
    (b"version ", "Git LFS pointer"),  # the file itself was never fetched
    (b"\0\x05\x16\x07", "AppleDouble"),  # what macOS puts beside a file on foreign disks, named ._FILE
    (b"{", "JSON"),
    (b"\0\0\0\0\0\0\0\0", "zeros"),
)
_BEGINS = re.compile(r"""is not an image .*\(it begins with (b(?:'.*'|".*"))\)""", re.DOTALL)
_MODES = {
    "RGB": "colour",
    "L": "grey",
    "1": "black and white",
    "P": "a palette",
    "CMYK": "CMYK, made for print",
    "YCbCr": "YCbCr",
    "LAB": "Lab colour",
    "HSV": "HSV",
    "F": "floating-point numbers",
    **dict.fromkeys(("RGBA", "LA", "PA", "RGBa", "La", "RGBX"), "transparency"),
}


@CHECKS.register("wrong-extension", summary="file names that promise another format than the content has")
def wrong_extension(subject: Subject) -> list[Finding]:
    """Return up to three findings: images of another format, files that are no images, names without an ending."""
    endings = [_ending(path) for path in subject.paths]
    contents = subject.looks.facts["format"].fill_null("").to_list()
    pairs = [(ending, content) for ending, content in zip(endings, contents, strict=True)]
    wrong = [row for row, (ending, content) in enumerate(pairs) if content and _FORMATS.get(ending, content) != content]
    bare = [row for row, (ending, _) in enumerate(pairs) if ending not in _FORMATS]
    found = []
    if wrong:
        found.append(
            _named_wrongly(
                [subject.paths[row] for row in wrong],
                [pairs[row] for row in wrong],
                kind="format",
                what=f"of {len(subject):,} images {_is(len(wrong))} stored in another format than the name says",
                fix="rename them: fovea goes by the content, but other programs go by the name and fail",
            )
        )
    found += _no_images(subject)
    if bare:
        kinds = Counter(pairs[row][1] for row in bare)
        listing = listed([f"{kind or 'unknown'} ({count:,})" for kind, count in kinds.most_common()])
        found.append(
            Finding(
                severity="note",
                code="wrong-extension",
                message=f"{counted(len(bare), 'image')} of {len(subject):,} {_has(len(bare))} a name without the "
                f"ending of an image; they are {listing}",
                fix="add the ending, such as .jpg, for programs that go by the name",
                evidence={"kind": "no ending", "images": len(bare), "contents": dict(kinds)},
                files=subject.named(bare, limit=None),
            )
        )
    return found


def _no_images(subject: Subject) -> list[Finding]:
    """Say what the excluded files are that bear an image's ending and begin like something else."""
    rows = subject.manifest.excluded().filter(pl.col("excluded").str.contains("it begins with", literal=True))
    told = [(path, _ending(path), _kind(reason)) for path, reason in rows.select("path", "excluded").iter_rows()]
    told = [(path, ending, kind) for path, ending, kind in told if kind and ending in _FORMATS]
    if not told:
        return []
    return [
        _named_wrongly(
            [path for path, _, _ in told],
            [(ending, kind) for _, ending, kind in told],
            kind="no image",
            what=f"{'file is' if len(told) == 1 else 'files are'} named like images and left out, being something else",
            fix="convert them to JPEG or PNG, or fetch them again where a page or a pointer was saved instead",
        )
    ]


def _named_wrongly(
    paths: Sequence[str], pairs: Sequence[tuple[str, str]], *, kind: str, what: str, fix: str
) -> Finding:
    counts = Counter(pairs).most_common()
    listing = listed([f"{ending} that {_is(count)} {content} ({count:,})" for (ending, content), count in counts])
    return Finding(
        severity="warning",
        code="wrong-extension",
        message=f"{len(paths):,} {what}: {listing}",
        fix=fix,
        evidence={
            "kind": kind,
            "images": len(paths),
            "pairs": [{"ending": ending, "content": content, "images": count} for (ending, content), count in counts],
            "contents": [
                {"path": path, "content": content}
                for path, (_, content) in zip(paths[:NAMED_FILES], pairs[:NAMED_FILES], strict=True)
            ],
        },
        files=tuple(paths),  # the proposal reads them all
    )


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.casefold()


def _kind(reason: str) -> str:
    """Return what a file is that begins as `decoding` says, "" where that tells nothing."""
    told = _BEGINS.search(reason)
    if told is None:
        return ""
    head = ast.literal_eval(told[1])
    if head[4:8] == b"ftyp":  # ISO/IEC 14496-12; which of them it is stands in the next four bytes
        return "HEIC, AVIF or MP4 video"
    head = (head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n\t ") or head).lower()
    return next((kind for begin, kind in _KINDS if head.startswith(begin.lower())), "")


@CHECKS.register("odd-size", summary="images much smaller, larger or longer than the rest")
def odd_size(subject: Subject) -> list[Finding]:
    """Compare each image with the median one, on a logarithmic scale and in units of how much sizes vary."""
    width, height = (subject.rows[name].cast(pl.Float64).fill_null(0).to_numpy() for name in ("width", "height"))
    known = np.flatnonzero(np.minimum(width, height) > 0)
    if len(known) < _LEAST_IMAGES:
        return []
    width, height = width[known], height[known]
    short = np.minimum(width, height)
    area, stretch = np.log2(width * height), np.log2(np.maximum(width, height) / short)
    above, spread = _from_median(area)
    longer, unlike = _from_median(stretch)
    small = above < -max(np.log2(SMALL), SPREADS * spread)
    large = above > max(np.log2(LARGE), SPREADS * spread)
    long = longer > max(np.log2(LONGER), SPREADS * unlike)
    long |= (stretch > np.log2(LONG)) & (longer > max(0.5, 3 * unlike))
    tiny = (short < TINY_PX) & (np.median(short) >= 2 * TINY_PX)
    small = _few(small) | tiny
    sizes = [f"{w:.0f} × {h:.0f}" for w, h in zip(width, height, strict=True)]
    usual = f"{np.median(width):.0f} × {np.median(height):.0f} px"
    found = []
    if small.any():
        order = _ranked(small, above)
        less = f", {counted(int(tiny.sum()), 'of them', 'of them')} under {TINY_PX} px on the shorter side"
        found.append(
            _unusual(
                subject,
                known[order],
                [sizes[row] for row in order],
                kind="small",
                what=f"far smaller than the rest{_first(order, 'smallest')} (median {usual})"
                + (less if tiny.any() else ""),
                fix="replace them by larger versions, or leave them out where nothing can be told any more",
                evidence={"median": usual, "tiny_px": TINY_PX, "tiny": int(tiny.sum())},
            )
        )
    if large.any():
        order = _ranked(large, -above)
        share = float((width * height)[large].sum() / (width * height).sum())
        found.append(
            _unusual(
                subject,
                known[order],
                [sizes[row] for row in order],
                kind="large",
                what=f"more than {LARGE:.0f} times as large as the median image "
                f"({usual}){_first(order, 'largest')}: {percent(share)} of all pixels, and about as much of "
                "the time to decode",
                fix="store them smaller if decoding is what training waits for; nothing else speaks against them",
                evidence={"median": usual, "share_of_pixels": round(share, 4)},
                note=True,
            )
        )
    if (few := _few(long)).any():
        order = _ranked(few, -stretch)
        ratio = 2 ** float(np.median(stretch))
        found.append(
            _unusual(
                subject,
                known[order],
                [sizes[row] for row in order],
                kind="shape",
                what=f"far longer in one direction{_first(order, 'most extreme')} (median {ratio:.2g} to 1)",
                fix="crop them to what they show; a square crop cuts most of them off, so train with data.resize=pad "
                "if they have to stay",
                evidence={"median_ratio": round(ratio, 3)},
            )
        )
    return found


def _from_median(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the distance of each value from the median, and the robust standard deviation: 1.4826 times their MAD."""
    away = values - np.median(values)
    return away, 1.4826 * float(np.median(np.abs(away)))


def _few(odd: np.ndarray) -> np.ndarray:
    """Return the same, or none where so many are odd that they are a kind of their own."""
    return odd & (odd.mean() <= RARE)


def _ranked(odd: np.ndarray, by: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(odd)
    return rows[np.argsort(by[rows], kind="stable")]


def _unusual(
    subject: Subject,
    rows: np.ndarray,
    sizes: Sequence[str],
    *,
    kind: str,
    what: str,
    fix: str,
    evidence: dict[str, object],
    note: bool = False,
) -> Finding:
    named = subject.named(rows, limit=None)  # the proposal acts on each
    records = [{"path": path, "size": size} for path, size in zip(named, sizes, strict=True)]
    return Finding(
        severity="note" if note else "warning",
        code="odd-size",
        message=f"{counted(len(rows), 'image')} of {len(subject):,} {_is(len(rows))} {what}: "
        f"{listed([f'{path} ({size})' for path, size in zip(named, sizes, strict=True)], limit=3)}",
        fix=fix,
        evidence={"kind": kind, "images": len(rows), **evidence, "sizes": records},
        files=named,
    )


@CHECKS.register("odd-mode", summary="a few images in another colour mode than the rest")
def odd_mode(subject: Subject) -> list[Finding]:
    """Name the images whose mode is rare in this data; one note for all such modes."""
    modes = subject.looks.facts["mode"].fill_null("").to_numpy().astype(str)
    counts = Counter(mode for mode in modes.tolist() if mode)
    if len(counts) < 2 or len(subject) < _LEAST_IMAGES:
        return []
    usual = counts.most_common(1)[0][0]
    odd = [mode for mode, count in counts.most_common() if mode != usual and count <= RARE * len(subject)]
    if not odd:
        return []
    rows = np.flatnonzero(np.isin(modes, odd))
    named = subject.named(rows)
    listing = listed([f"{_mode(mode)} ({mode}, {counts[mode]:,})" for mode in odd])
    return [
        Finding(
            severity="note",
            code="odd-mode",
            message=f"{counted(len(rows), 'image')} of {len(subject):,} {_has(len(rows))} another colour mode than the "
            f"rest ({_mode(usual)}, {usual}): {listing}",
            fix="fovea makes 8-bit RGB of them all, transparent parts white; look at a few to see that nothing is "
            "lost, and that new images will come in these modes too",
            evidence={
                "images": len(rows),
                "usual": usual,
                "counts": dict(counts.most_common()),
                "modes": [
                    {"path": path, "mode": mode} for path, mode in zip(named, modes[rows].tolist(), strict=False)
                ],
            },
            files=named,
        )
    ]


def _mode(mode: str) -> str:
    return "16 bits or more" if mode.startswith("I") else _MODES.get(mode, mode)


def _first(rows: np.ndarray, word: str) -> str:
    return f", the {word} first" if len(rows) > 1 else ""


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"
