"""`fovea evaluate`: how good the model is, as a table, as JSON and as a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fovea.cli.options import RunFolder


def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Other images to judge by; classes are matched by name.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="train, val or test; by default the test split, else val.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Measure the model in RUN and write its report.

    Writes RUN/report.html for people and RUN/report.json for programs.
    """
    from fovea.core.files import plain
    from fovea.workflows import evaluating

    result = evaluating.evaluate(run, data=data, split=split)
    if as_json:
        print(json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False))
        return
    _print_table(result)
    print(f"report: {run / 'report.html'}")


def _print_table(result: Mapping[str, Any]) -> None:
    """Print the numbers at the top level of the result, one a line; the nested ones are in the report."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in result.items():
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            table.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    Console(highlight=False).print(table)
