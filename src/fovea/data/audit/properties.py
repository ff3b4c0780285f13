"""What is known of an image besides what it shows: its size, how it is stored, its camera, time, name, folder, border.

Each is one column over the images of a subject. Whether a column gives the class away is for `metadata` to find out.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from fovea.core.findings import Severity
from fovea.data.audit import naming
from fovea.data.audit.base import Subject

_FRAME_STEP = 12  # grey levels by which a picture differs from the frame around it
_FRAME_SHARE = 0.8  # of the line inside a frame that has to differ; plain backgrounds differ at the object alone
_GREY_SPREAD = 3  # levels between the channels of a picture without colour
_EXCLUSIVE = 0.9  # share of images whose class keeps to one folder, from which folders are a taxonomy


@dataclass(frozen=True, eq=False, kw_only=True)
class Property:
    """One column: a number per image, or the number of a text.

    Attributes:
        name: key for the evidence, with its unit.
        words: the subject of a sentence: "the JPEG quality".
        family: properties that tell much the same; one finding speaks for all of them.
        values: (N,) float64; NaN where unknown. Positions in `texts` where there are any.
        texts: what the positions mean; None for a number.
        show: a number as people read it.
        worst: how bad it can be that it predicts the class: "note" for what a picture shows anyway, "error" for what
            has nothing to do with it.
    """

    name: str
    words: str
    family: str
    values: np.ndarray
    texts: tuple[str, ...] | None = None
    show: Callable[[float], str] = "{:.3g}".format
    worst: Severity = "warning"

    def take(self, rows: np.ndarray) -> Property:
        """Return the property at these row numbers."""
        return replace(self, values=self.values[rows])


def properties(subject: Subject) -> list[Property]:
    """Return the columns that can tell anything: those with at least two values."""
    found = [*_size(subject), *_encoding(subject), *_exif(subject), *_names(subject), *_border(subject)]
    found += _color(subject)
    return [item for item in found if _varies(item.values)]


def bytes_beyond_content(subject: Subject) -> np.ndarray:
    """Return how many times more bytes each image takes than images of its size that show as much detail (log2).

    Grass takes more bytes than sky, which is no shortcut. So the logarithm of bytes per pixel is explained by what can
    be seen of an image's complexity, by least squares over all images; what is left is how it was stored.
    """
    known = [np.log(np.maximum(subject.looks.column(name), 1e-5)) for name in ("detail", "sharpness", "contrast")]
    known.append(subject.looks.column("entropy"))
    design = np.stack([np.ones(len(subject)), *known, *(column**2 for column in known)], axis=1)
    wanted = np.log2(np.maximum(_column(subject, "bytes") / _pixels(subject), 1e-6))
    use = np.isfinite(design).all(axis=1) & np.isfinite(wanted)
    rest = np.full(len(subject), np.nan)
    if use.sum() > design.shape[1]:
        rest[use] = wanted[use] - design[use] @ np.linalg.lstsq(design[use], wanted[use], rcond=None)[0]
    return rest


def _size(subject: Subject) -> list[Property]:
    width, height, size = _column(subject, "width"), _column(subject, "height"), _column(subject, "bytes")
    sizes = [
        "unknown" if np.isnan(w + h) else f"{w:.0f}×{h:.0f}"
        for w, h in zip(width.tolist(), height.tolist(), strict=True)
    ]

    def number(name: str, words: str, values: np.ndarray, show: Callable[[float], str], family: str) -> Property:
        worst: Severity = "error" if family == "size" else "warning"
        return Property(name=name, words=words, family=family, values=values, show=show, worst=worst)

    per_pixel = size / _pixels(subject)
    return [
        _category("size_px", "the size in pixels", "size", sizes, worst="error"),
        number("width_px", "the width", width, "{:.0f} px".format, "size"),
        number("height_px", "the height", height, "{:.0f} px".format, "size"),
        number("aspect", "the ratio of width to height", width / height, "{:.2f}".format, "size"),
        number("bytes_per_pixel", "the number of bytes per pixel", per_pixel, "{:.2g}".format, "bytes"),
        number("bytes", "the file size", size, _byte_text, "bytes"),
    ]


def _encoding(subject: Subject) -> list[Property]:
    facts = subject.looks.facts
    color = subject.looks.color
    grey = (color.max(axis=3) - color.min(axis=3)).max(axis=(1, 2)) <= _GREY_SPREAD
    extensions = [naming.split_path(path)[2] for path in subject.paths]
    quality = subject.looks.column("quality")
    return [
        _category(
            "format", "the file format", "encoding", facts["format"].fill_null("unknown").to_list(), worst="error"
        ),
        _category("mode", "the colour mode", "encoding", facts["mode"].fill_null("unknown").to_list(), worst="error"),
        Property(
            name="jpeg_quality",
            words="the JPEG quality",
            family="encoding",
            values=quality,
            show="quality {:.0f}".format,
            worst="error",
        ),
        _category("extension", "the spelling of the extension", "encoding", extensions, worst="error"),
        _category("colored", "being grey or coloured", "encoding", np.where(grey, "grey", "coloured").tolist()),
    ]


def _exif(subject: Subject) -> list[Property]:
    taken_s = subject.looks.column("taken_s")
    day = taken_s // 86400
    camera = subject.looks.facts["camera"].fill_null("none").to_list()
    return [
        _category("camera", "the camera that EXIF names", "camera", camera, worst="error"),
        Property(name="taken", words="the time of the exposure", family="time", values=taken_s, show=_moment),
        _category("day", "the day of the exposure", "time", [_moment(86400 * value)[:10] for value in day.tolist()]),
        Property(
            name="hour",
            words="the hour of the exposure",
            family="time",
            values=taken_s % 86400 / 3600,
            show="{:.1f} h".format,
        ),
    ]


def _names(subject: Subject) -> list[Property]:
    """Single-label data only: what several classes at once are called cannot be taken out of a name."""
    if subject.manifest.multilabel:
        return []
    manifest, targets = subject.manifest, subject.targets
    called = [
        (name,) if manifest.class_ids is None else (name, manifest.class_ids[place])
        for place, name in enumerate(manifest.classes)
    ]
    parts = [naming.split_path(path) for path in subject.paths]
    above = _above([folders for folders, _, _ in parts], [called[target] for target in targets], targets)
    own = [(*called[target], folders[-1]) if folders else called[target]
           for (folders, _, _), target in zip(parts, targets, strict=True)]  # fmt: skip
    patterns = naming.patterns([stem for _, stem, _ in parts], own)
    first, last = zip(*map(naming.ends, patterns), strict=True) if patterns else ((), ())
    folder = _category("folder", "the folder above that of the class", "folder", [text or "none" for text in above])
    found = [
        _category("name_pattern", "the pattern of the file name", "name", [text or "none" for text in patterns]),
        _category("name_start", "the first word of the file name", "name", [text or "none" for text in first]),
        _category("name_end", "the last word of the file name", "name", [text or "none" for text in last]),
    ]
    return found if _is_taxonomy(folder.values.astype(np.int64), targets) else [folder, *found]


def _above(folders: list[list[str]], called: list[tuple[str, ...]], targets: np.ndarray) -> list[str]:
    """Return the folders above that of the class, which goes by the class's name or holds nothing else."""
    classes_in: dict[str, set[int]] = {}
    for inside, target in zip(folders, targets.tolist(), strict=True):
        classes_in.setdefault(inside[-1] if inside else "", set()).add(target)
    pure = len(classes_in) > 1 and all(len(held) == 1 for held in classes_in.values())
    found = []
    for inside, names in zip(folders, called, strict=True):
        above = naming.upper_folder(inside, names)
        found.append("/".join(inside[:-1]) if pure and above == "/".join(inside) else above)
    return found


