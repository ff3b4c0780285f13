"""`fovea predict`: what the model says about files, folders and globs; keeps going past files it cannot read."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fovea.cli.options import RunFolder


class Format(StrEnum):
    """How predictions are written."""

    csv = "csv"
    json = "json"
    parquet = "parquet"


def predict(
    run: RunFolder,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Images, folders or globs.")],
    format: Annotated[Format, typer.Option(help="How predictions are written.")] = Format.csv,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where they go; standard output when left out.")
    ] = None,
    top_k: Annotated[int, typer.Option(metavar="K", min=1, help="How many of the likeliest classes to give.")] = 1,
) -> None:
    """Classify images with the model in RUN.

    Goes past files that cannot be read, names them, and exits with 1 if there were any.
    """
    from fovea.workflows import predicting

    tally = predicting.predict(run, paths, format=format.value, output=out, top_k=top_k)
    if tally.failed:
        print(f"{tally.failed} of {tally.done + tally.failed} files could not be read", file=sys.stderr)
        raise typer.Exit(1)
