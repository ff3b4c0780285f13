"""Predictions as CSV, JSON or Parquet, to standard output or to a file, one after the other as they come.

A file appears whole or not at all. Which image a row is about, what the model said, and if it could not be read why:
columns `path`, `label` (`labels`, joined by `|`, when there are several an image), `probability`, the next likeliest
classes as `label_2`, `probability_2`, …, and `error`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fovea.core.errors import DataError
from fovea.core.files import atomic_open
from fovea.evaluation.predicting import Prediction, Probabilities

FORMATS = ("csv", "json", "parquet")

Row = dict[str, Any]
_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Tally:
    """How many images were classified and how many could not be read."""

    done: int
    failed: int


def write_predictions(
    results: Iterable[tuple[Path | str, Probabilities | DataError]],
    *,
    classes: Sequence[str],
    format: str = "csv",
    output: Path | None = None,
    top_k: int = 1,
    threshold: float | None = None,
) -> Tally:
    """Write what `Predictor.probabilities` yields and return how many there were.

    Args:
        results: (path, probabilities (C,) or the error), consumed one at a time.
        classes: the C names.
        format: "csv", "json" (one array of objects) or "parquet".
        output: the file, written atomically; standard output when None.
        top_k: how many of the likeliest classes to give, at most C.
        threshold: set for several labels an image; see `Prediction`.

    Raises:
        ValueError: an unknown format, or `top_k` below 1.
    """
    if format not in FORMATS or top_k < 1:
        raise ValueError(f"format is {format!r} and top_k {top_k}; expected one of {FORMATS} and at least 1")
    counts = {True: 0, False: 0}
    top_k = min(top_k, len(classes))

    def rows() -> Iterator[Row]:
        for path, result in results:
            counts[isinstance(result, DataError)] += 1
            yield _row(path, result, tuple(classes), top_k, threshold)

    columns = _columns(top_k, several=threshold is not None)
    with _opened(output) as file:
        if format == "csv":
            _write_csv(rows(), file, columns)
        elif format == "json":
            _write_json(rows(), file)
        else:
            _write_parquet(rows(), file, columns)
    return Tally(done=counts[False], failed=counts[True])


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with atomic_open(output, "wb") as file:
            yield file


def _row(
    path: Path | str, result: Probabilities | DataError, classes: tuple[str, ...], top_k: int, threshold: float | None
) -> Row:
    several = threshold is not None
    row: Row = {"path": _text(str(path)), "labels" if several else "label": None, "probability": None, "top": []}
    if isinstance(result, DataError):
        return {**row, "error": _text(result.message)}
    prediction = Prediction(result, classes, threshold)
    row["labels" if several else "label"] = list(prediction.labels) if several else prediction.label
    row["probability"] = prediction.probability
    row["top"] = [{"label": name, "probability": share} for name, share in prediction.top(top_k)]
    return {**row, "error": None}


def _text(text: str) -> str:
    """Make file names that are not valid UTF-8 writable: their odd bytes are shown as `\\udcNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _columns(top_k: int, *, several: bool) -> list[str]:
    # With several labels an image the likeliest classes are all spelt out: `labels` may be empty or hold many.
    following = range(1 if several else 2, top_k + 1)
    extra = [f"{name}_{rank}" for rank in following for name in ("label", "probability")]
    return ["path", "labels", *extra, "error"] if several else ["path", "label", "probability", *extra, "error"]


def _flat(row: Row, columns: list[str]) -> Row:
    flat = {**row, "labels": "|".join(row.get("labels") or ()) if row["error"] is None else None}
    for rank, item in enumerate(row["top"], start=1):
        flat |= {f"label_{rank}": item["label"], f"probability_{rank}": item["probability"]}
    return {name: flat.get(name) for name in columns}


def _write_csv(rows: Iterator[Row], file: IO[bytes], columns: list[str]) -> None:
    file.write(_csv_line(columns))
    for row in rows:
        file.write(_csv_line(list(_flat(row, columns).values())))


def _csv_line(values: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([_cell(value) for value in values])  # quotes \r and \n only if its lines end in both
    return text.getvalue().removesuffix("\r\n").encode("utf-8") + b"\n"


def _cell(value: Any) -> Any:
    """Keep spreadsheets from running a file name: text that would start a formula gets a leading apostrophe.

    The characters are those of OWASP's page on CSV injection. Floats are written by `repr`: every digit.
    """
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return "'" + value
    return repr(value) if isinstance(value, float) else value


def _write_json(rows: Iterator[Row], file: IO[bytes]) -> None:
    separator = "[\n"
    for row in rows:
        file.write((separator + json.dumps(row, ensure_ascii=False, allow_nan=False)).encode("utf-8"))
        separator = ",\n"
    file.write(b"\n]\n" if separator != "[\n" else b"[]\n")


def _write_parquet(rows: Iterator[Row], file: IO[bytes], columns: list[str]) -> None:
    """Write parts of `_CHUNK_ROWS` rows to a temporary folder and join them: polars cannot append to a Parquet file."""
    import polars

    kinds = {name: polars.Float64 if name.startswith("probability") else polars.String for name in columns}
    with tempfile.TemporaryDirectory(prefix="fovea-") as folder:
        parts = [Path(folder) / "0.parquet"]
        polars.DataFrame(schema=kinds).write_parquet(parts[0])
        while chunk := [_flat(row, columns) for row in itertools.islice(rows, _CHUNK_ROWS)]:
            parts.append(Path(folder) / f"{len(parts)}.parquet")
            polars.DataFrame(chunk, schema=kinds).write_parquet(parts[-1])
        whole = Path(folder) / "whole.parquet"
        polars.scan_parquet(parts).sink_parquet(whole)
        with open(whole, "rb") as joined:
            shutil.copyfileobj(joined, file)
