"""Options that several verbs share, and the reading of durations. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from fovea.core.errors import RecipeError
from fovea.core.recipe import SWAPPED

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training (its --out).")]
Plain = Annotated[bool, typer.Option("--plain", help="One line per epoch in place of the live display, for logs.")]

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?", re.ASCII)


def parse_duration_s(text: str) -> float:
    """Return the seconds that `text` means: `90`, `60s`, `10m`, `1h30m`, `1.5h`.

    Raises:
        RecipeError: when it is not a duration above zero.

    >>> parse_duration_s("1h30m")
    5400.0
    """
    found = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    parts = found.groups() if found else (None,)
    duration_s = sum(float(part) * unit_s for part, unit_s in zip(parts, _UNITS_S.values(), strict=False) if part)
    if not duration_s:
        raise RecipeError(f"{text!r} is not a duration", hint="write 60s, 10m, 1h30m or plain seconds")
    return duration_s


def parse_swap(text: str) -> tuple[str, str]:
    """Return the kind of layer and what comes in its place: `pool=softpool`.

    Raises:
        RecipeError: when it is not that.

    >>> parse_swap("pool=softpool")
    ('pool', 'softpool')
    """
    kind, _, name = (part.strip() for part in text.partition("="))
    if kind not in SWAPPED or not name:
        raise RecipeError(f"--swap {text}: not a kind of layer and a name", hint=f"{', '.join(SWAPPED)}: pool=softpool")
    return kind, name


def layer_of(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given as nested settings: `{"train.lr": 1}` → `{"train": {"lr": 1}}`."""
    layer: dict[str, Any] = {}
    for path, value in flags.items():
        room, _, key = path.rpartition(".")
        if value is not None:
            (layer.setdefault(room, {}) if room else layer)[key] = value
    return layer
