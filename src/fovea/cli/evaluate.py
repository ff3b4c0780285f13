"""`fovea evaluate`: how good the model is, as a table, as JSON and as a report."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from fovea.cli.options import RunFolder
from fovea.cli.outcome import print_report_path, print_scores
from fovea.cli.progress import progress_shown


def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Other images to judge by; classes are matched by name.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="train, val or test; by default the test split, else val. Of k-fold training also out-of-fold.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Measure the model in RUN and write its report.

    Writes RUN/report.html for people and RUN/report.json for programs; for other data, RUN/report-DATA.html and .json.
    """
    from fovea.core.files import plain
    from fovea.workflows import evaluating

    with progress_shown(started=time.monotonic()) as progress:
        result = evaluating.evaluate(run, data=data, split=split, console=progress)
    if as_json:
        print(json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False))
        return
    print_scores(result)
    print_report_path(result["report"])
