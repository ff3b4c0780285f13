"""Out-of-fold predictions: the table, the numbers on the folds, and what the report says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fovea.core.errors import RunError
from fovea.core.report import Facts, Prose, Table
from fovea.data.manifest import Manifest
from fovea.evaluation.outoffold import fold_metrics, folds_section, load_table, out_of_fold_table, save_table


def manifest(classes: tuple[str, ...], targets: list, *, multilabel: bool = False) -> Manifest:
    table = pl.DataFrame({"path": [f"bild {number}.png" for number in range(len(targets))], "target": targets})
    return Manifest(table, classes, root=Path("fotos"), multilabel=multilabel)


def test_the_table_says_what_was_said_and_what_could_not_be_read(tmp_path: Path) -> None:
    data = manifest(("Äpfel", "pears"), [0, 1, 1])
    answers = [np.array([0.25, 0.75]), "is truncated", np.array([0.1, 0.9])]
    table = out_of_fold_table(data, data.table, 4, answers, None)
    save_table(table, tmp_path / "oof.parquet")
    assert load_table(tmp_path / "oof.parquet").to_dicts() == [
        {"path": "bild 0.png", "target": 0, "fold": 4, "label": "Äpfel", "predicted": "pears",
         "probabilities": [0.25, 0.75], "error": None},
        {"path": "bild 1.png", "target": 1, "fold": 4, "label": "pears", "predicted": None,
         "probabilities": None, "error": "is truncated"},
        {"path": "bild 2.png", "target": 1, "fold": 4, "label": "pears", "predicted": "pears",
         "probabilities": [0.1, 0.9], "error": None},
    ]  # fmt: skip
    unread = out_of_fold_table(data, data.table[:1], 0, ["is missing"], None)
    assert unread.schema == table.schema
    several = manifest(("a", "b", "c"), [[0, 2]], multilabel=True)
    row = out_of_fold_table(several, several.table, 0, [np.array([0.6, 0.5, 0.4])], 0.5).row(0, named=True)
    assert (row["label"], row["predicted"]) == ("a|c", "a|b")


def test_a_table_that_is_missing_or_damaged_says_the_way_on(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no out-of-fold predictions yet") as error:
        load_table(tmp_path / "oof.parquet")
    assert error.value.hint == f"fovea resume {tmp_path}"
    (tmp_path / "oof.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="is damaged"):
        load_table(tmp_path / "oof.parquet")


def test_the_folds_are_counted_and_their_spread_is_that_of_a_sample() -> None:
    data = manifest(("cat", "dog"), [0, 0, 1, 1, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.6, 0.4], [0.7, 0.3]])
    table = data.table.with_columns(fold=pl.Series([0, 0, 0, 1, 1, 2]))
    found = fold_metrics(table, probabilities, data.targets(), data)
    assert [(fold["fold"], fold["n"], fold["accuracy"]) for fold in found["folds"]] == [
        (0, 3, 2 / 3),
        (1, 2, 1),
        (2, 1, 0),
    ]
    assert found["folds_accuracy"]["mean"] == pytest.approx(5 / 9)
    assert found["folds_accuracy"]["spread"] == pytest.approx(np.sqrt(7 / 27))  # ((1/9)² + (4/9)² + (5/9)²) / 2 = 7/27
    assert "values" not in found


def metrics(**more: object) -> dict[str, object]:
    folds = [{"fold": fold, "n": 10, "accuracy": 0.9, "train": 16, "val": 4} for fold in range(3)]
    return {"accuracy": 0.9, "folds": folds, "folds_accuracy": {"mean": 0.9, "spread": 0.02}, **more}


def test_the_section_shows_folds_ensemble_and_values_where_there_are_any() -> None:
    plain = folds_section(metrics())
    assert [type(block) for block in plain.blocks] == [Facts, Table]
    assert plain.blocks[1].rows[2] == ["2", 10, 0.9, 16, 4]  # type: ignore[union-attr]
    many = [{"fold": fold, "n": 1, "accuracy": 1.0} for fold in range(200)]
    assert [type(block) for block in folds_section(metrics(folds=many)).blocks] == [Facts]
    values = folds_section(metrics(values={"press": 4.25, "r2_predicted": None, "mae": 0.5}))
    shown = {fact.name: fact.value for block in values.blocks if isinstance(block, Facts) for fact in block.items}
    assert (shown["PRESS"], shown["Predicted R²"], shown["Mean absolute error"]) == ("4.2", "–", "0.500")


@pytest.mark.parametrize(("interval", "warned"), [([0.6, 0.85], True), ([0.7, 0.95], False), (None, False)])
def test_a_test_split_that_tells_another_story_is_pointed_at(interval: list[float] | None, warned: bool) -> None:
    ensemble = {"accuracy": 0.75, "interval": interval, "models": 3, "how": "vote", "split": "test", "n": 40}
    section = folds_section(metrics(ensemble=ensemble))
    told = [block.text for block in section.blocks if isinstance(block, Prose)]
    assert bool(told) is warned
    if warned:
        assert "75.0 % against 90.0 %" in told[0] and "one group" in told[0]
