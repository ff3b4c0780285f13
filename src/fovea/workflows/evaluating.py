"""`fovea evaluate`: judge a run's model on a split of its own data or on other data, and write the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fovea.core.errors import DataError, RunError
from fovea.core.files import write_text
from fovea.core.html import render
from fovea.core.progress import Progress, Silent
from fovea.core.run import Run
from fovea.data.manifest import SPLITS, Manifest
from fovea.data.reading import read
from fovea.evaluation import outoffold
from fovea.evaluation.ensemble import Ensemble
from fovea.evaluation.predicting import Predictor
from fovea.evaluation.report import build_report
from fovea.metrics.classification import summarise
from fovea.metrics.multilabel import summarise_multilabel
from fovea.training.session import PLAN
from fovea.workflows.loading import load


def evaluate(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    split: str | None = None,
    console: Progress | None = None,
) -> dict[str, Any]:
    """Measure the model of a run and write report.json and report.html into the run folder.

    Judged on other data, the files are named after it, and the run's own report stays: `report-<data>.html`. Of k-fold
    training the run's own report is that of the out-of-fold predictions; a split judged by all models together has a
    report of its own, `report-<split>.html`.

    Args:
        folder: the run.
        data: other images than the run's own; their labels are matched to the model's classes by name or source id.
        split: train, val or test; by default test where there is one, else val. With `data` that has no splits, all.
            Of k-fold training also "out-of-fold", which is the default where there is no test split.
        console: shown to the user.

    Returns:
        The metrics, JSON-ready, with `accuracy` and the rest at top level.

    Raises:
        DataError: the split is empty, or no label is known to the model.
    """
    progress = console or Silent()
    run = Run.open(folder)
    if not run.manifest_path.exists():
        raise RunError(f"{folder} has no manifest", hint=run.resume_command)
    own = Manifest.load(run.manifest_path)
    folded = run.recipe().train.folds is not None
    if split == outoffold.SPLIT and not (folded and data is None):
        raise DataError(
            "only the data of a k-fold training has out-of-fold predictions", hint="fovea train DATA --folds 5"
        )
    if folded and data is None and (split == outoffold.SPLIT or (split is None and not own.has_split("test"))):
        return judge_out_of_fold(run)
    model = load(folder)
    manifest = own if data is None else _read_other(run, own, data, progress)
    split = split or _default_split(manifest)
    rows = manifest.usable(split)
    if not rows.height:
        present = [name for name in SPLITS if manifest.has_split(name)]
        raise DataError(
            f"no usable image in the split {split!r}",
            hint=f"choose --split {' or '.join(present)}" if present else "check the data",
        )
    answers = answers_of(model, manifest.paths(rows), progress)
    page = "report.html"
    if data is not None:
        page = f"report-{Path(data).stem}.html"
    elif folded:
        page = f"report-{split}.html"
    source = str(data if data is not None else own.source)
    more = {"ensemble": {"models": len(model.members), "how": model.how}} if isinstance(model, Ensemble) else {}
    return _judge(run, manifest, rows, answers, page=page, about={"split": split, "data": source, **more})


def judge_out_of_fold(run: Run) -> dict[str, Any]:
    """Measure what the models of k-fold training said of images they had not seen; write report.json and report.html.

    Raises:
        RunError: the training is not finished.
    """
    manifest = Manifest.load(run.manifest_path)
    table = outoffold.load_table(run.out_of_fold_path)
    answers = [error or np.array(given) for given, error in table.select("probabilities", "error").iter_rows()]
    about: dict[str, Any] = {"split": outoffold.SPLIT, "data": manifest.source}
    together = run.read("report-test.json")
    if together and (together["split"], together["data"]) == ("test", manifest.source):
        interval = (together.get("intervals") or {}).get("accuracy")
        kept = {name: together[name] for name in ("split", "n", "accuracy", "report")}
        about["ensemble"] = {**kept, "interval": interval, **together["ensemble"]}
    return _judge(run, manifest, table, answers, page="report.html", about=about)


def answers_of(model: Predictor | Ensemble, paths: list[Path], progress: Progress) -> list[np.ndarray | str]:
    """Return for each image its probabilities (C,), or why it has become unreadable."""
    answers: list[np.ndarray | str] = []
    for _, answer in model.probabilities(paths):
        progress.advance("evaluating", len(answers) + 1, len(paths))
        answers.append(answer.message if isinstance(answer, DataError) else answer)
    return answers


def _judge(
    run: Run,
    manifest: Manifest,
    rows: pl.DataFrame,
    answers: Sequence[np.ndarray | str],
    *,
    page: str,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Compute the metrics and write them and the report.

    Args:
        rows: the N judged images; with a column `fold`, numbers on the folds are added to out-of-fold predictions.
        answers: (N,) as `answers_of` returns them.
        page: the report's file name.
        about: what else the metrics say: split, data.
    """
    kept = [row for row, answer in enumerate(answers) if isinstance(answer, np.ndarray)]
    if not kept:
        raise DataError("none of the images could be read", hint="check that the data is still where it was")
    paths = manifest.paths(rows)
    failures = [
        {"path": str(path), "error": answer}
        for path, answer in zip(paths, answers, strict=True)
        if isinstance(answer, str)
    ]
    probabilities = np.stack([answers[row] for row in kept])
    targets = manifest.targets(rows)[kept]
    summary = summarise_multilabel if manifest.multilabel else summarise
    metrics = summary(probabilities, targets, classes=manifest.classes, seed=run.recipe().seed)
    if about["split"] == outoffold.SPLIT:
        metrics |= outoffold.fold_metrics(rows[kept], probabilities, targets, manifest)
        trained = {entry["fold"]: entry for entry in run.read(PLAN, {}).get("folds", [])}
        metrics["folds"] = [{**trained.get(fold["fold"], {}), **fold} for fold in metrics["folds"]]
    metrics |= about
    metrics["excluded"] = manifest.excluded().height + len(failures)
    metrics["unreadable"] = failures
    metrics["report"] = str(run.folder / page)
    run.write(Path(page).with_suffix(".json").name, metrics)
    report = build_report(
        run=run,
        manifest=manifest,
        metrics=metrics,
        probabilities=probabilities,
        targets=targets,
        paths=[paths[row] for row in kept],
    )
    write_text(run.folder / page, render(report))
    run.event("evaluated", split=about["split"], accuracy=metrics["accuracy"])
    return metrics


def _read_other(run: Run, own: Manifest, data: Path | str, progress: Progress) -> Manifest:
    recipe = run.recipe().data
    return read(
        data,
        label_column=recipe.label_column,
        classes=recipe.classes,
        known=(own.classes, own.class_ids),
        max_pixels=recipe.max_pixels,
        progress=lambda done, total: progress.advance("reading images", done, total),
    )


def _default_split(manifest: Manifest) -> str | None:
    """Return test, else val; None (all images) where the data has no splits, which other data may well not have."""
    for name in ("test", "val"):
        if manifest.has_split(name):
            return name
    return "train" if manifest.has_split("train") else None
