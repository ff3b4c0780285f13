"""What long work tells whoever is watching. The library never prints; a door passes something that shows.

`Progress` is the protocol, `Silent` the default, `Labelled` puts a name before what it passes on. The command line has
a live one and a line-per-epoch one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Progress(Protocol):
    """Receives what a workflow says while it runs."""

    def say(self, text: str) -> None:
        """Tell one thing worth reading once, such as a choice and its reason."""

    def advance(self, label: str, done: int, total: int, detail: Mapping[str, Any] | None = None) -> None:
        """Report that `done` of `total` units of the work named `label` are finished, with live numbers."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report a finished epoch (the row that goes to summary.csv)."""


class Silent:
    """A progress that shows nothing."""

    def say(self, text: str) -> None:
        """Ignore."""

    def advance(self, label: str, done: int, total: int, detail: Mapping[str, Any] | None = None) -> None:
        """Ignore."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Ignore."""


class Labelled:
    """Passes on what one of several trainings tells, with its name before it.

    Args:
        progress: told.
        label: its name.
        shown: numbers put before those of each epoch.
    """

    def __init__(self, progress: Progress, label: str, **shown: Any) -> None:
        self.progress, self.label, self.shown = progress, label, shown

    def say(self, text: str) -> None:
        """Pass the text on."""
        self.progress.say(f"{self.label}: {text}")

    def advance(self, label: str, done: int, total: int, detail: Mapping[str, Any] | None = None) -> None:
        """Pass the step on."""
        self.progress.advance(f"{self.label}: {label}", done, total, detail)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Pass the epoch on."""
        self.progress.epoch({**self.shown, **row})
