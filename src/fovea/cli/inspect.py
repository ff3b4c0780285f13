"""`fovea inspect`: what was found in a folder, table or list file, before any training."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from fovea.cli.progress import progress_shown

if TYPE_CHECKING:
    from fovea.data.manifest import Manifest


def inspect(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of images, a table or a list file.")],
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which column of a table or list file holds the label.")
    ] = None,
    classes: Annotated[str | None, typer.Option(metavar="FILE", help="A file with the class names.")] = None,
) -> None:
    """Show what DATA holds and what is wrong with it."""
    from fovea.core.findings import by_severity
    from fovea.data.reading import read

    with progress_shown(started=time.monotonic()) as progress:
        manifest = read(
            data,
            label_column=label_column,
            classes=classes,
            progress=lambda done, total: progress.advance("reading images", done, total),
        )
    _print_counts(manifest)
    for finding in by_severity(list(manifest.findings)):
        print(f"{finding.severity}: {finding.message}\n  fix: {finding.fix}")


def _print_counts(manifest: Manifest) -> None:
    """Print how many images and classes there are, and how evenly each split is spread over the classes."""
    usable, left_out = manifest.usable().height, manifest.excluded().height
    print(f"{usable:,} images of {len(manifest.classes):,} classes; {left_out:,} left out")
    counts = manifest.counts()
    for split in counts.columns[1:]:
        sizes = counts[split].to_list()
        empty = f", none of {sizes.count(0)} classes" if 0 in sizes else ""
        print(f"  {split:<8} {sum(sizes):>9,} images, {min(sizes):,} to {max(sizes):,} a class{empty}")
