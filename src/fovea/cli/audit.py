"""`fovea audit`: what is wrong with the data, before any training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fovea.cli.findings import print_findings
from fovea.cli.options import Plain
from fovea.cli.outcome import print_report_path
from fovea.cli.progress import progress_shown
from fovea.core.wording import counted

if TYPE_CHECKING:
    from fovea.data.manifest import Manifest


def audit(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder of images, a table (CSV, TSV, Parquet) or a list file.")
    ],
    fast: Annotated[
        bool, typer.Option("--fast", help="Only what needs no network: neither doubtful labels nor outliers.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_FILE",
            help="The network that looks at the images: a timm folder or a state-dict file; 'plain' for none. By "
            "default the hub's, or none where it cannot be reached.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its architecture; by default that of the weights.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write audit.html, with pictures, and audit.json.")
    ] = None,
    write_clean: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a table that says of each image whether to keep it, and why."),
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Show in DIR what the network will see, with the settings of --set.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which column of a table or list file holds the label.")
    ] = None,
    classes: Annotated[str | None, typer.Option(metavar="FILE", help="A file with the class names.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of data, e.g. data.rotate=15; repeatable."),
    ] = None,
    plain: Plain = False,
) -> None:
    """Find out what is wrong with DATA, before any training.

    Files, pictures, copies, leaks, labels, shortcuts, splits.

    Nothing in DATA is changed. Exits with 1 if there is a finding of severity "error".
    """
    started = time.monotonic()
    from fovea.core.files import plain as plain_values
    from fovea.core.recipe_io import build_recipe

    flags: dict[str, Any] = {
        "data": {"label_column": label_column, "classes": classes},
        "model": {"name": model, "weights": weights},
        **({} if seed is None else {"seed": seed}),
    }
    recipe = build_recipe(flags, overrides=settings or [])

    from fovea.workflows import auditing

    with progress_shown(plain=plain, started=started) as progress:
        found = auditing.audit(
            data, recipe=recipe, fast=fast, out=out, write_clean=write_clean, augment=augment, console=progress
        )
    if as_json:
        print(json.dumps(plain_values(found.as_dict()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print_counts(found.subject.manifest)
        print_findings(found.findings)
        if not found.findings:
            print("nothing found")
        if found.proposal is not None:
            print(f"proposal: {found.proposal}")
        if found.page is not None:
            print_report_path(found.page)
        else:
            print("with pictures: the same command with --out DIR")
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(1)


def _print_counts(manifest: Manifest) -> None:
    """Print how many images and classes there are, and how evenly each split is spread over the classes."""
    usable, left_out = manifest.usable().height, manifest.excluded().height
    shown, classes = counted(usable, "image"), counted(len(manifest.classes), "class", "classes")
    print(f"{shown} of {classes}; {left_out:,} left out")
    counts = manifest.counts()
    for split in counts.columns[1:]:
        sizes = counts[split].to_list()
        empty = f", none of {counted(sizes.count(0), 'class', 'classes')}" if 0 in sizes else ""
        spread = f"{min(sizes):,} to {max(sizes):,}" if min(sizes) < max(sizes) else f"{min(sizes):,}"
        print(f"  {split:<8} {counted(sum(sizes), 'image'):>16}, {spread} a class{empty}")
