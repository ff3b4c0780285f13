"""A report as one HTML file that needs nothing else: no network, no other file, a few lines of script for sorting.

The text of the report is escaped wherever it goes, the page's own security policy forbids every outside request, and
drawings pass through `svg`. What the page says is decided by whoever builds the `Report`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fovea.core import svg
from fovea.core.findings import by_severity
from fovea.core.report import (
    Block,
    Cell,
    Code,
    Column,
    Facts,
    Figure,
    FindingList,
    Gallery,
    Picture,
    Prose,
    Report,
    Section,
    Table,
)

_TEMPLATES = Path(__file__).with_name("templates")
_SHOWN_FILES = 200


def render(report: Report) -> str:
    """Return the report as one self-contained page.

    Raises:
        ValueError: a picture is no JPEG, PNG or WebP, or a figure no harmless SVG.

    >>> page = render(Report("<Digits>", "10 classes", []))
    >>> "<title>&lt;Digits&gt;</title>" in page
    True
    """
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    policy = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    taken: set[str] = set()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            sections=[_section(section, taken) for section in report.sections],
            style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=policy,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )


def _section(section: Section, taken: set[str]) -> dict[str, Any]:
    anchor = _anchor(section.title, taken)
    blocks = [_view(block, f"{anchor}-{number}") for number, block in enumerate(section.blocks, start=1)]
    return {"title": section.title, "lead": section.lead, "anchor": anchor, "blocks": blocks}


def _anchor(title: str, taken: set[str]) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii").lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "section"
    anchor, number = base, 2
    while anchor in taken:
        anchor, number = f"{base}-{number}", number + 1
    taken.add(anchor)
    return anchor


def _view(block: Block, name: str) -> dict[str, Any]:
    """Turn a block into what its template shows; `kind` picks the template."""
    match block:
        case Prose():
            return {"kind": "prose", "paragraphs": [part.strip() for part in block.text.split("\n\n") if part.strip()]}
        case Facts():
            return {"kind": "headline" if block.headline else "facts", "items": block.items}
        case Table():
            return _table(block)
        case Figure():
            return _figure(block, name)
        case Gallery():
            pictures = [{"source": _data_uri(item.image), "alt": _alt(item), "item": item} for item in block.items]
            return {"kind": "gallery", "block": block, "pictures": pictures}
        case FindingList():
            findings = [
                {"finding": finding, "files": finding.files[:_SHOWN_FILES], "more": len(finding.files) - _SHOWN_FILES}
                for finding in by_severity(list(block.findings))
            ]
            return {"kind": "findings", "findings": findings, "empty": block.empty}
        case Code():
            return {"kind": "code", "block": block}


def _alt(item: Picture) -> str:
    return item.alt or item.caption


def _figure(figure: Figure, name: str) -> dict[str, Any]:
    view = {"kind": "figure", "caption": figure.caption, "half": figure.half, "alt": figure.alt, "source": None}
    if isinstance(figure.image, bytes):
        return {**view, "source": _data_uri(figure.image), "width": None}
    drawing = svg.inline(figure.image, prefix=f"{name}-", label=figure.alt)
    return {**view, "drawing": Markup(drawing), "width": round(svg.width_px(drawing))}


def _data_uri(image: bytes) -> str:
    kinds = {
        "jpeg": image[:3] == b"\xff\xd8\xff",
        "png": image[:8] == b"\x89PNG\r\n\x1a\n",
        "webp": image[8:12] == b"WEBP",
    }
    for kind, matches in kinds.items():
        if matches:
            return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
    raise ValueError(f"a picture begins with {image[:8]!r}; expected JPEG, PNG or WebP")


def _table(table: Table) -> dict[str, Any]:
    rows = [[_cell(value, column) for value, column in zip(row, table.columns, strict=True)] for row in table.rows]
    heads = [{"column": column, "numeric": column.kind != "text"} for column in table.columns]
    label = table.caption or f"Table of {', '.join(column.name for column in table.columns)}"
    view = {"kind": "table", "caption": table.caption, "label": label, "sortable": table.sortable}
    return {**view, "heads": heads, "rows": rows}


def _cell(value: Cell, column: Column) -> dict[str, Any]:
    numeric = column.kind != "text"
    if value is None:
        return {"text": "–", "key": "", "numeric": numeric, "bar": None}
    if isinstance(value, str):
        return {"text": value, "key": value, "numeric": numeric, "bar": None}
    text = {
        "text": f"{value}",
        "count": f"{value:,.0f}".replace(",", "\u202f"),  # a narrow space, which ISO 80000-1 §7.3.1 asks for
        "number": f"{value:.{column.digits}f}",
        "share": f"{100 * value:.{column.digits}f}",
    }[column.kind]
    bar = round(100 * min(max(value, 0), 1), 1) if column.kind == "share" else None
    return {"text": text, "key": repr(value), "numeric": numeric, "bar": bar}
