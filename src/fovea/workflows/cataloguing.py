"""Measuring the catalogue: parameters and multiply-accumulates of every network, for `models/figures.csv`.

    python -m fovea.workflows.cataloguing src/fovea/models/figures.csv

takes half an hour of one core. What the file has already is kept, so that a new version of timm costs only what is new
in it, and an interrupted run goes on; to measure anew, remove the file first. Nothing is computed: the networks are
built without weights and followed with tensors without data.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch
from torch import nn

from fovea.core.errors import ModelError
from fovea.cost.counting import count
from fovea.models import catalogue
from fovea.models.listing import architecture_names

COLUMNS = ("library", "architecture", "parameters", "macs")


def figures(name: str) -> tuple[int, int | None]:
    """Return (parameters, multiply-accumulates) of a network of the catalogue, for one image of its own size.

    The network has as many classes as its weights or its authors. Multiply-accumulates are None where an operator has
    no formula: a sum with a gap would pass for the truth.

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
    """Measure what `path` lacks of the catalogue, and write each network's line as soon as it is known."""
    done: set[tuple[str, str]] = set()
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            done = {(row["library"], row["architecture"]) for row in csv.DictReader(file)}
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not done:
            writer.writerow(COLUMNS)
        for name in architecture_names():
            library, architecture, _ = catalogue.resolve(name)
            if (library, architecture) not in done:
                writer.writerow([library, architecture, *figures(name)])
                file.flush()


if __name__ == "__main__":
    write_figures(Path(sys.argv[1]))
