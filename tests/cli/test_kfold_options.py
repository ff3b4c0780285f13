"""The options of k-fold training, and what is printed when it is done; the training itself is stood in for."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock, create_autospec

import pytest

from fovea.cli import main
from fovea.core.recipe import Recipe
from fovea.core.recipe_io import build_recipe
from fovea.core.run import Run
from fovea.workflows import training

RESULT = {
    "n": 90,
    "accuracy": 0.9,
    "split": "out-of-fold",
    "folds_accuracy": {"mean": 0.9, "spread": 0.0123},
    "values": {"press": 12.5, "r2_predicted": 0.75, "mae": None},
    "ensemble": {"models": 3, "how": "vote", "accuracy": 0.955},
}


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mock:
    run = Run.create(tmp_path / "run", Recipe())
    run.write("report.json", RESULT)
    for fold in range(3):
        run.fold_path(fold).mkdir(parents=True)
    stand_in = create_autospec(training.train, return_value=run)
    monkeypatch.setattr(training, "train", stand_in)
    return stand_in


@pytest.mark.parametrize(("text", "meant"), [("5", 5), ("loo", "loo")])
def test_folds_and_ensemble_reach_the_recipe(train: Mock, text: str, meant: int | str) -> None:
    assert main(["train", "photos", "--folds", text, "--ensemble", "vote"]) == 0
    settings = train.call_args.kwargs["recipe"].train
    assert (settings.folds, settings.ensemble) == (meant, "vote")


def test_without_the_options_there_is_one_training() -> None:
    settings = build_recipe().train
    assert (settings.folds, settings.ensemble) == (None, "average")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "1"], "train.folds: is 1, the smallest sensible value is 2"),
        (["--folds", "lo"], "train.folds: 'lo' is not a whole number or one of loo; did you mean 'loo'?"),
        (["--folds", "2.5"], "train.folds: '2.5' is not a whole number or one of loo"),
        (["--folds", "3", "--ensemble", "mean"], "train.ensemble: 'mean' is not one of average, vote"),
        (["--set", "train.folds=true"], "train.folds: expected a whole number, got True"),
    ],
)
def test_a_wrong_option_is_explained(
    train: Mock, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "photos", *options]) == 2
    assert message in capsys.readouterr().err
    train.assert_not_called()


def test_what_is_printed_tells_the_folds_the_values_and_the_ensemble(
    train: Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "photos", "--folds", "3"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    folder = train.return_value.folder
    assert lines[1:] == [
        "accuracy 90.0 %",
        "accuracy, mean of folds 90.0 % ± 1.2 % from fold to fold",
        "PRESS 12.500",
        "predicted R² 0.750",
        "ensemble, test split 95.5 % 3 models",
        f"models: {folder}/folds/0/model to {folder}/folds/2/model",
        f"report: {folder}/report.html",
    ]


def test_a_recipe_with_folds_comes_back_from_its_file(tmp_path: Path) -> None:
    for folds in (None, 4, "loo"):
        recipe = build_recipe({"train": {"folds": folds, "ensemble": "vote"}})
        assert Run.create(tmp_path / str(folds), recipe).recipe() == recipe
