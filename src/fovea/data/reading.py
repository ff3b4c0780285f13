"""From a path to a manifest: find the format, open every file, number the classes, say what is wrong.

The order matters. Files are opened before classes are numbered, so that a class without a single usable image is no
class; the class map is made once over all splits. Nothing is dropped: a row that cannot be used stays, with its reason.
No split is made here (see `splits`).
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.core.wording import counted
from fovea.data import decoding
from fovea.data.classmap import ClassMap, Known, build_class_map, match_class_map, split_findings
from fovea.data.formats.actions import LEFT_OUT
from fovea.data.formats.base import FORMATS, OUTSIDE, Rows
from fovea.data.formats.classfile import ClassFile, read_class_file
from fovea.data.formats.table import TABLE_SUFFIXES
from fovea.data.formats.tree import as_text, is_text, walk
from fovea.data.looks import Looks
from fovea.data.manifest import Manifest, schema
from fovea.data.scanning import Progress, scan

LAYOUTS = (
    "understood are folder/{train,val,test}/CLASS/, folder/CLASS/, a CSV, TSV or Parquet table with path,label, "
    "and lists train.txt, val.txt, test.txt with `path label` lines"
)
_NAMED_FILES = 200  # how many files a finding names; its evidence has the full count


def read(
    source: Path | str,
    *,
    label_column: str | None = None,
    classes: Path | str | None = None,
    known: Known | None = None,
    multilabel: bool = False,
    max_pixels: int = decoding.MAX_PIXELS,
    progress: Progress | None = None,
) -> Manifest:
    """Read labelled images into a manifest; see `read_with_looks` for the arguments and errors."""
    manifest, _ = read_with_looks(
        source,
        label_column=label_column,
        classes=classes,
        known=known,
        multilabel=multilabel,
        max_pixels=max_pixels,
        progress=progress,
    )
    return manifest


def read_with_looks(
    source: Path | str,
    *,
    label_column: str | None = None,
    classes: Path | str | None = None,
    known: Known | None = None,
    multilabel: bool = False,
    unlabelled: bool = False,
    max_pixels: int = decoding.MAX_PIXELS,
    ready: Callable[[], object] | None = None,
    progress: Progress | None = None,
) -> tuple[Manifest, Looks]:
    """Read labelled images into a manifest, and return the looks at the images of its table, row by row.

    Args:
        source: a folder, a table (CSV, TSV, Parquet) or a list file; the format is found by looking.
        label_column: which column of a table or list holds the label: its name, a part of it, or its number from 1.
        classes: a file that names the classes: one name a line, or a table with id and name.
        known: class names and source ids (or None) of a trained model, which labels are matched to; rows with a label
            it does not know are excluded.
        multilabel: read as multi-label even when no row has several labels (for a model that is).
        unlabelled: where no image lies in a class folder, take all as one class, for work that needs no labels.
        max_pixels: images with more pixels are excluded.
        ready: called once the files are listed and none is open yet, to raise what would else come up minutes later.
        progress: called with (files done, files in all).

    Raises:
        DataError: nothing at `source`, no format that fits, or no usable image.
    """
    source = Path(source).expanduser()
    _check_exists(source)
    class_file = read_class_file(Path(classes).expanduser()) if classes is not None else None
    rows = _read_rows(source, label_column, class_file)
    if unlabelled and rows.table["excluded"].eq_missing(OUTSIDE).all():
        rows = _one_class(rows)
    if ready:
        ready()
    multilabel = multilabel or rows.multilabel
    table = rows.table.with_row_index("row")
    table, listing_findings = _without_repeats(table)
    table, looks = _scanned(table, rows.root, max_pixels, progress)
    bare = pl.col("excluded").is_null() & pl.col("labels").is_null()
    table = table.with_columns(excluded=pl.when(bare).then(pl.lit("has no label")).otherwise("excluded"))
    usable = table.filter(pl.col("excluded").is_null())
    labels = usable["labels"].list.explode(keep_nulls=False, empty_as_null=False).unique().sort().to_list()
    class_map = match_class_map(rows, labels, known) if known is not None else build_class_map(rows, labels)
    table = _with_targets(table, class_map, multilabel=multilabel)
    findings = [*rows.findings, *listing_findings, *_exclusion_findings(table), *class_map.findings]
    manifest = Manifest(
        table.sort("row").select(name for name in schema(multilabel=multilabel) if name in table.columns),
        class_map.classes,
        class_ids=class_map.class_ids,
        root=rows.root.absolute(),
        multilabel=multilabel,
        findings=tuple(findings),
        source=str(source),
    )
    if not manifest.usable().height:
        raise _nothing_usable(manifest)
    if known is None:
        manifest = manifest.with_findings(*split_findings(manifest.counts()))
    return manifest, looks


def check_trainable(manifest: Manifest) -> None:
    """Raise `DataError` unless there are training images of at least two classes (one, if multi-label)."""
    rows = manifest.usable()
    rows = rows.filter(pl.col("split").is_null() | (pl.col("split") == "train"))
    if not rows.height:
        raise DataError("the data has no training images, only val or test", hint=LAYOUTS)
    targets = (
        rows["target"].list.explode(keep_nulls=False, empty_as_null=False) if manifest.multilabel else rows["target"]
    )
    present = [manifest.classes[index] for index in targets.unique().sort()]
    if len(present) < (1 if manifest.multilabel else 2):
        names = f" ({present[0]!r})" if present else ""
        raise DataError(
            f"a classifier needs training images of at least 2 classes; found are {counted(rows.height, 'image')} of "
            f"{counted(len(present), 'class', 'classes')}{names}",
            hint=LAYOUTS,
        )


def _check_exists(source: Path) -> None:
    if not is_text(str(source.absolute())):
        raise DataError(f"the path {as_text(str(source))} is not valid UTF-8", hint="rename the folder")
    if source.exists():
        return
    beside = sorted(path.name for path in source.parent.iterdir()) if source.parent.is_dir() else []
    near = difflib.get_close_matches(source.name, beside, n=1)
    hint = f"did you mean {source.parent / near[0]}?" if near else "check the path"
    raise DataError(f"there is nothing at {source}", hint=hint)


def _read_rows(source: Path, label_column: str | None, class_file: ClassFile | None) -> Rows:
    for entry in FORMATS:
        rows = entry.build(source, label_column=label_column, class_file=class_file)
        if rows is not None:
            if not rows.table.height:
                raise DataError(f"no images in {source}: {_survey(source)}", hint=_layouts(source))
            return rows
    if source.suffix.casefold() in decoding.SUFFIXES:
        raise DataError(f"{source} is one image, expected a folder, a table or a list of images", hint=LAYOUTS)
    raise DataError(f"{source} is neither a table nor a list of images", hint=LAYOUTS)


def _one_class(rows: Rows) -> Rows:
    """Take the images outside every class folder in, as a class of their own."""
    table = rows.table.with_columns(
        labels=pl.Series([["unlabelled"]] * rows.table.height), excluded=pl.lit(None, pl.String)
    )
    others = tuple(finding for finding in rows.findings if finding.code != "no-class")
    return replace(rows, table=table, findings=others)


def _survey(source: Path) -> str:
    """Say which kinds of files are there instead of images."""
    if not source.is_dir():
        return "it has no rows"
    tree = walk(source)
    images = sum(len(names) for names in tree.images.values())
    kinds = [f"{count:,} {suffix or 'unnamed'}" for suffix, count in Counter(tree.other).most_common(5)]
    return f"found {images:,} images" + (f", {', '.join(kinds)} files" if kinds else " and no other files")


def _layouts(source: Path) -> str:
    """Name the table that lies in a folder without class folders, else what is understood."""
    tables = [path for path in sorted(source.iterdir()) if path.suffix in TABLE_SUFFIXES] if source.is_dir() else []
    return f"{tables[0].name} lies there; to read it, pass {tables[0]}" if tables else LAYOUTS


def _scanned(table: pl.DataFrame, root: Path, max_pixels: int, progress: Progress | None) -> tuple[pl.DataFrame, Looks]:
    """Open the files of the rows that are still in; the reader's own reasons stay. The looks are those of all rows."""
    absolute = pl.col("path").str.contains(r"^/|^\w:/")
    below_root = pl.concat_str(pl.lit(f"{root.absolute()}/".replace("//", "/")), "path")
    open_rows = table.filter(pl.col("excluded").is_null()).with_columns(
        path=pl.when(absolute).then("path").otherwise(below_root)
    )
    found, looks = scan(open_rows["path"].to_list(), max_pixels=max_pixels, progress=progress)
    found = found.with_columns(open_rows["row"]).rename({"excluded": "scan_excluded"})
    scanned = (
        table.join(found, on="row", how="left", maintain_order="left")
        .with_columns(excluded=pl.coalesce("excluded", "scan_excluded"))
        .drop("scan_excluded")
    )
    return scanned, looks.spread(open_rows["row"].to_numpy(), table.height)


