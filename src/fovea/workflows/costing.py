"""`fovea cost`: what a network of the catalogue, of a run or in a model folder costs, and the page that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fovea.core.errors import FoveaError, ModelError, UnknownName
from fovea.core.files import write_text
from fovea.core.html import render
from fovea.core.progress import Progress, Silent
from fovea.cost.costs import Costs, cost_of
from fovea.cost.page import build_page
from fovea.evaluation.ensemble import Ensemble
from fovea.models.catalogue import Loaded, create, plan_of
from fovea.models.weights import read_config
from fovea.workflows.beforehand import check_folder
from fovea.workflows.loading import load

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Costing:
    """What something costs, and what it is.

    Attributes:
        name: the catalogue's name, or the folder.
        source: in words.
        page: where the page was written.
    """

    name: str
    source: str
    costs: Costs
    page: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        page = None if self.page is None else str(self.page)
        return {"model": self.name, "source": self.source, **self.costs.as_dict(), "page": page}


def cost(
    target: str,
    *,
    size: int | None = None,
    batch: int = 1,
    measure: bool = True,
    strict: bool = False,
    html: Path | None = None,
    console: Progress | None = None,
) -> Costing:
    """Return what a network costs: parameters, MACs, bytes, memory, receptive field and time, by layer and in sum.

    Args:
        target: a run folder, a model folder, or a name of the catalogue (with random weights, and as many
            classes as its published weights or its authors told apart).
        size: side of the images in pixels; by default what the network was made for.
        batch: images in one pass.
        measure: measure time and memory here; without, nothing is run.
        strict: an operator without a formula is an error.
        html: write a page there.

    Raises:
        ModelError: there is no such network, or it does not take such images.
    """
    progress = console or Silent()
    if html is not None:
        check_folder(html.parent, hint="choose another place for --html")
        if html.is_dir():
            raise FoveaError(f"{html} is a folder, expected a file", hint=f"--html {html / 'cost.html'}")
    model, source, channels, side = _network(target, size)
    shape = (batch, channels, side, side)
    costs = cost_of(model, shape, measure=measure, strict=strict, say=progress.say)
    found = Costing(target, source, costs, html)
    if html is not None:
        write_text(html, render(build_page(costs, name=target, source=source)))
    return found


def _network(target: str, size: int | None) -> tuple[nn.Module, str, int, int]:
    """Return (network, source in words, input channels, side of its images)."""
    if Path(target).is_file():
        raise ModelError(f"{target} is a file, expected a folder or a name", hint=f"fovea cost {Path(target).parent}")
    if not Path(target).is_dir():
        try:
            classes = plan_of(target).pretrained_cfg["num_classes"]
            made = create(target, classes=classes, weights=None, from_scratch=True, input_size=size)
        except UnknownName as error:
            raise ModelError(
                f"{target!r} is neither a folder nor a network of the catalogue", hint=error.hint
            ) from error
        return _sized(made, f"{made.library}, {made.source}", size)
    if (Path(target) / "config.json").exists():
        config = read_config(Path(target))
        if "classes" not in config:  # a folder of timm's own
            classes = int(config.get("num_classes") or _IMAGENET_CLASSES)
            made = create(None, classes=classes, weights=target, input_size=size)
            return _sized(made, f"{made.library}, weights from a folder", size)
    loaded = load(target)
    if isinstance(loaded, Ensemble):
        member, source = loaded.members[0], f"one of {len(loaded.members)} models that answer together"
    else:
        member, source = loaded, "trained"
    return member.model, source, 3, size or member.preprocess.input_size


def _sized(made: Loaded, source: str, size: int | None) -> tuple[nn.Module, str, int, int]:
    channels, side, _ = made.pretrained_cfg.get("input_size") or (3, 224, 224)
    return made.model, source, int(channels), size or int(side)
