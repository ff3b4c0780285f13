"""What a report is made of: sections of blocks, as plain values. `html` turns it into a page.

Evaluation, audit and doctor all build their reports from these. Nothing here knows about HTML; text is text, and a
renderer escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fovea.core.findings import Finding

ColumnKind = Literal["text", "count", "number", "share", "severity"]
Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True)
class Link:
    """Text of a table's cell that leads to the `Detail` of that anchor on the same page."""

    text: str
    anchor: str


Cell = str | int | float | Link | None


@dataclass(frozen=True)
class Prose:
    """Paragraphs, separated by blank lines."""

    text: str


@dataclass(frozen=True)
class Fact:
    """A name, its value as shown, and a note in smaller print."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Key and value pairs; `headline` sets them as large numbers side by side."""

    items: Sequence[Fact]
    headline: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: the heading.
        kind: "text"; "count" (a whole number); "number" (with `digits` decimals); "share" (0 to 1, shown as per cent
            with a bar); "severity" (of a finding, sorted by how bad it is).
        digits: decimals of a "number" or of the per cent of a "share".
        help: what the column means, shown on hover.
    """

    name: str
    kind: ColumnKind = field(default="text", kw_only=True)
    digits: int = field(default=1, kw_only=True)
    help: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Table:
    """Rows of cells, one a column; None is shown as a dash and sorts last.

    Args:
        whole: never scrolls within itself, however long it is.

    Raises:
        ValueError: a row is longer or shorter than the columns.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = field(default="", kw_only=True)
    sortable: bool = field(default=False, kw_only=True)
    whole: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells, expected {len(self.columns)}")


@dataclass(frozen=True)
class Figure:
    """A drawing: the text of an SVG, or the bytes of a PNG.

    Args:
        image: SVG as str, PNG as bytes. Colours of an SVG that are in `svg.THEME` follow the page's light or dark.
        caption: what to see in it.
        alt: what it shows, for those who cannot see it.
        half: may stand beside another half on a wide page.
    """

    image: str | bytes
    caption: str
    alt: str
    half: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not self.alt:
            raise ValueError(f"figure {self.caption!r} has no alt text")


@dataclass(frozen=True)
class Picture:
    """One image of a gallery: JPEG, PNG or WebP bytes, a caption, and smaller print below it.

    Args:
        image: None where the image cannot be shown; its place then holds `alt` as text.
        file: where the image came from; its end is shown, cut to one line.
        tone: a ring around the image, green for good and orange for bad.
    """

    image: bytes | None
    caption: str
    detail: str = ""
    file: str = field(default="", kw_only=True)
    alt: str = field(default="", kw_only=True)
    tone: Tone = field(default="plain", kw_only=True)


@dataclass(frozen=True)
class Gallery:
    """Images side by side; `strip` keeps them small and in one line under the title."""

    items: Sequence[Picture]
    title: str = field(default="", kw_only=True)
    note: str = field(default="", kw_only=True)
    strip: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Detail:
    """One finding at length: under a title, with blocks that show it.

    Args:
        anchor: a name, unique on the page, that a `Link` may lead to.
        more: said below the blocks, such as how many images are not shown.
    """

    finding: Finding
    blocks: Sequence[Block] = ()
    title: str = field(default="", kw_only=True)
    anchor: str = field(default="", kw_only=True)
    more: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class FindingList:
    """Findings, worst first, bare or at length; `empty` is said when there are none."""

    findings: Sequence[Finding | Detail]
    empty: str = field(default="Nothing to report.", kw_only=True)


@dataclass(frozen=True)
class Code:
    """Text to copy, such as a command or a recipe; with a `summary` it is folded away under it."""

    text: str
    summary: str = field(default="", kw_only=True)


Block = Prose | Facts | Table | Figure | Gallery | FindingList | Code


@dataclass(frozen=True)
class Section:
    """A part of the report with its place in the table of contents; `lead` is one sentence under the title."""

    title: str
    blocks: Sequence[Block]
    lead: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Report:
    """A whole report.

    >>> Report("Digits", "10 classes", [Section("Result", [Prose("All good.")])]).sections[0].title
    'Result'
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: str = field(default="", kw_only=True)
