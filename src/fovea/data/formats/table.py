"""Tables: CSV, TSV or Parquet with a path and a label per row, and perhaps a split and a group.

Columns are found by name (`path` or `image`, `label` or `class` …) or chosen; labels are names, ids, `a|b` or, in
Parquet, lists. Paths are relative to the table's folder. Cells stay text, so that `007` keeps its zeros. Nothing but
the table itself is opened.

A table may also say which rows to leave out and why, as the audit's proposal does (see `actions`).
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.data.decoding import SUFFIXES
from fovea.data.formats.actions import finding_on, is_proposal, own_level, reasons_to_leave_out, without_guards
from fovea.data.formats.base import FORMATS, ROW_SCHEMA, Rows, choose_column, naming, split_of, tidy_paths
from fovea.data.formats.classfile import ClassFile
from fovea.data.formats.text import lines_of, read_text

_PARQUET = (".parquet", ".pq")
TABLE_SUFFIXES = (".csv", ".tsv", ".tab", *_PARQUET)
_PATH_NAMES = (
    "path",
    "image",
    "file",
    "filename",
    "filepath",
    "image_path",
    "file_path",
    "image_file",
    "file_name",
    "img",
)
_LABEL_NAMES = ("label", "class", "target", "category", "labels", "class_name", "classes")
_SPLIT_COLUMNS = ("split", "subset", "set", "partition")
_GROUP_COLUMNS = ("group", "group_id", "groups")
_INTEGERS = r"^-?\d+$"
_WHOLE_FLOATS = r"^-?\d+\.0+$"


@FORMATS.register("table", summary="CSV, TSV or Parquet with path, label and perhaps split and group")
def read_table(source: Path, *, label_column: str | None, class_file: ClassFile | None) -> Rows | None:
    """Read a table; see the module's docstring. A CSV file without a header is left to the list files."""
    suffix = source.suffix.casefold()
    if not source.is_file() or suffix not in TABLE_SUFFIXES:
        return None
    frame = _read_parquet(source) if suffix in _PARQUET else _read_text_table(source)
    if frame is None:
        return None
    path_name = _find(frame, _PATH_NAMES)
    if path_name is None:
        raise DataError(
            f"{source.name} has no column for the image path; it has {_listing(frame)}",
            hint=f"name the column one of {', '.join(_PATH_NAMES[:5])}",
        )
    label_name = _label_name(frame, source, path_name, label_column)
    proposed = is_proposal(frame)
    if proposed and suffix not in _PARQUET:
        frame = without_guards(frame, label_name)
    labels, multilabel = _labels(frame[label_name])
    reasons = reasons_to_leave_out(frame, source.name) if proposed else None
    table, findings = _rows(frame, source, path_name, labels, reasons)
    if proposed:
        findings.append(finding_on(frame, frame[path_name], source.name))
    texts = table["labels"].list.explode(keep_nulls=False, empty_as_null=False)
    chosen, required = naming(class_file, source.parent)
    level = chosen.levels[0] if chosen else None
    if proposed and not required:
        level = own_level(frame, labels, source.name) or level
    return Rows(
        table=table,
        root=source.parent,
        labels_are_ids=len(texts) > 0 and bool(texts.str.contains(_INTEGERS).all()),
        multilabel=multilabel,
        level=level,
        level_required=required,
        findings=tuple(findings),
    )


