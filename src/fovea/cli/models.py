"""`fovea models`: which networks there are, where they come from, how large they are and which weights exist."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fovea.core.wording import counted

if TYPE_CHECKING:
    from fovea.models.listing import Network

_TAGS = 3  # named in the table; --json has them all
_HEADER = ("name", "library", "year", "input", "parameters", "MACs", "weights", "paper")
_RIGHT = {2, 3, 4, 5}  # columns of numbers


def models(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="PATTERN", help="Part of a name, with or without tag, or a glob over all of it: 'resnet*d'."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """List the networks that there are, and their sizes.

    MACs are multiply-accumulates for one image of the network's input size; one is two FLOPs. Weights are downloaded
    when they are first used; NAME.TAG asks for others than the first. A model folder or a state-dict file given to
    --weights needs no download, and --from-scratch no weights.
    """
    from fovea.workflows import cataloguing

    found = cataloguing.listed(pattern)
    if as_json:
        print(json.dumps([network.as_dict() for network in found], indent=2, ensure_ascii=False))
        return
    _print_table([_HEADER, *(_row(network) for network in found)])
    weighted = sum(bool(network.weights) for network in found)
    unmeasured = sum(network.parameters is None for network in found)
    print(f"{counted(len(found), 'network')}, {weighted:,} with published weights")
    if unmeasured:
        print(f"{unmeasured:,} not measured yet: a narrower PATTERN measures them")


def _row(network: Network) -> tuple[str, ...]:
    more = len(network.weights) - _TAGS
    return (
        network.name,
        network.library,
        str(network.paper.year) if network.paper else "–",
        str(network.input_size),
        "–" if network.parameters is None else f"{network.parameters:,}",
        "–" if network.macs is None else f"{network.macs:,}",
        (" ".join(network.weights[:_TAGS]) + (f" +{more}" if more > 0 else "")) or "–",
        network.paper.title if network.paper else "–",
    )


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        line = "  ".join(
            cell.rjust(width) if index in _RIGHT else cell.ljust(width) for index, (cell, width) in enumerate(cells)
        )
        print(line.rstrip())
