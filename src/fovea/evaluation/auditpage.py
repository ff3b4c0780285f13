"""The page of an audit: can this data be trained on, what was found, shown by which images, and what to do next.

Puts sections together; how one finding is shown is in `findingdetail`, the page itself is made by `fovea.core.html`.
"""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from fovea.core.findings import SEVERITIES, Finding, by_severity
from fovea.core.report import (
    Block,
    Code,
    Column,
    Fact,
    Facts,
    Figure,
    FindingList,
    Link,
    Prose,
    Report,
    Section,
    Table,
)
from fovea.core.wording import counted, duration, listed
from fovea.data.audit.base import Subject
from fovea.evaluation import auditplots, plots
from fovea.evaluation.background import data_facts, left_out_blocks
from fovea.evaluation.findingdetail import PAGE, THEMES, Limits, shown, topic
from fovea.evaluation.thumbnails import BUDGET_BYTES, Thumbnails

_MEASURES = {  # fact of a look -> what it is called, whether its axis is logarithmic
    "brightness": ("brightness, 0 black to 1 white", False),
    "dark_point": ("brightness that 1 % of an image are below", False),
    "bright_point": ("brightness that 99 % of an image are below", False),
    "contrast": ("contrast: standard deviation of brightness", False),
    "sharpness": ("sharpness: steepness of the strongest edges at 128 px", False),
    "entropy": ("entropy of the brightness, bits", False),
    "detail": ("fine structure, 0 to 1", True),
    "quality": ("JPEG quality", False),
    "megapixels": ("size, megapixels", True),
    "aspect": ("width over height", True),
    "bytes_per_pixel": ("bytes per pixel", True),
    "saturation": ("saturation, 0 grey to 1", False),
    **{name: (f"share of {name}", False) for name in ("red", "green", "blue")},
}
_MEASURED = {"dark": "brightness", "bright": "brightness", "blurry": "sharpness", "low-information": "entropy"}
_DRIFTS = 3
_LIMIT_KEYS = ("threshold", "limit", "cut", "below", "above")


def build_audit_report(
    *,
    subject: Subject,
    findings: Sequence[Finding],
    network_view: bytes | None = None,
    elapsed_s: float | None = None,
    limits: Limits = PAGE,
    budget_bytes: int = BUDGET_BYTES,
) -> Report:
    """Put the page of an audit together.

    Args:
        subject: the data that was audited; without features it was the fast form, and the page says so.
        findings: all of them, those of reading included.
        network_view: PNG or JPEG of images as the network will see them.
        elapsed_s: how long the audit took.
        limits: how much of each finding is shown.
        budget_bytes: what the pictures may weigh together.
    """
    ordered = by_severity(list(findings))
    thumbnails = Thumbnails(subject.manifest, budget_bytes=budget_bytes)
    anchors = [f"finding-{number}-{finding.code}" for number, finding in enumerate(ordered, start=1)]
    details = [
        shown(finding, thumbnails, limits=limits, anchor=anchor, extra=_drawings(finding, subject))
        for finding, anchor in zip(ordered, anchors, strict=True)
    ]
    sections = [_overview(subject, ordered, anchors, elapsed_s)]
    for theme, lead in THEMES.items():
        mine = [detail for detail in details if topic(detail.finding.code)[0] == theme]
        blocks: list[Block] = [FindingList(mine)] if mine else []
        blocks += _theme_blocks(theme, subject)
        if blocks:
            sections.append(Section(theme, blocks, lead=lead))
    if network_view is not None:
        sections.append(_network_section(network_view))
    sections.append(_next_section(subject, ordered))
    return Report(
        f"Audit of {_name(subject)}",
        f"{counted(len(subject), 'image')} of {counted(len(subject.manifest.classes), 'class', 'classes')}"
        + (f", {', '.join(splits)}" if (splits := _splits(subject)) else ""),
        sections,
        footer=f"Written by fovea on {datetime.date.today():%d %B %Y}. Nothing of the data was changed. This file "
        "needs nothing else: keep it, send it.",
    )


