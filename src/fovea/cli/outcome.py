"""What a verb prints when it is done: the main numbers as a short table, and where the rest is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fovea.cli.findings import print_findings
from fovea.core.run import Run

# name shown → path in the evaluation's result; what a result lacks (multi-label ones have other numbers) is left out
_NUMBERS = {
    "images": ("n",),
    "classes": ("n_classes",),
    "accuracy": ("accuracy",),
    "top-5 accuracy": ("top5_accuracy",),
    "balanced accuracy": ("balanced_accuracy",),
    "F1, mean of classes": ("macro", "f1"),
    "F1, pooled": ("micro", "f1"),
    "mean average precision": ("map",),
    "ROC AUC, mean of classes": ("roc_auc", "macro"),
    "Cohen's kappa": ("kappa",),
    "Matthews correlation": ("mcc",),
    "log loss": ("log_loss",),
    "calibration error (ECE)": ("ece",),
}
_VALUES = {  # of classes that are numbers
    "PRESS": ("values", "press"),
    "predicted R²": ("values", "r2_predicted"),
    "mean absolute error": ("values", "mae"),
}
_FINDINGS = 5  # the report has them all, with pictures
_MULTILABEL_ONLY = {"F1, pooled"}  # for one label an image it equals the accuracy
_INTERVALS = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "F1, mean of classes": "macro_f1"}


def print_outcome(run: Run) -> None:
    """Print how good a finished training is and where its model and report are; only the first process speaks."""
    if os.environ.get("RANK", "0") != "0":
        return
    print_scores(run.read("report.json", {}))
    print_findings([item for item in run.findings() if item.severity != "note"], named=0, most=_FINDINGS)
    models = [str(Run(path).model_path) for path in run.fold_paths()] or [str(run.model_path)]
    print(f"model: {models[0]}" if len(models) == 1 else f"models: {models[0]} to {models[-1]}")
    print_report_path(run.report_path)


def print_report_path(path: Path | str) -> None:
    """Print where the report is; always the last line of a verb that makes one."""
    print(f"report: {path}")


def print_scores(result: Mapping[str, Any]) -> None:
    """Print the main numbers of an evaluation, one a line, with their 95 % intervals where there are any."""
    for name, text, interval in score_rows(result):
        print(f"{name:<26}{text:>9}  {interval}".rstrip())


def score_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, value, interval) as texts, for the numbers that `result` has.

    >>> score_rows({"n": 200, "accuracy": 0.875, "intervals": {"accuracy": [0.83, 0.92]}, "mcc": None})
    [('images', '200', ''), ('accuracy', '87.5 %', '83.0 to 92.0 %')]
    """
    rows = []
    for name, path in _NUMBERS.items():
        value = _at(result, path)
        if value is None or (name in _MULTILABEL_ONLY and not result.get("multilabel")):
            continue
        ends = _at(result, ("intervals", _INTERVALS.get(name, "")))
        share = "accuracy" in name
        interval = f"{_text(ends[0], share).removesuffix(' %')} to {_text(ends[1], share)}" if ends else ""
        rows.append((name, _text(value, share), interval))
    return rows + _fold_rows(result)


def _fold_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows that only k-fold training has: how far its folds differ, and what all models together reach."""
    rows = []
    if (spread := _at(result, ("folds_accuracy", "spread"))) is not None:
        mean = _text(result["folds_accuracy"]["mean"], share=True)
        rows.append(("accuracy, mean of folds", mean, f"± {_text(spread, share=True)} from fold to fold"))
    for name, path in _VALUES.items():
        if (value := _at(result, path)) is not None:
            rows.append((name, _text(value, share=False), ""))
    if (accuracy := _at(result, ("ensemble", "accuracy"))) is not None:
        rows.append(("ensemble, test split", _text(accuracy, share=True), f"{result['ensemble']['models']} models"))
    return rows


def _at(result: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        result = result.get(key) if isinstance(result, Mapping) else None
    return result


def _text(value: float, share: bool) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{100 * value:.1f} %" if share else f"{value:.3f}"
