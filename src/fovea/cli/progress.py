"""How the command line shows long work: a live display on a terminal, one line per epoch in a log.

Both implement `fovea.core.progress.Progress` and write to standard error; standard output is for results.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from fovea.core.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@contextlib.contextmanager
def progress_shown(*, plain: bool = False, budget_s: float | None = None, started: float) -> Iterator[Progress]:
    """Yield what suits where we run: live on a terminal, lines elsewhere, nothing on the other ranks of torchrun.

    Args:
        plain: lines on a terminal too.
        budget_s: shown beside the time spent.
        started: `time.monotonic()` when the verb began.
    """
    if os.environ.get("RANK", "0") != "0":
        yield Silent()
    elif plain or not sys.stderr.isatty():
        yield Lines(sys.stderr)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[clock]}"),
        )
        with Bars(*columns, console=Console(stderr=True, highlight=False)) as bars:
            yield Live(bars, budget_s=budget_s, started=started)


class Lines:
    """One line for each epoch and each thing said; nothing in between."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def say(self, text: str) -> None:
        """Write the text as a line."""
        print(text, file=self.stream, flush=True)

    def advance(self, label: str, done: int, total: int, detail: Mapping[str, Any] | None = None) -> None:
        """Write one line when the work is finished; that of an epoch is told by `epoch`."""
        if done == total and not detail:
            self.say(f"{label}: {done}/{total}")

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Write the epoch's numbers."""
        self.say(describe(row))


class Live:
    """A bar for the work at hand with its rate, live numbers, time left and the budget; what was said scrolls above."""

    def __init__(self, bars: Bars, *, budget_s: float | None, started: float) -> None:
        self.bars = bars
        self.budget_s = budget_s
        self.started = started
        self.label = ""
        self.task: TaskID | None = None

    def say(self, text: str) -> None:
        """Print the text above the bar."""
        self.bars.console.print(text, markup=False)

    def advance(self, label: str, done: int, total: int, detail: Mapping[str, Any] | None = None) -> None:
        """Move the bar; a new label replaces the bar of the work before it."""
        if self.task is None or label != self.label:
            if self.task is not None:
                self.bars.remove_task(self.task)
            self.task, self.label = self.bars.add_task(label, total=total, detail="", clock=""), label
        speed = self.bars.tasks[-1].speed
        numbers = describe(detail) if detail else f"{speed:.0f}/s" if speed else ""
        self.bars.update(self.task, completed=done, total=total, detail=numbers, clock=self._clock())

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print the epoch's numbers above the bar."""
        self.say(describe(row))

    def _clock(self) -> str:
        spent = _minutes(time.monotonic() - self.started)
        return f"{spent} of {_minutes(self.budget_s)}" if self.budget_s else spent


def describe(row: Mapping[str, Any]) -> str:
    """Return numbers as `name value` pairs: shares such as accuracy as per cent, units behind the value.

    >>> describe({"epoch": 3, "train_loss": 0.12345, "val_accuracy": 0.9, "images_per_s": 335.6, "left_s": math.inf})
    'epoch 3  train loss 0.1235  val accuracy 90.0 %  335.6 images/s'
    """
    shown = {name: value for name, value in row.items() if value is not None and value != math.inf}
    return "  ".join(_pair(name, value) for name, value in shown.items())


def _pair(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    number = f"{value:.4g}" if isinstance(value, float) else str(value)
    if words.endswith(" per s"):
        return f"{number} {words.removesuffix(' per s')}/s"
    if words.endswith(" s"):
        return f"{words.removesuffix(' s')} {number} s"
    if "accuracy" in words and isinstance(value, float):
        return f"{words} {100 * value:.1f} %"
    return f"{words} {number}"


def _minutes(duration_s: float) -> str:
    minutes, seconds = divmod(int(duration_s), 60)
    return f"{minutes}:{seconds:02}"