def _name(subject: Subject) -> str:
    source = Path(subject.manifest.source or subject.manifest.root)
    return (source.parent.name if source.suffix else source.name) or str(source)


def _splits(subject: Subject) -> list[str]:
    counts = subject.rows["split"].drop_nulls().value_counts()
    held = dict(counts.iter_rows())
    return [f"{held[name]:,} {name}" for name in ("train", "val", "test") if name in held]


def _overview(
    subject: Subject, findings: Sequence[Finding], anchors: Sequence[str], elapsed_s: float | None
) -> Section:
    tally = {severity: sum(item.severity == severity for item in findings) for severity in SEVERITIES}
    left_out = subject.manifest.excluded().height
    tiles = [
        Fact("Images", f"{len(subject):,}", f"{left_out:,} left out" if left_out else "none left out"),
        Fact("Classes", f"{len(subject.manifest.classes):,}", "several an image" * subject.manifest.multilabel),
        Fact("Errors", f"{tally['error']:,}", "results cannot be trusted" if tally["error"] else ""),
        Fact("Warnings", f"{tally['warning']:,}", "results suffer" if tally["warning"] else ""),
        Fact("Notes", f"{tally['note']:,}", "worth knowing" if tally["note"] else ""),
        *([Fact("Time", duration(elapsed_s))] if elapsed_s is not None else []),
    ]
    blocks: list[Block] = [Facts(tiles, headline=True), Prose(verdict(findings, fast=subject.features is None))]
    if findings:
        columns = [
            Column("Severity", kind="severity"),
            Column("Finding"),
            Column("Images", kind="count", help="how many images it is about"),
            Column("In a sentence"),
        ]
        rows = [
            (item.severity, Link(topic(item.code)[1], anchor), _concerned(item), item.message)
            for item, anchor in zip(findings, anchors, strict=True)
        ]
        blocks.append(Table(columns, rows, sortable=len(rows) > 2, whole=True))
    return Section("Can I train on this?", blocks)


def verdict(findings: Sequence[Finding], *, fast: bool = False) -> str:
    """Return in plain words whether to train on data with these findings.

    Args:
        fast: whether the checks that need a network were left out.

    >>> verdict([])
    'Yes. Nothing was found that stands in the way.'
    """
    errors = [item for item in findings if item.severity == "error"]
    warnings = [item for item in findings if item.severity == "warning"]
    if errors:
        text = f"Not as it is. With {_named(errors)} the results could not be trusted; put this right first."
    elif warnings:
        text = f"Yes, with care. {_named(warnings)} may cost accuracy, or make results look other than they are."
    else:
        text = "Yes. Nothing was found that stands in the way."
    if fast:
        text += (
            "\n\nThis was the fast form of the audit: what needs a network's features (wrong labels, outliers, classes "
            "that look alike) was not looked for."
        )
    return text


def _named(findings: Sequence[Finding]) -> str:
    titles = list(dict.fromkeys(topic(item.code)[1] for item in findings))
    return f"{counted(len(findings), 'finding')} ({listed([f'“{title}”' for title in titles], limit=4)})"


def _concerned(finding: Finding) -> int | None:
    count = finding.evidence.get("count", finding.evidence.get("images"))
    if isinstance(count, int) and not isinstance(count, bool):
        return count
    return len({*finding.files, *(path for group in finding.groups for path in group)}) or None


def _drawings(finding: Finding, subject: Subject) -> list[Block]:
    """The distribution that a finding is about, with its thresholds; for a drift, those that differ most."""
    evidence = finding.evidence
    drawn: list[tuple[str | None, str]] = []
    if finding.code == "split-drift":
        splits = ["train", str(evidence["split"])] if "split" in evidence else ["train", "val", "test"]
        facts = [str(item.get("fact")) for item in evidence.get("facts", ())]
        for name in [fact for fact in facts if fact in _MEASURES][:_DRIFTS]:
            (label, log), values = _MEASURES[name], _values(subject, name)
            named = {split: values[subject.splits == split] for split in splits}
            drawn.append((auditplots.distributions(named, label=label, log=log), f"The splits by {_spaced(name)}."))
    elif name := _MEASURED.get(finding.code, ""):
        limits = {
            _spaced(key): float(value)
            for key, value in evidence.items()
            if isinstance(value, float) and any(word in key.split("_") for word in _LIMIT_KEYS)
        }
        (label, log), values = _MEASURES[name], _values(subject, name)
        caption = f"All images by {_spaced(name)}" + ("; dashed, where it was drawn." if limits else ".")
        drawn.append((auditplots.histogram(values, label=label, limits=limits, log=log), caption))
    return [Figure(drawing, caption, caption, half=True) for drawing, caption in drawn if drawing]


