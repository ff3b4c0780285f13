"""`fovea augment`: random variants of the training images as files, with labels and boxes carried along."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from fovea.cli.options import Plain
from fovea.cli.progress import progress_shown

NAMED = 20  # images left out that are listed; the rest is counted


def augment(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder of images, a table, a list file, or a folder like VOC's.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder; or an unfinished one, to go on with.")],
    factor: Annotated[int, typer.Option(metavar="N", help="Files per training image, the original included.")] = 5,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What may happen, e.g. data.rotate=15; repeatable."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PX", help="Shorter side of the variants; their own size when left out.")
    ] = None,
    min_visible: Annotated[
        float, typer.Option(metavar="SHARE", help="Boxes with a smaller share in sight are left out.")
    ] = 0.3,
    plain: Plain = False,
) -> None:
    """Write random variants of the training images of DATA to DIR.

    DATA stays as it is. Images of val and test are copied unchanged. The same command goes on after an interruption.
    Exits with 1 if images had to be left out.
    """
    started = time.monotonic()
    from fovea.core.recipe_io import build_recipe

    recipe = build_recipe({} if seed is None else {"seed": seed}, overrides=settings or [])

    from fovea.workflows import augmenting

    with progress_shown(plain=plain, started=started) as progress:
        made = augmenting.augment(
            data, out=out, factor=factor, recipe=recipe, size=size, min_visible=min_visible, console=progress
        )
    total = made.originals + made.variants + made.copied
    print(
        f"{total:,} images in {made.folder}: {made.originals:,} for training, {made.variants:,} variants of them, "
        f"{made.copied:,} others unchanged"
    )
    if made.labels:
        print(f"to train on them: fovea train {shlex.quote(str(made.labels))}")
    if made.left_out:
        print(f"{len(made.left_out):,} images were left out:", file=sys.stderr)
        for path, reason in made.left_out[:NAMED]:
            print(f"  {path} {reason}", file=sys.stderr)
        if len(made.left_out) > NAMED:
            print(f"  and {len(made.left_out) - NAMED:,} more", file=sys.stderr)
        raise typer.Exit(1)
