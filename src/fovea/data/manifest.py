"""What the data is: one table of images with their targets and splits, the class list, a fingerprint.

Every format is read into a `Manifest`, and everything after reading works from one. It holds facts and never changes:
reading fills it (`reading`), a split is added by making another (`splits`). It opens no image itself.
"""

from __future__ import annotations

import io
import json
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fovea.core.errors import DataError
from fovea.core.files import digest, plain, write_bytes
from fovea.core.findings import Finding

SPLITS = ("train", "val", "test")
VERSION = 1
_KEY = "fovea.manifest"


def schema(*, multilabel: bool) -> dict[str, Any]:
    """Return the columns of a manifest's table with their polars types."""
    return {
        "path": pl.String,  # relative to the root with '/', or absolute
        "target": pl.List(pl.Int32) if multilabel else pl.Int32,
        "split": pl.String,
        "group": pl.String,
        "width": pl.Int32,  # pixels, after EXIF orientation
        "height": pl.Int32,
        "bytes": pl.Int64,
        "digest": pl.String,
        "excluded": pl.String,
        "fold": pl.Int32,  # 0 to k-1 where the data is folded (`splits.with_folds`), else null
        "together": pl.Int32,  # number of a group of look-alikes that no split may part; null stands alone
        "taken_s": pl.Float64,  # when the image was taken, seconds; null where unknown or not asked for
    }


