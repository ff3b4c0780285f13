"""What is shown while work runs: lines in a log, one moving bar on a terminal, nothing from the other ranks."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from fovea.cli.progress import Lines, Live, describe, progress_shown
from fovea.core.progress import Silent

ROW = {"epoch": 2, "train_loss": 0.51234, "val_accuracy": 0.875, "lr": 1e-5, "note": None}


def test_numbers_read_as_names_and_values() -> None:
    assert describe(ROW) == "epoch 2  train loss 0.5123  val accuracy 87.5 %  lr 1e-05"


def test_lines_write_one_line_per_epoch_and_per_finished_work() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.say("chose the head: 60 s allow no more")
    for done in range(1, 4):
        lines.advance("features", done, 3)
        lines.advance("epoch 2", done, 3, {"loss": 0.5})  # told by its row, below
    lines.epoch(ROW)
    assert stream.getvalue().splitlines() == [
        "chose the head: 60 s allow no more",
        "features: 3/3",
        describe(ROW),
    ]


def test_the_live_display_keeps_one_bar_and_what_was_said() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, record=True)
    columns = [
        TextColumn(f"{{task.{name}}}") for name in ("description", "completed", "fields[detail]", "fields[clock]")
    ]
    with Progress(*columns, console=console) as bars:
        live = Live(bars, budget_s=600, started=time.monotonic() - 61)
        live.say("[not markup] 50 %")
        live.advance("features", 10, 20)
        live.advance("epoch 1", 3, 9, {"loss": 0.25})
        assert [(task.description, task.completed, task.total) for task in bars.tasks] == [("epoch 1", 3, 9)]
        assert "loss 0.25" in bars.tasks[0].fields["detail"]
        assert bars.tasks[0].fields["clock"] == "1:01 of 10:00"
        live.epoch(ROW)
    text = console.export_text()
    assert "[not markup] 50 %" in text
    assert describe(ROW) in text


def test_a_log_gets_lines_and_the_other_ranks_stay_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with progress_shown(started=0) as progress:
        assert isinstance(progress, Lines)  # pytest's standard error is no terminal
    monkeypatch.setenv("RANK", "1")
    with progress_shown(plain=True, started=0) as progress:
        assert isinstance(progress, Silent)


def test_a_terminal_gets_the_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress_shown(budget_s=60, started=0) as progress:
        assert isinstance(progress, Live)
    with progress_shown(plain=True, budget_s=60, started=0) as progress:
        assert isinstance(progress, Lines)
