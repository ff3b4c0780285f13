"""What the catalogue has: every architecture with its paper, input size, parameters, multiply-accumulates and weights.

Building 1,500 networks takes half an hour, so parameters and multiply-accumulates come from figures.csv, which
`workflows.cataloguing` writes. A network that is not in it is listed without them here.
"""

from __future__ import annotations

import csv
import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import timm
import torchvision
from timm.models import PretrainedCfg

from fovea.core.errors import UnknownName
from fovea.models.catalogue import ALIASES, LISTING, Library, names, resolve, torchvision_names, weight_tags
from fovea.models.papers import Paper, paper_of

Figures = dict[tuple[str, str], tuple[int, int | None]]


@dataclass(frozen=True, kw_only=True)
class Network:
    """One architecture of the catalogue.

    Attributes:
        name: as `create` takes it; a tag may follow it after a dot.
        library: where it is from.
        architecture: the name within its library.
        paper: that introduced the family; None where unknown.
        input_size: side in pixels of the images that its weights, or else its authors, are for.
        parameters: of the network with its own number of classes, 1000 where it has no weights; None where unknown.
        macs: multiply-accumulates for one image of that size; None where unknown.
        weights: tags of the published weights, those that the plain name means first. All need a download.
    """

    name: str
    library: Library
    architecture: str
    paper: Paper | None
    input_size: int
    parameters: int | None
    macs: int | None
    weights: tuple[str, ...]

    def called(self) -> list[str]:
        """Return what `create` takes for it: its name, what else people call it, and its name with each tag."""
        others = [other for other, name in ALIASES.items() if name == self.name]
        return [self.name, *others, *(f"{self.name}.{tag}" for tag in self.weights)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, the paper as `paper`, `year` and `arxiv`."""
        paper = self.paper
        return {
            "name": self.name,
            "library": self.library,
            "paper": paper.title if paper else None,
            "year": paper.year if paper else None,
            "arxiv": paper.arxiv or None if paper else None,
            "input_size": self.input_size,
            "parameters": self.parameters,
            "macs": self.macs,
            "weights": list(self.weights),
        }


def search(pattern: str | None = None) -> list[Network]:
    """Return the networks whose names fit, in natural order.

    Args:
        pattern: part of a name, or a glob over all of it (`resnet*d`, `*in22k*`), in any case; with or without the tag
            of weights. None for all.

    Raises:
        UnknownName: none fits; the nearest name is suggested.

    >>> [network.name for network in search("squeezenet*")]
    ['squeezenet1_0', 'squeezenet1_1']
    """
    wanted = (pattern or "").lower()
    glob = wanted if any(letter in wanted for letter in "*?[") else f"*{wanted}*"
    tags = _tags()
    everything = (_network(name, tags=tags) for name in sorted(architecture_names(), key=_natural))
    found = [
        network for network in everything if any(fnmatch.fnmatchcase(name.lower(), glob) for name in network.called())
    ]
    if not found:
        raise UnknownName("network", pattern or "", names(), listing=LISTING)
    return found


def architecture_names() -> Iterator[str]:
    """Yield every architecture by the name that `create` takes: timm's and our own, then torchvision's."""
    yield from timm.list_models()
    for name in torchvision_names():
        yield f"torchvision/{name}" if timm.is_model(name) else name


def _network(name: str, *, tags: Mapping[str, list[str]]) -> Network:
    library, architecture, _ = resolve(name)
    if library == "torchvision":
        preset = torchvision.models.get_model_weights(architecture)["DEFAULT"].transforms()
        input_size, weights = preset.crop_size[0], weight_tags(library, architecture)
    else:
        config = timm.get_pretrained_cfg(architecture) or PretrainedCfg()
        input_size = config.input_size[-1]
        weights = tuple(sorted(tags.get(architecture, []), key=lambda tag: tag != config.tag))
    parameters, macs = _figures().get((library, architecture), (None, None))
    return Network(
        name=name,
        library=library,
        architecture=architecture,
        paper=paper_of(architecture),
        input_size=input_size,
        parameters=parameters,
        macs=macs,
        weights=weights,
    )


def _tags() -> dict[str, list[str]]:
    """Return the tags of all published weights of timm, by architecture."""
    found: dict[str, list[str]] = {}
    for name in timm.list_pretrained():
        architecture, _, tag = name.partition(".")
        found.setdefault(architecture, []).append(tag)
    return found


@cache
def _figures() -> Figures:
    return read_figures((files("fovea.models") / "figures.csv").read_text(encoding="utf-8"))


def read_figures(text: str) -> Figures:
    """Read figures.csv: (parameters, multiply-accumulates) by (library, architecture).

    >>> read_figures("library,architecture,parameters,macs\\nfovea,lenet5,61706,416520\\n")
    {('fovea', 'lenet5'): (61706, 416520)}
    """
    return {
        (row["library"], row["architecture"]): (int(row["parameters"]), int(row["macs"]) if row["macs"] else None)
        for row in csv.DictReader(text.splitlines())
    }


def _natural(name: str) -> list[str]:
    """Return a key that sorts resnet50 before resnet101, and torchvision's variant behind timm's."""
    bare = name.removeprefix("torchvision/")
    return [*(f"{int(part):06d}" if part.isdigit() else part for part in re.split(r"(\d+)", bare)), name]
