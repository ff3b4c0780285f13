"""Where architectures come from: title, year and arXiv number of the paper that introduced a family.

papers.csv holds a pattern of names (a regular expression over the whole name), the arXiv number, or the year of a paper
that is older than arXiv's use in the field, and the title. The first line that fits counts, so the special stands
before the general. A family without a line has no paper that we know for sure: variants that timm's author made,
weights that are known by a later paper than their architecture.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Paper:
    """A paper: its title, the year of its first version, and its arXiv number, "" where it has none."""

    title: str
    year: int
    arxiv: str = ""


def paper_of(architecture: str) -> Paper | None:
    """Return the paper that introduced an architecture, by its name without library and tag; None where unknown.

    >>> paper_of("resnet50").year, paper_of("lenet5").year, paper_of("no_such_network")
    (2015, 1998, None)
    """
    return next((paper for pattern, paper in families() if pattern.fullmatch(architecture)), None)


@cache
def families() -> tuple[tuple[re.Pattern[str], Paper], ...]:
    """Return (pattern of names, paper) of every family, in the order in which they are tried."""
    text = (files("fovea.models") / "papers.csv").read_text(encoding="utf-8")
    return tuple((re.compile(row["names"]), _paper(row)) for row in csv.DictReader(text.splitlines()))


def _paper(row: dict[str, str]) -> Paper:
    source = row["source"]
    if source.isdigit():
        return Paper(row["title"], int(source))
    return Paper(row["title"], 2000 + int(source[:2]), source)
