"""`fovea cost`: what a network costs, in sum and by layer, as text, as JSON and as a page."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fovea.cli.findings import print_findings
from fovea.cli.outcome import print_report_path
from fovea.cli.progress import progress_shown

if TYPE_CHECKING:
    from fovea.cost.costs import Costs

_SHOWN = 10


def cost(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN", help="A name of the catalogue, the folder of a training, or a model folder."
        ),
    ],
    size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=1, help="Side of the images; by default what the network is made for."),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Images in one pass.")] = 1,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only what can be counted: time and memory are not measured.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an operator that has no formula, in place of naming it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with every layer and a chart.")
    ] = None,
) -> None:
    """Count and measure what MODEL_OR_RUN costs.

    MACs (one is two FLOPs), bytes, memory and time on this machine, receptive field; in sum and by layer.
    """
    started = time.monotonic()
    from fovea.core.files import plain as plain_values
    from fovea.workflows import costing

    with progress_shown(started=started) as progress:
        found = costing.cost(
            target, size=size, batch=batch, measure=not fast, strict=strict, html=html, console=progress
        )
    if as_json:
        print(json.dumps(plain_values(found.as_dict()), indent=2, ensure_ascii=False, allow_nan=False))
        return
    from fovea.cost.wordings import described, summary

    print(f"{found.name} ({found.source}), {described(found.costs)}")
    for name, value, note in summary(found.costs):
        print(f"  {name:<18}{value:>14}  {note}".rstrip())
    _print_layers(found.costs)
    print_findings(found.costs.findings)
    if found.page is not None:
        print_report_path(found.page)
    else:
        print("every layer, with a chart: the same command with --html FILE")


def _print_layers(costs: Costs) -> None:
    """Print the layers that take most of the time, or most MACs where no time was measured."""
    from fovea.core.wording import percent
    from fovea.cost.wordings import bound_text, layer_name, milliseconds, short

    layers, measured = costs.count.layers, costs.measured
    whole_macs, whole_s = costs.count.total["macs"] or 1, sum(measured.by_layer.values()) if measured else 1.0
    weights = measured.by_layer if measured else {layer.name: layer.macs for layer in layers}
    shown = sorted(layers, key=lambda layer: weights.get(layer.name, 0), reverse=True)[:_SHOWN]
    width = max(len(layer_name(layer)) for layer in shown)
    print(f"the {len(shown)} of {len(layers)} layers that {'take longest' if measured else 'do most MACs'}:")
    for layer in shown:
        line = f"  {layer_name(layer):<{width}}  {layer.kind:<16} {short(layer.macs):>8} MACs"
        line += f" {percent(layer.macs / whole_macs):>7}"
        if measured and costs.prediction:
            taken_s = measured.by_layer.get(layer.name, 0.0)
            line += f"  {milliseconds(1000 * taken_s):>10} {percent(taken_s / whole_s):>6}"
            line += f"  {bound_text(costs.prediction[layer.name].bound)}"
        print(line.rstrip())
