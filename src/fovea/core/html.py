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
from fovea.core.findings import SEVERITIES, Finding
from fovea.core.report import (
    Block,
    Cell,
    Code,
    Column,
    Detail,
    Facts,
    Figure,
    FindingList,
    Gallery,
    Link,
    Picture,
    Prose,
    Report,
    Section,
    Table,
)

_TEMPLATES = Path(__file__).with_name("templates")
_SHOWN_FILES = 200
_SHOWN_GROUPS, _SHOWN_MEMBERS = 60, 12


def render(report: Report) -> str:
    """Return the report as one self-contained page.

    Raises:
        ValueError: a picture is no JPEG, PNG or WebP, a figure no harmless SVG, or a link leads nowhere.

    >>> page = render(Report("<Digits>", "10 classes", []))
    >>> "<title>&lt;Digits&gt;</title>" in page
    True
    """
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    policy = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    taken = _detail_anchors(report)
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


def _detail_anchors(report: Report) -> set[str]:
    """Return the anchors of the findings, which sections may not take; every link must lead to one of them."""
    blocks = [block for section in report.sections for block in section.blocks]
    details = [item for block in blocks if isinstance(block, FindingList) for item in block.findings]
    anchors = [item.anchor for item in details if isinstance(item, Detail) and item.anchor]
    if len(set(anchors)) < len(anchors):
        raise ValueError(f"two findings have the same anchor: {sorted(anchors)}")
    cells = (cell for block in blocks if isinstance(block, Table) for row in block.rows for cell in row)
    if lost := {cell.anchor for cell in cells if isinstance(cell, Link)} - set(anchors):
        raise ValueError(f"links lead to {sorted(lost)}, which no finding has as its anchor")
    return set(anchors)


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
            return {"kind": "gallery", "block": block, "pictures": [_picture(item) for item in block.items]}
        case FindingList():
            details = [item if isinstance(item, Detail) else Detail(item) for item in block.findings]
            details.sort(key=lambda detail: SEVERITIES.index(detail.finding.severity))
            entries = [_finding(detail, f"{name}-{number}") for number, detail in enumerate(details, start=1)]
            return {"kind": "findings", "findings": entries, "empty": block.empty}
        case Code():
            return {"kind": "code", "block": block}


def _picture(item: Picture) -> dict[str, Any]:
    source = None if item.image is None else _data_uri(item.image)
    return {"source": source, "alt": item.alt or item.caption or item.file, "item": item}


def _finding(detail: Detail, name: str) -> dict[str, Any]:
    """What the template shows of a finding; the blocks in it are rendered here, since templates do not recurse."""
    macros = _environment().get_template("blocks.html.j2").module
    views = [_view(block, f"{name}-{number}") for number, block in enumerate(detail.blocks, start=1)]
    return {
        "detail": detail,
        "finding": detail.finding,
        "blocks": [getattr(macros, view["kind"])(view) for view in views],
        "folded": _folded(detail.finding),
    }


def _folded(finding: Finding) -> list[dict[str, Any]]:
    """The lists of names that are folded away under a finding: its groups, its files."""
    groups = [
        " = ".join(group[:_SHOWN_MEMBERS])
        + (f" and {len(group) - _SHOWN_MEMBERS} more" if len(group) > _SHOWN_MEMBERS else "")
        for group in finding.groups[:_SHOWN_GROUPS]
    ]
    files = finding.files[:_SHOWN_FILES]
    lists = (("group", groups, len(finding.groups)), ("file", files, len(finding.files)))
    return [
        {"summary": f"{total} {what}{'' if total == 1 else 's'}", "names": names, "more": total - len(names)}
        for what, names, total in lists
        if names
    ]


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
    heads = [{"column": column, "numeric": _numeric(column)} for column in table.columns]
    label = table.caption or f"Table of {', '.join(column.name for column in table.columns)}"
    view = {"kind": "table", "caption": table.caption, "label": label, "sortable": table.sortable, "whole": table.whole}
    return {**view, "heads": heads, "rows": rows}


def _numeric(column: Column) -> bool:
    return column.kind in ("count", "number", "share")


def _cell(value: Cell, column: Column) -> dict[str, Any]:
    cell = {"numeric": _numeric(column), "bar": None, "anchor": None, "severity": None}
    if value is None:
        return {**cell, "text": "–", "key": ""}
    if isinstance(value, Link):
        return {**cell, "text": value.text, "key": value.text, "anchor": value.anchor}
    if column.kind == "severity":
        if value not in SEVERITIES:
            raise ValueError(f"severity is {value!r}; expected one of {SEVERITIES}")
        return {**cell, "text": value, "key": f"{SEVERITIES.index(value)} {value}", "severity": value}
    if isinstance(value, str):
        return {**cell, "text": value, "key": value}
    text = {
        "text": f"{value}",
        "count": f"{value:,.0f}",
        "number": f"{value:.{column.digits}f}",
        "share": f"{100 * value:.{column.digits}f}",
    }[column.kind]
    bar = round(100 * min(max(value, 0), 1), 1) if column.kind == "share" else None
    return {**cell, "text": text, "key": repr(value), "bar": bar}
