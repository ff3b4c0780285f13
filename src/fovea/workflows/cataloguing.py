"""The catalogue with its figures: parameters and multiply-accumulates, from a table or, for a few networks, measured.

The table is `models/figures.csv`.

    python -m fovea.workflows.cataloguing src/fovea/models/figures.csv

measures what it lacks, half an hour of one core for all. So a new version of timm costs only what is new in it, and an
interrupted run goes on; to measure all anew, remove the file first. Nothing is computed: the networks are built without
weights and followed with tensors without data.
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from fovea.core.errors import ModelError
from fovea.core.files import write_text
from fovea.cost.counting import count
from fovea.models import catalogue
from fovea.models.listing import Figures, Network, architecture_names, read_figures, search

MOST_MEASURED = 10  # networks that a listing measures by itself; about a second each


def listed(pattern: str | None = None) -> list[Network]:
    """Return the networks whose names fit, as `search` does; if few lack figures, those are measured.

    Raises:
        UnknownName: no name fits.
    """
    found = search(pattern)
    lacking = [network for network in found if network.macs is None]
    return found if len(lacking) > MOST_MEASURED else [_with_figures(network) for network in found]


def _with_figures(network: Network) -> Network:
    if network.macs is not None:
        return network
    try:
        parameters, macs = figures(network.name)
    except ModelError:
        return network
    return dataclasses.replace(network, parameters=parameters, macs=macs)


def figures(name: str) -> tuple[int, int | None]:
    """Return (parameters, multiply-accumulates) of a network of the catalogue, for one image of its own size.

    The network has as many classes as its weights or its authors. Multiply-accumulates are None where an operator has
    no formula: a sum with a gap would pass for the truth.

    Raises:
        ModelError: the network cannot be built, or takes other things than one image.

    >>> figures("lenet5")
    (61706, 416520)
    """
    plan = catalogue.plan_of(name)
    try:
        with torch.device("meta"):
            model = _build(plan)
    except ModelError:  # torchvision's RegNets calculate with tensors while they are built
        model = _build(plan)
    counted = count(model, (1, *plan.pretrained_cfg["input_size"]))
    return counted.total["params"], None if counted.unknown else counted.total["macs"]


def _build(plan: catalogue.Plan) -> nn.Module:
    return catalogue.build(
        plan.library,
        plan.architecture,
        classes=plan.pretrained_cfg["num_classes"],
        model_args=plan.model_args,
        pretrained_cfg=plan.pretrained_cfg,
    )


def write_figures(path: Path) -> None:
    """Measure what `path` lacks of the catalogue, and write all anew as soon as one more is known.

    A network that does not take images alone stays out.
    """
    known = read_figures(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in architecture_names():
        plan = catalogue.plan_of(name)
        if known.get((plan.library, plan.architecture), (0, None))[1] is None:
            with suppress(ModelError):
                known[plan.library, plan.architecture] = figures(name)
                write_text(path, as_csv(known))


def as_csv(known: Figures) -> str:
    """Return figures as the text that `read_figures` reads, sorted."""
    lines = ["library,architecture,parameters,macs"]
    for library, architecture in sorted(known):
        parameters, macs = known[library, architecture]
        lines.append(f"{library},{architecture},{parameters},{'' if macs is None else macs}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_figures(Path(sys.argv[1]))