@dataclass(frozen=True, eq=False)  # tables have no plain equality; compare fingerprints
class Manifest:
    """A table of images, immutable.

    Args:
        table: one row per image; columns as in `schema`. `excluded` is null, or says in words why a row is left out.
        classes: class names; `target` holds positions in it.
        class_ids: the ids that the source used for the classes, in the same order, when it used ids.
        root: the folder that relative paths start from.
        multilabel: whether `target` is a list of classes.
        findings: what reading and splitting learnt about the data.
        source: the path that was read.

    >>> table = pl.DataFrame({"path": ["a.png", "b.png"], "target": [0, 1], "split": ["train", "val"]})
    >>> manifest = Manifest(table, ("cat", "dog"), root=Path("photos"))
    >>> manifest.usable("val")["path"].to_list()
    ['b.png']
    >>> manifest.targets()
    array([0, 1])
    """

    table: pl.DataFrame
    classes: tuple[str, ...]
    _: KW_ONLY
    root: Path
    class_ids: tuple[str, ...] | None = None
    multilabel: bool = False
    findings: tuple[Finding, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        columns = schema(multilabel=self.multilabel)
        if unknown := set(self.table.columns) - set(columns):
            raise ValueError(f"a manifest has no column {sorted(unknown)}; its columns are {list(columns)}")
        if self.class_ids is not None and len(self.class_ids) != len(self.classes):
            raise ValueError(f"{len(self.class_ids)} class ids for {len(self.classes)} classes; expected one each")
        full = self.table.select(
            self.table[name].cast(kind) if name in self.table.columns else pl.lit(None, dtype=kind).alias(name)
            for name, kind in columns.items()
        )
        object.__setattr__(self, "table", full)
        object.__setattr__(self, "root", Path(self.root))

    def usable(self, split: str | None = None) -> pl.DataFrame:
        """Return the rows that are not excluded: all of them, or those of one split."""
        rows = self.table.filter(pl.col("excluded").is_null())
        if split is None:
            return rows
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {SPLITS}")
        return rows.filter(pl.col("split") == split)

    def excluded(self) -> pl.DataFrame:
        """Return the rows that are left out."""
        return self.table.filter(pl.col("excluded").is_not_null())

    def has_split(self, split: str) -> bool:
        """Return whether any usable row belongs to `split`."""
        return self.usable(split).height > 0

    def absolute(self, path: str) -> Path:
        """Return the absolute path of one value of the column `path`."""
        return (self.root / path).absolute()

    def paths(self, rows: pl.DataFrame | None = None) -> list[Path]:
        """Return the absolute paths of `rows` (default: all usable ones), in order."""
        base = self.root.absolute()
        return [base / path for path in (self.usable() if rows is None else rows)["path"]]

    def targets(self, rows: pl.DataFrame | None = None) -> np.ndarray:
        """Return the targets of `rows` (default: all usable ones).

        Returns:
            (N,) int64 class positions; for multi-label data (N, C) uint8, 1 where a class is present.
        """
        column = (self.usable() if rows is None else rows)["target"]
        if column.null_count():
            raise ValueError(f"{column.null_count()} of the rows have no target; pass usable rows")
        if not self.multilabel:
            return column.to_numpy().astype(np.int64)
        matrix = np.zeros((len(column), len(self.classes)), dtype=np.uint8)
        lengths = column.list.len().to_numpy()
        matrix[np.repeat(np.arange(len(column)), lengths), column.list.explode(empty_as_null=False).to_numpy()] = 1
        return matrix

    def counts(self) -> pl.DataFrame:
        """Return usable images per class and split: columns `class`, then each split that occurs (else `unsplit`).

        A multi-label image counts once for each of its classes.
        """
        rows = self.usable().select("target", pl.col("split").fill_null("unsplit"))
        if self.multilabel:
            rows = rows.explode("target", empty_as_null=False)
        present = set(rows["split"].unique())
        names = [name for name in (*SPLITS, "unsplit") if name in present]
        tables = rows.group_by("target").agg(
            (pl.col("split") == name).sum().cast(pl.Int64).alias(name) for name in names
        )
        order = pl.DataFrame(
            {"class": self.classes, "target": range(len(self.classes))}, schema={"class": pl.String, "target": pl.Int32}
        )
        return order.join(tables, on="target", how="left", maintain_order="left").drop("target").fill_null(0)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what the usable images are: their content, targets, splits, folds and the class names.

        It does not depend on where the folder lies, on file names or on the order of rows.
        """
        target = pl.col("target")
        if self.multilabel:
            target = target.list.sort().cast(pl.List(pl.String)).list.join("|")
        parts = [pl.coalesce("digest", "path"), target.cast(pl.String).fill_null(""), pl.col("split").fill_null("")]
        if self.table["fold"].count():
            parts.append(pl.col("fold").cast(pl.String).fill_null(""))
        lines = self.usable().select(line=pl.concat_str(*parts, separator=" "))
        return digest(*self.classes, "\n".join(lines["line"].sort()))

    def with_findings(self, *findings: Finding) -> Manifest:
        """Return a manifest with more findings."""
        return replace(self, findings=(*self.findings, *findings))

    def save(self, path: Path | str) -> None:
        """Write the manifest to one Parquet file, atomically; what is not tabular goes into the file's metadata."""
        about = {
            "version": VERSION,
            "classes": self.classes,
            "class_ids": self.class_ids,
            "root": str(self.root.absolute()),
            "multilabel": self.multilabel,
            "findings": [finding.as_dict() for finding in self.findings],
            "source": self.source,
        }
        content = io.BytesIO()
        self.table.write_parquet(content, metadata={_KEY: json.dumps(plain(about), ensure_ascii=False)})
        write_bytes(path, content.getvalue())

    @classmethod
    def load(cls, path: Path | str) -> Manifest:
        """Read a manifest that `save` wrote; raises `DataError` where the file is missing, damaged or another kind."""
        path = Path(path)
        again = "read the data again: fovea.read(DATA).save(PATH)"
        if not path.is_file():
            raise DataError(f"no manifest at {path}", hint=again)
        try:
            content = path.read_bytes()
            about = json.loads(pl.read_parquet_metadata(io.BytesIO(content)).get(_KEY, "null"))
            table = pl.read_parquet(io.BytesIO(content))
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise DataError(f"the manifest {path} is damaged: {error}", hint=again) from error
        if about is None:
            raise DataError(f"{path} is a Parquet file, not a manifest of fovea", hint=again)
        if about["version"] != VERSION:
            raise DataError(f"{path} has version {about['version']}; this fovea reads version {VERSION}", hint=again)
        return cls(
            table,
            tuple(about["classes"]),
            root=Path(about["root"]),
            class_ids=None if about["class_ids"] is None else tuple(about["class_ids"]),
            multilabel=about["multilabel"],
            findings=tuple(Finding.from_dict(values) for values in about["findings"]),
            source=about["source"],
        )
