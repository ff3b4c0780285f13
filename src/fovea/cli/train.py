"""`fovea train`: from images to a run folder with a usable model, within a time budget."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fovea.cli.options import Plain, layer_of, parse_duration_s, parse_swap
from fovea.cli.outcome import print_outcome
from fovea.cli.progress import progress_shown


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A folder of images, a table (CSV, TSV, Parquet) or a list file; by default what --recipe names.",
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wall clock for the whole command: 60s, 10m, 1h30m.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network; by default that of the weights.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="DIR_OR_FILE", help="A timm folder or a state-dict file; by default the hub.")
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    swap: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=NAME", help="Exchange the network's pool, global_pool, norm or act; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Where the run folder is made.")] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="K", help="Train K times, each judged on images it has not seen; loo: one image at a time."
        ),
    ] = None,
    ensemble: Annotated[
        str | None, typer.Option(metavar="HOW", help="How the models of the folds answer together: average or vote.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. train.epochs=3; repeatable."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as YAML, e.g. RUN/recipe.yaml.")] = None,
    show_recipe: Annotated[
        bool, typer.Option("--show-recipe", help="Print every setting, resolved for this data and machine, and stop.")
    ] = False,
    plain: Plain = False,
) -> None:
    """Train a model on DATA within a time budget.

    fovea does the best that the budget, the data and this machine allow, and says what it chose and why. Ctrl-C ends
    it early with a usable model.
    """
    started = time.monotonic()  # loading torch, below, counts as part of the budget
    from fovea.core.errors import RecipeError
    from fovea.core.recipe_io import build_recipe, dump_recipe, read_layer

    flags: dict[str, Any] = {
        "seed": seed,
        "data.source": data,
        "model.name": model,
        "model.weights": weights,
        "model.from_scratch": from_scratch or None,
        **{f"model.{kind}": name for kind, name in map(parse_swap, swap or [])},
        "train.budget_s": parse_duration_s(budget) if budget else None,
        "train.folds": int(folds) if folds is not None and folds.isdecimal() else folds,
        "train.ensemble": ensemble,
    }
    layers = ([read_layer(recipe)] if recipe else []) + [layer_of(flags)]
    settled = build_recipe(*layers, overrides=settings or [])
    if not settled.data.source:
        raise RecipeError("no data to train on", hint="fovea train DATA, or a --recipe with data.source")

    from fovea.workflows import training

    if show_recipe:
        print(dump_recipe(training.resolve(settled.data.source, settled), comments=True), end="")
        return
    with progress_shown(plain=plain, budget_s=settled.train.budget_s, started=started) as progress:
        run = training.train(settled.data.source, recipe=settled, out=out, console=progress, started=started)
    print_outcome(run)
