"""The closing lines of a verb: the main numbers, and the report's path last."""

from __future__ import annotations

from pathlib import Path

import pytest

from fovea.cli.outcome import print_outcome, score_rows
from fovea.core.recipe import Recipe
from fovea.core.run import Run

RESULT = {
    "n": 40,
    "n_classes": 3,
    "accuracy": 0.925,
    "macro": {"f1": 0.9},
    "micro": {"f1": 0.925},
    "kappa": None,
    "roc_auc": {"macro": 0.99},
    "intervals": {"accuracy": [0.825, 1.0], "macro_f1": [0.8, 1.0]},
}


def test_numbers_come_with_their_intervals_and_what_is_undefined_is_left_out() -> None:
    assert score_rows(RESULT) == [
        ("images", "40", ""),
        ("classes", "3", ""),
        ("accuracy", "92.5 %", "82.5 to 100.0 %"),
        ("F1, mean of classes", "0.900", "0.800 to 1.000"),
        ("ROC AUC, mean of classes", "0.990", ""),
    ]


def test_several_labels_an_image_show_the_pooled_f1() -> None:
    assert ("F1, pooled", "0.925", "") in score_rows(RESULT | {"multilabel": True, "intervals": None})


def test_the_last_line_says_where_the_report_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "mein Lauf", Recipe())
    run.write("report.json", RESULT)
    print_outcome(run)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["accuracy", "92.5", "%", "82.5", "to", "100.0", "%"]
    assert lines[-1] == f"report: {tmp_path / 'mein Lauf' / 'report.html'}"
    monkeypatch.setenv("RANK", "1")
    print_outcome(run)
    assert capsys.readouterr().out == ""
