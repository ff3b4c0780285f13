"""List files in Caffe's style: `path label` a line, split by spaces or commas, perhaps with further label columns.

A source is one list, or a folder that holds `train.txt`, `val.txt` or `test.txt`. Paths may hold spaces and commas:
what follows the ending of the image's name are the labels. Images that lie in the folder and in no list are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.data.decoding import SUFFIXES
from fovea.data.formats.base import FORMATS, ROW_SCHEMA, Rows, choose_column, naming, split_of, tidy_paths
from fovea.data.formats.classfile import ClassFile, Level
from fovea.data.formats.text import lines_of, read_text
from fovea.data.formats.tree import walk

_LIST_SUFFIXES = (".txt", ".lst", ".list")
_ENDINGS = "|".join(sorted((suffix[1:] for suffix in SUFFIXES), reverse=True))  # `jpeg` before `jpe`
_LINE = rf'(?i)^\s*"?(.*\.(?:{_ENDINGS}))"?(?:(\s*[,;\t]\s*|\s+)(\S.*?))?\s*$'
_LINE_WITHOUT_ENDING = r'^\s*"?(.*?[^",;\s])"?(\s*[,;\t]\s*|\s+)(-?\d+(?:[\s,;]+-?\d+)*)\s*$'
_SNIFFED_LINES = 200


@dataclass(frozen=True)
class _List:
    """One parsed list: `lines` has the columns number, path, separator, labels; `header` names label columns."""

    path: Path
    lines: pl.DataFrame
    header: tuple[str, ...]
    bad: tuple[int, ...]


@FORMATS.register("listfile", summary="train.txt, val.txt, test.txt with `path label` lines, as Caffe has them")
def read_listfile(source: Path, *, label_column: str | None, class_file: ClassFile | None) -> Rows | None:
    """Read one list or the lists in a folder; see the module's docstring."""
    if source.is_dir():
        paths = [path for path in sorted(source.iterdir()) if _is_split_list(path)]
        root = source
    else:
        paths = [source] if _looks_like_list(source, least_labelled=0) else []
        root = source.parent
    if not paths:
        return None
    lists = [_parse(path) for path in paths]
    lines = pl.concat([one.lines.with_columns(split=pl.lit(split_of(one.path.stem), pl.String)) for one in lists])
    if lines["labels"].null_count() == lines.height:
        raise DataError(
            f"{source.name} lists {lines.height:,} images without labels",
            hint="each line is `path label`, or `path, label`",
        )
    chosen, required = naming(class_file, root)
    header = next((one.header for one in lists if one.header), ())
    columns = _label_columns(lines, split_words=label_column is not None)
    index = _choose(label_column, columns, header, chosen)
    labels = columns[index].rename("label")
    table = lines.with_columns(labels).select(
        tidy_paths(lines["path"].str.strip_chars(), root),
        pl.when(pl.col("label").is_not_null()).then(pl.col("label").str.split("|")).alias("labels"),
        "split",
        pl.lit(None, pl.String).alias("group"),
        pl.lit(None, pl.String).alias("excluded"),
    )
    given = table["labels"].list.explode(keep_nulls=False, empty_as_null=False)
    return Rows(
        table=table.cast(pl.Schema(ROW_SCHEMA)),
        root=root,
        labels_are_ids=bool(given.str.contains(r"^-?\d+$").all()),
        multilabel=bool((table["labels"].list.len() > 1).any()),
        level=_level(chosen, index, required),
        level_required=required,
        findings=tuple(_findings(source, lists, table)),
    )


def _is_split_list(path: Path) -> bool:
    named = path.suffix.casefold() in _LIST_SUFFIXES and split_of(path.stem) is not None
    return named and path.is_file() and _looks_like_list(path, least_labelled=0.5)


def _looks_like_list(path: Path, *, least_labelled: float) -> bool:
    """Whether most of the first lines name an image, and a share of at least `least_labelled` gives it a label."""
    if path.suffix.casefold() in SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(64 * 1024)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    if b"\0" in start.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff") and not start.startswith(
        (b"\xff\xfe", b"\xfe\xff")
    ):
        return False
    lines = _matched(
        [line for line in lines_of(read_text(path))[: 4 * _SNIFFED_LINES] if line.strip()][:_SNIFFED_LINES]
    )
    named = lines.height - lines["path"].null_count()
    labelled = lines.height - lines["labels"].null_count()
    return named > 0 and named >= lines.height / 2 and labelled >= least_labelled * lines.height


