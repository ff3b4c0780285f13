"""Ctrl-C while something is read or looked at: it ends between two steps, in plain words and with the way on.

Training has its own way to stop, since it saves a model first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fovea.core.errors import Interrupted
from fovea.core.progress import Progress
from fovea.workflows.machine import stop_on_signal


@contextlib.contextmanager
def stoppable(progress: Progress) -> Iterator[Progress]:
    """Yield a progress that raises `Interrupted` at the next step after Ctrl-C (or SIGTERM), naming the work."""
    with stop_on_signal(progress) as stop:
        yield _Stoppable(progress, stop)


class _Stoppable:
    """Passes on what it is told, and asks at each step whether to go on."""

    def __init__(self, progress: Progress, stop: Callable[[], bool]) -> None:
        self.progress = progress
        self.stop = stop

    def say(self, text: str) -> None:
        """Pass the text on."""
        self.progress.say(text)

    def advance(self, label: str, done: int, total: int, detail: Mapping[str, Any] | None = None) -> None:
        """Pass the step on, unless the user asked to stop."""
        if self.stop():
            raise Interrupted(
                f"stopped by the user while {label}", hint="the same command goes on from what is remembered"
            )
        self.progress.advance(label, done, total, detail)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Pass the epoch on."""
        self.progress.epoch(row)
