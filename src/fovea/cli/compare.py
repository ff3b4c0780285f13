"""`fovea compare`: the same training with one thing changed, several times, and which differences are shown."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fovea.cli.options import Plain, layer_of, parse_duration_s, parse_swap
from fovea.cli.outcome import print_report_path
from fovea.cli.progress import progress_shown

if TYPE_CHECKING:
    from fovea.evaluation.comparison import Comparison


def compare(
    data: Annotated[str, typer.Argument(metavar="DATA", help="The images, as for fovea train.")],
    swap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=A,B",
            help="Layers to exchange: pool, global_pool, norm or act, e.g. pool=max,softpool; own is the network's.",
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Values of any setting, e.g. train.optimizer=sgd,adamw; repeatable."),
    ] = None,
    heads: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Instead: classifiers on frozen features, against the linear one; all is every one."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="How often each variant is trained.")] = 5,
    budget: Annotated[str | None, typer.Option(metavar="TIME", help="Wall clock for the whole command.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The network.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="DIR_OR_FILE", help="A timm folder or a state-dict file; by default the hub.")
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where everything goes; an interrupted one goes on there.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting that all variants have; repeatable."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as YAML, e.g. RUN/recipe.yaml.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    plain: Plain = False,
) -> None:
    """Train variants on equal terms; which is better?

    The first value is what the others are held against. Each answer has an interval over images and seeds, and is
    "no difference shown" where that holds zero.
    """
    started = time.monotonic()
    from fovea.core.errors import RecipeError
    from fovea.core.recipe_io import build_recipe, parse_values, read_layer

    flags: dict[str, Any] = {
        "model.name": model,
        "model.weights": weights,
        "model.from_scratch": from_scratch or None,
        "train.budget_s": parse_duration_s(budget) if budget else None,
    }
    common = build_recipe(*([read_layer(recipe)] if recipe else []), layer_of(flags), overrides=settings or [])
    swapped = [f"model.{'='.join(parse_swap(text))}" for text in swap or []]
    varied = dict(map(parse_values, [*swapped, *(vary or [])]))
    if bool(varied) == (heads is not None):
        raise RecipeError(
            "compare takes --swap and --vary, or --heads" if varied else "nothing to compare",
            hint="for example --swap pool=max,softpool, --vary train.optimizer=sgd,adamw or --heads all",
        )
    with progress_shown(plain=plain, budget_s=common.train.budget_s, started=started) as progress:
        if heads is not None:
            _compare_heads(data, heads, common, as_json=as_json, progress=progress)
            return
        from fovea.workflows import comparing

        found = comparing.compare(
            data, vary=varied, recipe=common, seeds=seeds, out=out, console=progress, started=started
        )
    if as_json:
        from fovea.core.files import plain as plain_values

        print(json.dumps(plain_values(found.as_dict()), indent=2, ensure_ascii=False, allow_nan=False))
        return
    _print_comparison(found)
    print_report_path(Path(found.terms.folder) / comparing.PAGE)


def _print_comparison(found: Comparison) -> None:
    """Print a line a variant and the answer."""
    from fovea.core.wording import counted, percent
    from fovea.evaluation.comparison import level_in_words

    width = max(len(one.name) for one in found.trained)
    for one in found.trained:
        low, high = min(one.accuracies), max(one.accuracies)
        line = f"{one.name:<{width}}  accuracy {percent(one.accuracy, digits=1)}"
        if found.seeds > 1:
            line += f" ({100 * low:.1f} to {100 * high:.1f} over {counted(found.seeds, 'seed')})"
        if one.epoch_s is not None:
            line += f", {one.epoch_s:.3g} s an epoch"
        print(line)
    print(found.answer)
    print(f"({level_in_words(found)}; {found.terms.images:,} images of {found.terms.split})")


def _compare_heads(data: str, heads: str, common: Any, *, as_json: bool, progress: Any) -> None:
    """Compare classifiers on frozen features and print a line for each."""
    from fovea.core.files import plain as plain_values
    from fovea.core.wording import percent, percent_range
    from fovea.evaluation.comparison import points
    from fovea.workflows.heads import compare_heads_on

    names = None if heads == "all" else [name.strip() for name in heads.split(",")]
    found = compare_heads_on(data, heads=names, recipe=common, console=progress)
    if as_json:
        print(json.dumps(plain_values(found.as_dict()), indent=2, ensure_ascii=False, allow_nan=False))
        return
    width = max(len(score.name) for score in found.scores)
    for score in found.scores:
        line = f"{score.name:<{width}}  accuracy {percent(score.accuracy, digits=1)} ({percent_range(score.interval)})"
        if score.against:
            line += f"  {points(score.against)}, {score.against.verdict}"
        print(line)
    print(found.answer)
    print(f"({found.rows:,} images in {found.folds} folds; features: {found.features_from or 'given'})")