def _matched(lines: list[str]) -> pl.DataFrame:
    """Return number (from 1), path, separator and labels of each line; null path where the line is something else."""
    frame = pl.DataFrame({"line": lines}, schema={"line": pl.String}).with_row_index("number", offset=1)
    frame = frame.filter((pl.col("line").str.strip_chars() != "") & ~pl.col("line").str.contains(r"^\s*#(?:\s|$)"))
    found = frame["line"].str.extract_groups(_LINE).struct.rename_fields(["path", "separator", "labels"])
    if found.struct.field("path").null_count() == frame.height:  # a list of names without endings
        found = (
            frame["line"].str.extract_groups(_LINE_WITHOUT_ENDING).struct.rename_fields(["path", "separator", "labels"])
        )
    return frame.with_columns(found.struct.unnest()).drop("line")


def _parse(path: Path) -> _List:
    texts = lines_of(read_text(path))
    matched = _matched(texts)
    bad = matched.filter(pl.col("path").is_null())["number"].to_list()
    header: tuple[str, ...] = ()
    if bad and bad[0] == matched["number"][0]:
        cells = [cell.strip() for cell in texts[bad[0] - 1].replace(";", ",").replace("\t", ",").split(",")]
        cells = cells if len(cells) > 1 else cells[0].split()
        if len(cells) > 1:
            header, bad = tuple(cells[1:]), bad[1:]
    return _List(path, matched.filter(pl.col("path").is_not_null()), header, tuple(bad))


def _label_columns(lines: pl.DataFrame, *, split_words: bool) -> list[pl.Series]:
    """Split what follows the path into columns, as many as every labelled line has.

    Words are split at spaces only when the first of them is a whole number in every line, or when a column was asked
    for: `golden retriever` is one label.
    """
    labels = lines["labels"].str.strip_chars()
    given = labels.drop_nulls()
    for mark in (",", ";", "\t"):
        if (
            lines["separator"].drop_nulls().str.contains(mark, literal=True).any()
            or given.str.contains(mark, literal=True).all()
        ):
            return _split(labels.str.replace_all(rf"\s*{mark}\s*", mark), mark)
    if given.str.contains(r"^-?\d+(?:\s|$)").all() or split_words:
        return _split(labels.str.replace_all(r"\s+", " "), " ")
    return [labels]


def _split(labels: pl.Series, mark: str) -> list[pl.Series]:
    parts = labels.str.split(mark)
    width = int(parts.drop_nulls().list.len().min() or 1)  # type: ignore[arg-type]
    pieces = labels.str.splitn(mark, width + 1).struct
    columns = [pieces.field(name).str.strip_chars().str.strip_chars('"') for name in pieces.fields[:width]]
    return [column.set(column == "", None) for column in columns]


def _choose(wanted: str | None, columns: list[pl.Series], header: tuple[str, ...], chosen: ClassFile | None) -> int:
    if wanted is None:
        return 0
    levels = chosen.levels if chosen else ()
    names: list[list[str]] = []
    for index in range(len(columns)):
        named = list(header[index : index + 1])
        if index < len(levels) and len(levels) > 1:
            named.extend(levels[index].headers)
        names.append(named)
    return choose_column(wanted, names)


def _level(chosen: ClassFile | None, index: int, required: bool) -> Level | None:
    """Return the naming of a label column: the one at its place; a class file with a single one names the first."""
    if chosen is None:
        return None
    if required and len(chosen.levels) == 1:
        return chosen.levels[0]
    return chosen.levels[index] if index < len(chosen.levels) else None


def _findings(source: Path, lists: list[_List], table: pl.DataFrame) -> list[Finding]:
    findings = []
    for one in lists:
        if one.bad:
            numbers = ", ".join(map(str, one.bad[:5])) + (" …" if len(one.bad) > 5 else "")
            findings.append(
                Finding(
                    severity="warning",
                    code="bad-line",
                    message=f"{len(one.bad):,} lines of {one.path.name} name no image and were skipped: line {numbers}",
                    fix="write `path label`",
                    evidence={"file": one.path.name, "lines": list(one.bad[:200])},
                )
            )
    if not source.is_dir():
        return findings
    listed = set(table["path"])
    lying = [f"{folder}/{name}" if folder else name for folder, names in walk(source).images.items() for name in names]
    unlisted = sum(path not in listed for path in lying)
    names = " and ".join(one.path.name for one in lists)
    if lying:
        findings.append(
            Finding(
                severity="note",
                code="list-files",
                message=f"{names} decide which images are used; {unlisted:,} images in the folder are in no list",
                fix="to use the folders instead, read one of them or move the lists away",
                evidence={"lists": [one.path.name for one in lists], "unlisted": unlisted},
            )
        )
    return findings
