"""`fovea evaluate`: judge a run's model on a split of its own data or on other data, and write the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fovea.core.errors import DataError, RunError
from fovea.core.files import write_text
from fovea.core.html import render
from fovea.core.progress import Progress, Silent
from fovea.core.run import Run
from fovea.data.manifest import SPLITS, Manifest
from fovea.data.reading import read
from fovea.evaluation.predicting import Predictor
from fovea.evaluation.report import build_report
from fovea.metrics.classification import summarise
from fovea.metrics.multilabel import summarise_multilabel
from fovea.workflows.loading import load


def evaluate(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    split: str | None = None,
    console: Progress | None = None,
) -> dict[str, Any]:
    """Measure the model of a run and write report.json and report.html into the run folder.

    Judged on other data, the files are named after it, and the run's own report stays: `report-<data>.html`.

    Args:
        folder: the run.
        data: other images than the run's own; their labels are matched to the model's classes by name or source id.
        split: train, val or test; by default test where there is one, else val. With `data` that has no splits, all.
        console: shown to the user.

    Returns:
        The metrics, JSON-ready, with `accuracy` and the rest at top level.

    Raises:
        DataError: the split is empty, or no label is known to the model.
    """
    progress = console or Silent()
    run = Run.open(folder)
    model = load(folder)
    if not run.manifest_path.exists():
        raise RunError(f"{folder} has no manifest", hint=f"fovea resume {folder}")
    own = Manifest.load(run.manifest_path)
    manifest = own if data is None else _read_other(run, own, data, progress)
    split = split or _default_split(manifest)
    rows = manifest.usable(split)
    if not rows.height:
        present = [name for name in SPLITS if manifest.has_split(name)]
        raise DataError(
            f"no usable image in the split {split!r}",
            hint=f"choose --split {' or '.join(present)}" if present else "check the data",
        )
    probabilities, kept, failures = _probabilities(model, manifest.paths(rows), progress)
    targets = manifest.targets(rows)[kept]
    seed = run.recipe().seed
    if manifest.multilabel:
        metrics = summarise_multilabel(probabilities, targets, classes=manifest.classes, seed=seed)
    else:
        metrics = summarise(probabilities, targets, classes=manifest.classes, seed=seed)
    metrics["split"] = split
    metrics["data"] = str(data if data is not None else own.source)
    metrics["excluded"] = manifest.excluded().height + len(failures)
    metrics["unreadable"] = failures
    page = run.report_path if data is None else run.folder / f"report-{Path(data).stem}.html"
    metrics["report"] = str(page)
    run.write(page.with_suffix(".json").name, metrics)
    paths = manifest.paths(rows)
    report = build_report(
        run=run,
        manifest=manifest,
        metrics=metrics,
        probabilities=probabilities,
        targets=targets,
        paths=[paths[row] for row in kept],
    )
    write_text(page, render(report))
    run.event("evaluated", split=split, accuracy=metrics["accuracy"])
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


def _probabilities(
    model: Predictor, paths: list[Path], progress: Progress
) -> tuple[np.ndarray, list[int], list[dict[str, str]]]:
    """Return (probabilities (n, C), the rows they belong to, the files that have become unreadable)."""
    found, kept, failures = [], [], []
    for row, (path, answer) in enumerate(model.probabilities(paths)):
        progress.advance("evaluating", row + 1, len(paths))
        if isinstance(answer, DataError):
            failures.append({"path": str(path), "error": answer.message})
        else:
            found.append(answer)
            kept.append(row)
    if not found:
        raise DataError("none of the images could be read", hint="check that the data is still where it was")
    return np.stack(found), kept, failures