def _values(subject: Subject, name: str) -> np.ndarray:
    """What `_MEASURES` names, of each image, (N,) float64; NaN where unknown."""
    if name in subject.looks.facts.columns:
        return subject.looks.column(name)
    if name == "saturation":
        ends = subject.looks.color.max(axis=3).astype(float) - subject.looks.color.min(axis=3)  # (N, 16, 16)
        return ends.mean(axis=(1, 2)) / 255
    if name in ("red", "green", "blue"):
        means = {letter: subject.looks.column(f"mean_{letter}") for letter in "rgb"}
        return means[name[0]] / np.maximum(sum(means.values()), 1e-6)
    pixels = pl.col("width").cast(pl.Float64) * pl.col("height")
    ways = {
        "megapixels": pixels / 1e6,
        "aspect": pl.col("width") / pl.col("height"),
        "bytes_per_pixel": pl.col("bytes") / pixels,
    }
    return subject.rows.select(value=ways[name])["value"].fill_null(float("nan")).to_numpy()


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _theme_blocks(theme: str, subject: Subject) -> list[Block]:
    """What belongs to a theme besides its findings."""
    manifest = subject.manifest
    if theme == "Files":
        excluded = manifest.excluded().select("path", "excluded").rows()
        return [Facts(data_facts(manifest, left_out=len(excluded))), *left_out_blocks(excluded)]
    if theme == "Splits and classes":
        counts = manifest.counts()
        splits = [name for name in counts.columns if name != "class"]
        drawing = plots.class_sizes(list(counts["class"]), {name: counts[name].to_list() for name in splits})
        caption = "Images per class and split."
        return [Figure(drawing, caption, caption)] if drawing else []
    if theme == "Channels and sizes":
        return _pixels(subject)
    return []


def _pixels(subject: Subject) -> list[Block]:
    known = subject.rows.select("width", "height").drop_nulls().to_numpy()  # (N, 2)
    caption = "Each dot is an image size; the larger, the more images have it."
    drawings = [(auditplots.sizes(known[:, 0], known[:, 1]), caption)]
    for name in ("brightness", "sharpness"):
        label, log = _MEASURES[name]
        drawings.append((auditplots.histogram(subject.looks.column(name), label=label, log=log), f"Images by {name}."))
    return [Figure(drawing, text, text, half=True) for drawing, text in drawings if drawing]


def _network_section(picture: bytes) -> Section:
    caption = "Each row is an image, first as it is, then as random views of it go into the network."
    lead = "Images after resizing and augmentation, with the settings of the recipe."
    return Section("What the network will see", [Figure(picture, caption, caption)], lead=lead)


def _next_section(subject: Subject, findings: Sequence[Finding]) -> Section:
    source = subject.manifest.source or str(subject.manifest.root)
    lines = [
        shlex.join(["fovea", "audit", source, "--write-clean", "clean.csv"]),
        "fovea train clean.csv",
    ]
    text = (
        "The first command writes a table with a proposal and a reason for every image: keep, review or leave out. "
        "Look through it, change what you know better, and train from it. None of your files is moved or changed."
    )
    fixes = list(dict.fromkeys(item.fix for item in findings if item.severity != "note" and item.fix))
    blocks: list[Block] = [Prose(text), Code("\n".join(lines))]
    if fixes:
        blocks.append(Table([Column("What the findings advise")], [(fix,) for fix in fixes], whole=True))
    return Section("What to do", blocks)