def _is_taxonomy(folder: np.ndarray, targets: np.ndarray) -> bool:
    """Return whether nearly every class keeps to one folder: then folders only say what kind of class it is."""
    if not len(folder):
        return True
    counts = np.zeros((targets.max() + 1, folder.max() + 1), dtype=np.int64)
    np.add.at(counts, (targets, folder), 1)
    exclusive = counts.max(axis=1) == counts.sum(axis=1)
    return bool(counts[exclusive].sum() >= _EXCLUSIVE * counts.sum())


def _border(subject: Subject) -> list[Property]:
    """Frames and letterbox bars: plain borders that end along their whole length, unlike a plain background."""
    grey = subject.looks.grey
    side_px = grey.shape[1]
    width = np.zeros((len(subject), 4), dtype=np.int64)
    tone = np.zeros((len(subject), 4))
    lines_of = {
        "left": grey.transpose(0, 2, 1),
        "top": grey,
        "right": grey.transpose(0, 2, 1)[:, ::-1],
        "bottom": grey[:, ::-1],
    }
    share = {name: np.nan_to_num(subject.looks.column(f"rim_{name}")) for name in lines_of}
    depth = {name: np.ceil(share[name] * side_px - 1e-6).astype(np.int64) for name in lines_of}
    rows = np.arange(len(subject))
    for place, (name, lines) in enumerate(lines_of.items()):
        here = np.flatnonzero((depth[name] > 0) & (depth[name] < side_px // 2))
        if not len(here):
            continue
        outer = lines[here, 0].astype(np.float64).mean(axis=1)
        inside = lines[here, depth[name][here]].astype(np.float64)  # (n, 64): the first line of the picture
        before, after = ("top", "bottom") if name in ("left", "right") else ("left", "right")
        along = np.arange(side_px)
        picture = (along >= depth[before][here, None]) & (along < side_px - depth[after][here, None])
        differs = (np.abs(inside - outer[:, None]) > _FRAME_STEP) & picture
        framed = here[differs.sum(axis=1) >= _FRAME_SHARE * np.maximum(picture.sum(axis=1), 1)]
        width[framed, place] = np.rint(share[name][framed] * 100)
        tone[rows[here], place] = outer
    shown, widths = [], []
    for sides, tones in zip(width.tolist(), tone.tolist(), strict=True):
        there = [name for name, size in zip(lines_of, sides, strict=True) if size]
        level = sum(t for t, size in zip(tones, sides, strict=True) if size) / max(1, len(there))
        color = "dark" if level < 64 else "light" if level > 192 else "medium"
        shown.append(f"{color} border {' and '.join(there)}" if there else "no border")
        widths.append(
            " ".join(f"{name} {size} %" for name, size in zip(lines_of, sides, strict=True) if size) or "none"
        )
    return [
        _category("border", "a plain border", "border", shown),
        _category("border_width", "the width of a plain border", "border", widths),
    ]


def _color(subject: Subject) -> list[Property]:
    means = {name: subject.looks.column(f"mean_{name}") for name in "rgb"}
    total = np.maximum(sum(means.values()), 1e-6)
    shares = [
        Property(
            name=f"share_of_{word}",
            words=f"how {word} the image is on average",
            family="color",
            values=means[name] / total,
            show="{:.2f}".format,
            worst="note",
        )
        for name, word in (("r", "red"), ("g", "green"), ("b", "blue"))
    ]
    brightness = subject.looks.column("brightness")
    bright = Property(name="brightness", words="the mean brightness", family="color", values=brightness, worst="note")
    return [replace(bright, show="{:.2f}".format), *shares]


def _category(name: str, words: str, family: str, values: Sequence[str], *, worst: Severity = "warning") -> Property:
    texts = tuple(sorted(set(values)))
    number = {text: place for place, text in enumerate(texts)}
    places = np.array([number[text] for text in values], dtype=np.float64)
    return Property(name=name, words=words, family=family, values=places, texts=texts, worst=worst)


def _varies(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 0 and (len(known) < len(values) or bool((known != known[0]).any()))


def _column(subject: Subject, name: str) -> np.ndarray:
    return subject.rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _pixels(subject: Subject) -> np.ndarray:
    return np.maximum(_column(subject, "width") * _column(subject, "height"), 1)


def _byte_text(value: float) -> str:
    return f"{value / 1000:,.0f} kB" if value >= 10_000 else f"{value:,.0f} bytes"


def _moment(value_s: float) -> str:
    if np.isnan(value_s):
        return "none"
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=value_s)).isoformat(" ", "seconds")
