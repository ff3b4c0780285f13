"""What k-fold training says of images that a model has not seen: the file it is kept in, its numbers, its section.

Each training image is judged once, by the model of the fold that held it out. One table holds that, a row an image:
`path`, `fold`, `target`, `label` and `predicted` in words, `probabilities` (C), and `error` where the file could not be
read. Nothing is predicted here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fovea.core.errors import RunError
from fovea.core.files import write_bytes
from fovea.core.report import Block, Column, Fact, Facts, Prose, Section, Table
from fovea.core.run import Run
from fovea.core.wording import counted, number, percent, percent_range
from fovea.data.manifest import Manifest
from fovea.evaluation.predicting import Prediction
from fovea.metrics.press import class_values, judge_values

SPLIT = "out-of-fold"
FOLDS_SHOWN = 50

Answers = Sequence[NDArray[Any] | str]


def out_of_fold_table(
    manifest: Manifest, rows: pl.DataFrame, fold: int, answers: Answers, threshold: float | None
) -> pl.DataFrame:
    """Return the table for the images that a fold held out.

    Args:
        manifest: names the classes.
        rows: the N images, as in the manifest's table.
        fold: which one.
        answers: of each image the probabilities (C,), or why it could not be read.
        threshold: set for several labels an image.
    """
    known = [answer if isinstance(answer, np.ndarray) else None for answer in answers]
    predicted = [
        None if given is None else "|".join(Prediction(given, manifest.classes, threshold).labels) for given in known
    ]
    lists = rows["target"].to_list() if manifest.multilabel else [[target] for target in rows["target"]]
    return rows.select("path", "target").with_columns(
        fold=pl.lit(fold, dtype=pl.Int32),
        label=pl.Series(["|".join(manifest.classes[label] for label in labels) for labels in lists], dtype=pl.String),
        predicted=pl.Series(predicted, dtype=pl.String),
        probabilities=pl.Series(
            [None if given is None else given.tolist() for given in known], dtype=pl.List(pl.Float64)
        ),
        error=pl.Series([answer if isinstance(answer, str) else None for answer in answers], dtype=pl.String),
    )


def save_table(table: pl.DataFrame, path: Path) -> None:
    """Write the table as one Parquet file, atomically."""
    content = io.BytesIO()
    table.write_parquet(content)
    write_bytes(path, content.getvalue())


def load_table(path: Path) -> pl.DataFrame:
    """Read a table that `save_table` wrote; raises `RunError` where it is missing or damaged."""
    hint = Run(path.parent).resume_command
    if not path.exists():
        raise RunError(f"{path.parent} has no out-of-fold predictions yet", hint=hint)
    try:
        return pl.read_parquet(path.read_bytes())
    except pl.exceptions.PolarsError as error:
        raise RunError(f"{path} is damaged: {error}", hint=f"delete it, then {hint}") from error


def fold_metrics(
    table: pl.DataFrame, probabilities: NDArray[Any], targets: NDArray[Any], manifest: Manifest
) -> dict[str, Any]:
    """Return what `summarise` does not: the folds, their mean and spread, and values where classes have them.

    Args:
        table: the judged images.
        probabilities: (N, C) of them.
        targets: (N,) class ids, or (N, C) zeros and ones.
        manifest: of the run.
    """
    if manifest.multilabel:
        right = ((probabilities >= 0.5) == targets).all(axis=1)
    else:
        right = probabilities.argmax(axis=1) == targets
    fold_of = table["fold"].to_numpy()
    folds = [
        {"fold": int(fold), "n": int((fold_of == fold).sum()), "accuracy": float(right[fold_of == fold].mean())}
        for fold in np.unique(fold_of)
    ]
    shares = np.array([fold["accuracy"] for fold in folds])
    metrics: dict[str, Any] = {
        "folds": folds,
        "folds_accuracy": {
            "mean": float(shares.mean()),
            "spread": float(shares.std(ddof=1)) if len(shares) > 1 else None,
            "spread_definition": "standard deviation of the folds' accuracies (k-1); no standard error, as folds share "
            "training images",
        },
    }
    values = None if manifest.multilabel else class_values(manifest.classes)
    if values is not None:
        metrics["values"] = judge_values(probabilities, targets, values)
    return metrics


def folds_section(metrics: Mapping[str, Any]) -> Section:
    """Return the section on the folds, on classes as values, and on the ensemble, as far as `metrics` has them."""
    folds, spread = metrics["folds"], metrics["folds_accuracy"]
    facts = [
        Fact(
            "Accuracy, mean of folds",
            percent(spread["mean"], digits=1),
            "" if spread["spread"] is None else f"± {percent(spread['spread'], digits=1)} from fold to fold",
        )
    ]
    if ensemble := metrics.get("ensemble"):
        named = f"{counted(ensemble['models'], 'model')}, {ensemble['how']}"
        facts.append(
            Fact(
                "Ensemble on the test split",
                percent(ensemble["accuracy"], digits=1),
                ", ".join(filter(None, [percent_range(ensemble["interval"]), named])),
            )
        )
    blocks: list[Block] = [Facts(facts, headline=True)]
    if ensemble and ensemble["interval"] and ensemble["interval"][1] < metrics["accuracy"]:
        blocks.append(
            Prose(
                f"The test split tells another story than the folds: {percent(ensemble['accuracy'], digits=1)} against "
                f"{percent(metrics['accuracy'], digits=1)}. Either its images are of another kind, or images that show "
                "one object or one session stand in several folds and are recognised by each other. Believe the test "
                "split, and give images that belong together one group."
            )
        )
    if values := metrics.get("values"):
        blocks += _values(values)
    if len(folds) <= FOLDS_SHOWN:
        columns = [
            Column("Fold"),
            Column("Held out", kind="count", help="images that its model was judged on"),
            Column("Accuracy", kind="share", help="on the images held out"),
            Column("Trained on", kind="count", help="images of the other folds"),
            Column("Chosen on", kind="count", help="images of the other folds, or of the validation split, that "
                   "choices were made on"),
        ]  # fmt: skip
        cells = [[str(fold["fold"]), fold["n"], fold["accuracy"], fold.get("train"), fold.get("val")] for fold in folds]
        blocks.append(Table(columns, cells, caption="Each fold", sortable=True))
    return Section(
        "Folds",
        blocks,
        lead="Each model was trained without the images of its fold, and judged on them; nothing was chosen on them.",
    )


def _values(values: Mapping[str, float | None]) -> list[Block]:
    return [
        Facts(
            [
                Fact("PRESS", number(values["press"], digits=1), "sum of squared distances to the true value"),
                Fact("Predicted R²", number(values["r2_predicted"]), "1 is perfect, 0 is what the mean gives"),
                Fact("Mean absolute error", number(values["mae"]), "in units of the class names"),
            ],
            headline=True,
        ),
        Prose(
            "The classes are called by numbers, so each prediction has an expected value: the sum over classes of "
            "probability times number. These figures compare it with the true one. They mean something where the "
            "numbers measure (ages, counts, grades), and nothing where they are codes."
        ),
    ]
