"""The columns `action` and `reason` of a table: which rows to leave out and why, as the audit proposes it.

`action` holds keep, review (kept, and marked for someone to look at) or leave out. Such a table may name the source's
ids in `class_id`, so that its classes keep their order wherever the table lies. Both halves of the guard against cells
that a spreadsheet would run are here. What is proposed is decided in `audit.proposal`.
"""

from __future__ import annotations

import polars as pl

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.data.formats.classfile import Level

KEEP, REVIEW, LEAVE_OUT = "keep", "review", "leave out"
ACTIONS = (KEEP, REVIEW, LEAVE_OUT)
LEFT_OUT = "is left out by the table"  # how the reason of every such row begins
_NAMED_FILES = 200
_GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", "'")  # after OWASP's page on CSV injection, and the guard itself


def is_proposal(frame: pl.DataFrame) -> bool:
    """Return whether a column `action` holds at least one of the words above; any other such column means nothing here.

    >>> is_proposal(pl.DataFrame({"action": ["keep", ""]})), is_proposal(pl.DataFrame({"action": ["jump", "run"]}))
    (True, False)
    """
    name = _named(frame, "action")
    return name is not None and bool(_words(frame[name]).is_in(list(ACTIONS)).any())


def reasons_to_leave_out(frame: pl.DataFrame, source: str) -> pl.Series:
    """Return why each row of a proposal is left out, null where it is in; an empty action keeps its row.

    Args:
        source: the table's name, for messages.

    Raises:
        DataError: a word that is no action.
    """
    name = _named(frame, "action")
    assert name is not None, "ask is_proposal first"
    words = _words(frame[name])
    strange = words.drop_nulls().filter(~words.drop_nulls().is_in(list(ACTIONS))).unique(maintain_order=True)
    if len(strange):
        line = int((words == strange[0]).fill_null(False).arg_max() or 0) + 2
        raise DataError(
            f"the column {name!r} of {source} holds {strange[0]!r} (row {line}), which is no action",
            hint=f"write one of: {', '.join(ACTIONS)}",
        )
    column = _named(frame, "reason")
    given = frame[column].cast(pl.String).str.strip_chars() if column else pl.Series([""] * frame.height)
    known = pl.when(pl.col("given").fill_null("") != "").then(pl.format(f"{LEFT_OUT}: {{}}", "given"))
    whole = pl.when(pl.col("word") == LEAVE_OUT).then(known.otherwise(pl.lit(LEFT_OUT)))
    return pl.select(given=given, word=words).select(reason=whole)["reason"]


def finding_on(frame: pl.DataFrame, paths: pl.Series, source: str) -> Finding:
    """Say how many rows a proposal leaves out and how many it marks for review."""
    words = _words(frame[str(_named(frame, "action"))])
    out, review = int((words == LEAVE_OUT).sum()), int((words == REVIEW).sum())
    message = f"{source} leaves out {out:,} of its {frame.height:,} images, each with a reason"
    return Finding(
        severity="note",
        code="left-out",
        message=message + (f", and marks {review:,} for review, which are used as they are" if review else ""),
        fix="change the column action if that is not what you want: " + ", ".join(ACTIONS),
        evidence={"left_out": out, "review": review},
        files=tuple(paths.filter((words == REVIEW).fill_null(False)).drop_nulls().head(_NAMED_FILES)),
    )


def own_level(frame: pl.DataFrame, labels: pl.Series, source: str) -> Level | None:
    """Return the naming of the classes that a proposal's `class_id` and label columns give, or None without ids.

    Args:
        labels: the labels of each row as lists of text.

    A label that someone has changed since has another row's id; each id keeps the name that most of its rows have.
    """
    column = _named(frame, "class_id")
    if column is None:
        return None
    ids = (
        frame[column]
        .cast(pl.String)
        .str.split("|")
        .list.eval(pl.element().str.strip_chars().filter(pl.element() != ""))
    )
    pairs = pl.DataFrame({"id": ids, "name": labels}).filter(pl.col("id").list.len() == pl.col("name").list.len())
    counted = pairs.explode("id", "name").drop_nulls().group_by("id", "name", maintain_order=True).len()
    first = counted.sort("len", descending=True, maintain_order=True).unique("id", keep="first", maintain_order=True)
    names = dict(first.sort("id").select("id", "name").iter_rows())
    return Level(("label", "class_id"), names, (), source, ()) if names else None


def guarded(texts: pl.Expr) -> pl.Expr:
    """Put an apostrophe before text that would start a formula in a spreadsheet, or that begins with one already."""
    risky = pl.any_horizontal([texts.str.starts_with(mark) for mark in _GUARDED])
    return pl.when(risky).then(pl.concat_str(pl.lit("'"), texts)).otherwise(texts)


def without_guards(frame: pl.DataFrame, label_name: str) -> pl.DataFrame:
    """Take the apostrophes of `guarded` off the labels and groups of a proposal read from text."""
    columns = [name for name in (label_name, _named(frame, "group")) if name is not None]
    return frame.with_columns(pl.col(name).str.replace("^'", "") for name in columns)


def _named(frame: pl.DataFrame, wanted: str) -> str | None:
    return next((column for column in frame.columns if column.strip().casefold() == wanted), None)


def _words(column: pl.Series) -> pl.Series:
    """Actions as people type them: case, underscores and hyphens aside; null where the cell is empty."""
    if column.dtype != pl.String:
        return pl.Series([None] * len(column), dtype=pl.String)
    words = column.str.to_lowercase().str.replace_all(r"[\s_-]+", " ").str.strip_chars()
    return words.set(words == "", None)