def _without_repeats(table: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Keep one row per path. Listed in several splits it stays in test, else val, so that nothing leaks into train.

    With different labels there is no telling which one is right, so none is used.
    """
    live = table.filter(pl.col("excluded").is_null())
    if live["path"].is_unique().all():
        return table, []
    rank = pl.col("split").replace_strict({"test": 0, "val": 1, "train": 2}, default=3, return_dtype=pl.Int8)
    repeated = live.filter(pl.col("path").is_duplicated()).with_columns(
        rank=rank, key=pl.col("labels").list.sort().list.join("|").fill_null("")
    )
    judged = repeated.sort("rank", "row").with_columns(
        contradicts=pl.col("key").n_unique().over("path") > 1,
        across=pl.col("split").n_unique().over("path") > 1,
        kept=pl.col("row") == pl.col("row").first().over("path"),
        where=pl.format(
            "is listed again, kept in {}", pl.col("split").first().over("path").fill_null("its first place")
        ),
    )
    reasons = judged.select(
        "row",
        reason=pl.when("contradicts")
        .then(pl.lit("is listed with different labels"))
        .when(~pl.col("kept"))
        .then(pl.when("across").then("where").otherwise(pl.lit("is listed twice"))),
    )
    table = (
        table.join(reasons, on="row", how="left", maintain_order="left")
        .with_columns(excluded=pl.coalesce("excluded", "reason"))
        .drop("reason")
    )
    paths = judged.sort("row")["path"].unique(maintain_order=True)
    conflicts = judged.filter("contradicts")["path"].n_unique()
    across = judged.filter(pl.col("across") & ~pl.col("contradicts"))["path"].n_unique()
    parts = [f"{len(paths):,} files are listed more than once and count once"]
    if across:
        parts.append(f"{across:,} of them in several splits, kept in the one that is evaluated")
    if conflicts:
        parts.append(f"{conflicts:,} with different labels, left out")
    finding = Finding(
        severity="warning",
        code="duplicate-path",
        message="; ".join(parts),
        fix="list each file once; join several labels of one image as a|b",
        evidence={"files": len(paths), "across_splits": across, "contradicting": conflicts},
        files=tuple(paths.head(_NAMED_FILES)),
    )
    return table, [finding]


def _with_targets(table: pl.DataFrame, class_map: ClassMap, *, multilabel: bool) -> pl.DataFrame:
    """Number the labels; rows that are in and have a label without number are excluded."""
    position = dict(class_map.position)
    numbers = pl.DataFrame(
        {"label": list(position), "number": list(position.values())}, schema={"label": pl.String, "number": pl.Int32}
    )
    long = table.select("row", label="labels").explode("label", keep_nulls=False, empty_as_null=False)
    long = long.join(numbers, on="label", how="left", maintain_order="left")
    whole = long.group_by("row").agg(
        target=pl.col("number").unique().sort(),
        unknown=pl.col("label").filter(pl.col("number").is_null()).first(),
    )
    table = table.join(whole, on="row", how="left", maintain_order="left").with_columns(
        target=pl.when(pl.col("labels").is_null() | pl.col("unknown").is_not_null())
        .then(None)
        .otherwise(pl.col("target").fill_null(pl.lit([], pl.List(pl.Int32)))),
        excluded=pl.when(pl.col("excluded").is_null() & pl.col("unknown").is_not_null())
        .then(pl.format("is labelled {}, which the model does not know", "unknown"))
        .otherwise("excluded"),
    )
    return table if multilabel else table.with_columns(pl.col("target").list.first())


def _exclusion_findings(table: pl.DataFrame) -> list[Finding]:
    out = table.filter(pl.col("excluded").is_not_null())
    unlabelled = out.filter(pl.col("excluded") == "has no label")
    unknown = out.filter(pl.col("unknown").is_not_null() & pl.col("excluded").str.starts_with("is labelled"))
    told = pl.col("excluded").str.starts_with("is listed") | (pl.col("excluded") == OUTSIDE)
    told |= pl.col("excluded").str.starts_with(LEFT_OUT)
    rest = out.join(pl.concat([unlabelled, unknown]), on="row", how="anti", maintain_order="left").filter(~told)
    stray = rest.filter(pl.col("excluded").str.starts_with("is in split"))
    unreadable = rest.filter(~pl.col("excluded").str.starts_with("is in split"))
    findings = []
    if unreadable.height:
        findings.append(
            _left_out("unreadable", unreadable, table.height, "cannot be used", "replace the files or remove them")
        )
    if unlabelled.height:
        findings.append(_left_out("no-label", unlabelled, table.height, "have no label", "label them or remove them"))
    if stray.height:
        fix = "write train, val or test"
        findings.append(_left_out("unknown-split", stray, table.height, "belong to no known split", fix))
    if unknown.height:
        names = unknown["unknown"].unique().sort().to_list()
        listing = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        findings.append(
            Finding(
                severity="warning",
                code="class-map",
                message=f"{unknown.height:,} of {table.height:,} images have labels that the model does not know "
                f"and are left out: {listing}",
                fix="rename the labels to the model's classes, or train a model on them",
                evidence={"count": unknown.height, "labels": names[:_NAMED_FILES]},
                files=tuple(unknown["path"].head(_NAMED_FILES)),
            )
        )
    return findings


def _left_out(code: str, rows: pl.DataFrame, total: int, what: str, fix: str) -> Finding:
    named = [f"{path} {reason}" for path, reason in rows.select("path", "excluded").head(3).iter_rows()]
    more = f" and {rows.height - 3:,} more" if rows.height > 3 else ""
    reasons = rows["excluded"].value_counts(sort=True).head(20)
    return Finding(
        severity="warning",
        code=code,
        message=f"{rows.height:,} of {total:,} images {what} and are left out: {'; '.join(named)}{more}",
        fix=fix,
        evidence={"count": rows.height, "reasons": dict(reasons.iter_rows())},
        files=tuple(rows["path"].head(_NAMED_FILES)),
    )


def _nothing_usable(manifest: Manifest) -> DataError:
    reasons = manifest.table["excluded"].value_counts(sort=True).head(3)
    first = manifest.table.row(0, named=True)
    listing = ", ".join(f"{count:,} × {reason}" for reason, count in reasons.iter_rows())
    message = f"none of the {manifest.table.height:,} images of {manifest.source} can be used: {listing}"
    if manifest.table.height == 1:
        message = f"the only image of {manifest.source} cannot be used: {first['path']} {first['excluded']}"
    if first["excluded"] == "is missing":
        return DataError(message, hint=f"paths start from {manifest.root}; the first one is {first['path']!r}")
    if manifest.table["bytes"].count() and not manifest.table["width"].count():  # opened, and none held a picture
        return DataError(message, hint="replace the files, or name another folder")
    return DataError(message, hint=_layouts(Path(manifest.source)))
