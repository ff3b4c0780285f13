"""`fovea inspect`: what was found in a folder, table or list file, before any training."""

from __future__ import annotations

from typing import Annotated

import typer


def inspect(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of images, a table or a list file.")],
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which column of a table or list file holds the label.")
    ] = None,
    classes: Annotated[str | None, typer.Option(metavar="FILE", help="A file with the class names.")] = None,
) -> None:
    """Show what DATA holds and what is wrong with it."""
    import polars as pl
    from rich.console import Console
    from rich.table import Table

    from fovea.core.findings import by_severity
    from fovea.data.reading import read

    manifest = read(data, label_column=label_column, classes=classes)
    usable = manifest.usable()
    left_out = manifest.table.height - usable.height
    console = Console(highlight=False)
    console.print(f"{usable.height} images, {len(manifest.classes)} classes, {left_out} left out", markup=False)
    table = Table("split", "images", "fewest in a class", "most in a class", box=None, pad_edge=False)
    for (split,), rows in sorted(usable.group_by("split"), key=lambda item: str(item[0][0])):
        counts = (
            rows.select(pl.col("target").list.explode() if manifest.multilabel else "target").to_series().value_counts()
        )
        sizes = counts["count"]
        table.add_row(split or "none given", str(rows.height), str(sizes.min()), str(sizes.max()))
    console.print(table)
    for finding in by_severity(list(manifest.findings)):
        console.print(f"{finding.severity}: {finding.message}\n  fix: {finding.fix}", markup=False)