def _read_parquet(source: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(source, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{source} is not a readable Parquet file: {error}", hint="write it again") from error


def _read_text_table(source: Path) -> pl.DataFrame | None:
    text = read_text(source)
    header = next((line for line in lines_of(text) if line.strip()), "")
    if not header:
        raise DataError(f"the table {source} is empty", hint="its first line names the columns: path,label")
    separator = _separator(header, source.suffix.casefold())
    cells = next(csv.reader([header], delimiter=separator))
    if any(Path(cell.strip()).suffix.casefold() in SUFFIXES for cell in cells):
        return None
    try:
        # Text is handed over with plain line ends, since a quoted cell may hold one and a lone \r ends no line there.
        content = "\n".join(lines_of(text)).encode("utf-8")
        return pl.read_csv(io.BytesIO(content), separator=separator, infer_schema=False, raise_if_empty=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{source} cannot be read as a table{_where(text, separator)}",
            hint='put cells that hold the separator or a quote into "quotes"',
        ) from error


def _separator(header: str, suffix: str) -> str:
    if suffix != ".csv":
        return "\t"
    known = {*_PATH_NAMES, *_LABEL_NAMES}

    def hits(separator: str) -> int:
        return sum(cell.strip().casefold() in known for cell in next(csv.reader([header], delimiter=separator)))

    return max(",;\t|", key=hits)


def _where(text: str, separator: str) -> str:
    """Say which line has another number of cells than the header."""
    width = 0
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    for cells in reader:
        width = width or len(cells)
        if cells and len(cells) > width:
            return f": line {reader.line_num} has {len(cells)} cells, the header has {width}"
    return ""


def _listing(frame: pl.DataFrame) -> str:
    return ", ".join(repr(name) for name in frame.columns[:20])


def _find(frame: pl.DataFrame, names: tuple[str, ...]) -> str | None:
    present = {column.strip().casefold(): column for column in reversed(frame.columns)}
    return next((present[name] for name in names if name in present), None)


def _label_name(frame: pl.DataFrame, source: Path, path_name: str, wanted: str | None) -> str:
    if wanted is not None:
        others = [column for column in frame.columns if column != path_name]
        return others[choose_column(wanted, [[column] for column in others])]
    found = _find(frame, _LABEL_NAMES)
    if found is None:
        raise DataError(
            f"{source.name} has no column for the label; it has {_listing(frame)}",
            hint="choose one with label_column (data.label_column)",
        )
    return found


def _labels(column: pl.Series) -> tuple[pl.Series, bool]:
    """Return the labels of each row as a list of text, null where there are none, and whether rows may have several."""
    if isinstance(column.dtype, pl.List):
        texts = column.cast(pl.List(pl.String)).rename("labels")
        return texts.list.eval(pl.element().str.strip_chars()).list.unique(maintain_order=True), True
    if isinstance(column.dtype, (pl.Struct, pl.Array, pl.Binary)):
        raise DataError(
            f"the column {column.name!r} holds {column.dtype}, not labels", hint="choose another label_column"
        )
    texts = _nonblank(column.cast(pl.String))
    given = texts.drop_nulls()
    if len(given) and given.str.contains(f"{_INTEGERS}|{_WHOLE_FLOATS}").all():
        texts = texts.str.replace(r"\.0+$", "")  # a column of ids with a gap in it comes as floats
    multilabel = bool(given.str.contains("|", literal=True).any())
    if not multilabel:
        return pl.select(pl.when(texts.is_not_null()).then(pl.concat_list(texts))).to_series().rename("labels"), False
    parts = (
        texts.str.split("|")
        .list.eval(pl.element().str.strip_chars())
        .list.eval(pl.element().filter(pl.element() != ""))
    )
    return parts.list.unique(maintain_order=True).rename("labels"), True


def _rows(
    frame: pl.DataFrame, source: Path, path_name: str, labels: pl.Series, reasons: pl.Series | None
) -> tuple[pl.DataFrame, list[Finding]]:
    if isinstance(frame[path_name].dtype, (pl.Struct, pl.Binary, pl.List, pl.Array)):
        raise DataError(
            f"the column {path_name!r} of {source.name} holds {frame[path_name].dtype}, not paths",
            hint="write the images to files and their paths into the table",
        )
    split_name, group_name = _find(frame, _SPLIT_COLUMNS), _find(frame, _GROUP_COLUMNS)
    blank = pl.Series([None] * frame.height, dtype=pl.String)
    table = pl.DataFrame(
        {
            "path": _nonblank(frame[path_name].cast(pl.String)),
            "labels": labels,
            "split": _nonblank(frame[split_name].cast(pl.String)) if split_name else blank,
            "group": _nonblank(frame[group_name].cast(pl.String)) if group_name else blank,
            "excluded": blank if reasons is None else reasons,
        },
        schema=ROW_SCHEMA,
    )
    nameless = table.filter(pl.col("path").is_null() & pl.col("labels").is_not_null()).height
    findings = []
    if nameless:
        findings.append(
            Finding(
                severity="warning",
                code="bad-line",
                message=f"{nameless:,} rows of {source.name} have a label and no path",
                fix="fill in the paths",
                evidence={"count": nameless},
            )
        )
    table = table.filter(pl.col("path").is_not_null())
    written = table["split"].unique().drop_nulls().to_list()
    known = {text: split for text in written if (split := split_of(text))}
    if written and not known:
        held = ", ".join(map(repr, sorted(written)[:5]))
        raise DataError(
            f"the column {split_name!r} of {source.name} names no split; it holds {held}",
            hint="write train, val or test, or rename the column",
        )
    stray = pl.col("split").is_not_null() & ~pl.col("split").is_in(list(known))
    reason = pl.format("is in split {}, which is not train, val or test", "split")
    return (
        table.with_columns(
            excluded=pl.coalesce("excluded", pl.when(stray).then(reason)),
            split=pl.col("split").replace_strict(known, default=None, return_dtype=pl.String),
            path=tidy_paths(table["path"], source.parent),
        ),
        findings,
    )


def _nonblank(texts: pl.Series) -> pl.Series:
    trimmed = texts.str.strip_chars()
    return trimmed.set(trimmed == "", None)
