"""The exception tree: everything fovea raises on purpose for a person to read.

Each error carries a message (what came, what was expected) and a hint (how to fix it). The command line catches
`FoveaError` once, prints both and exits with 2. Misuse of the Python API raises `ValueError` instead.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class FoveaError(Exception):
    """Something the user can put right.

    >>> str(FoveaError("no images in photos/", hint="check the path"))
    'no images in photos/'
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RecipeError(FoveaError):
    """One or more settings are wrong; the message lists every one with its path."""


class DataError(FoveaError):
    """The data cannot be read, or is not enough for what was asked."""


class ModelError(FoveaError):
    """A model or its weights cannot be built, found or loaded."""


class RunError(FoveaError):
    """A run folder is missing, incomplete or damaged."""


class Interrupted(FoveaError):
    """The user asked to stop; everything is saved."""


class MissingExtra(FoveaError):
    """An optional dependency is not installed."""


class UnknownName(FoveaError):
    """A name that no registry knows; suggests the nearest, and says which there are.

    Args:
        listing: where all are to be seen, for names too many to be told.

    >>> UnknownName("optimizer", "adamm", ["adam", "sgd"]).hint
    "did you mean 'adam'? known: adam, sgd"
    >>> UnknownName("network", "resnet81", ["resnet18"], listing="fovea models lists all").hint
    "did you mean 'resnet18'? fovea models lists all"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, listing: str = "") -> None:
        names = sorted(known)
        told = listing or "known: " + ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
        near = nearest(name, names)
        super().__init__(f"unknown {kind} {name!r}", hint=f"did you mean {near!r}? {told}" if near else told)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is meant: the shortest that goes on from it, or else the closest; None for neither.

    >>> nearest("mobilenet_v3", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large_075"])
    'mobilenet_v3_small'
    """
    names = list(known)
    longer = [each for each in names if len(name) > 2 and each.startswith((f"{name}_", f"{name}-", f"{name}."))]
    if longer:
        return min(longer, key=lambda each: (len(each), each))
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return matches[0] if matches else None


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or raise `MissingExtra` naming the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{purpose} need {module}, which is not installed", hint=f"pip install 'fovea[{extra}]'"
        ) from error
