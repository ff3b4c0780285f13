"""Each verb hands its options to its workflow as they were meant; the workflows themselves are stood in for here.

The stand-ins have the real signatures, so that a call that the real function would refuse fails here too.
"""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock, create_autospec

import pytest

from fovea.cli import main
from fovea.core.recipe import Recipe
from fovea.core.run import Run
from fovea.data.samples import write_digits
from fovea.evaluation.output import Tally
from fovea.workflows import evaluating, predicting, training

RESULT = {"n": 4, "accuracy": 0.75, "macro": {"f1": float("nan")}, "split": "val", "report": "a run/report.html"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "run", Recipe())
    made.write("report.json", RESULT)
    return made


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, run: Run) -> Mock:
    stand_in = create_autospec(training.train, return_value=run)
    monkeypatch.setattr(training, "train", stand_in)
    return stand_in


def test_train_turns_its_options_into_a_recipe(train: Mock, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--budget", "10m", "--model", "resnet10t", "--weights", "w", "--seed", "7", "--out", "somewhere"]
    assert main(["train", "my photos", *options, "--set", "train.epochs=3", "--set", "data.hflip=0"]) == 0
    assert train.call_args.args == ("my photos",)
    recipe = train.call_args.kwargs["recipe"]
    assert (recipe.seed, recipe.model.name, recipe.model.weights) == (7, "resnet10t", "w")
    assert (recipe.train.budget_s, recipe.train.epochs, recipe.data.hflip) == (600, 3, 0)
    assert train.call_args.kwargs["out"] == Path("somewhere")
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {run.report_path}"


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(train: Mock, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("seed: 3\ndata: {source: from file}\nmodel: {from_scratch: true}\ntrain: {epochs: 9, lr: 0.1}\n")
    assert main(["train", "--recipe", str(file), "--seed", "4", "--set", "train.lr=0.5"]) == 0
    recipe = train.call_args.kwargs["recipe"]
    assert train.call_args.args == ("from file",)
    assert (recipe.seed, recipe.train.epochs, recipe.train.lr, recipe.model.from_scratch) == (4, 9, 0.5, True)


def test_every_wrong_setting_is_named_at_once_and_nothing_is_trained(
    train: Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "photos", "--set", "train.epoch=3", "--set", "train.batch_size=many"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'train.epochs'" in error
    assert "train.batch_size" in error
    train.assert_not_called()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "no data to train on"),
        (["train", "photos", "--budget", "soon"], "'soon' is not a duration"),
        (["train", "photos", "--recipe", "missing.yaml"], "no recipe file at missing.yaml"),
        (["train", "photos", "--from-scratch", "--weights", "w"], "drop one of them"),
        (["train", "photos", "--set", "train.epochs"], "expected key=value"),
    ],
)
def test_a_wrong_call_of_train_is_explained(
    arguments: list[str], message: str, train: Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    train.assert_not_called()


def test_show_recipe_prints_every_setting_resolved_and_trains_nothing(
    train: Mock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = write_digits(tmp_path / "digits")
    assert main(["train", str(digits), "--from-scratch", "--show-recipe", "--set", "train.epochs=2"]) == 0
    shown = tmp_path / "shown.yaml"
    shown.write_text(capsys.readouterr().out)
    train.assert_not_called()
    assert main(["train", "--recipe", str(shown)]) == 0  # what is shown can be given back
    recipe = train.call_args.kwargs["recipe"]
    assert recipe.train.epochs == 2
    assert recipe.train.threads  # left empty it is the machine's
    assert train.call_args.args == (str(digits),)


def test_resume_continues_the_run_and_tells_where_it_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = create_autospec(training.resume, return_value=run)
    monkeypatch.setattr(training, "resume", stand_in)
    assert main(["resume", str(run.folder)]) == 0
    assert stand_in.call_args.args == (run.folder,)
    assert "75.0 %" in capsys.readouterr().out


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> Mock:
    stand_in = create_autospec(evaluating.evaluate, return_value=RESULT)
    monkeypatch.setattr(evaluating, "evaluate", stand_in)
    return stand_in


def test_evaluate_prints_valid_json_and_nothing_else(evaluate: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "run", "--data", "new photos", "--split", "test", "--json"]) == 0
    assert evaluate.call_args.args == (Path("run"),)
    assert (evaluate.call_args.kwargs["data"], evaluate.call_args.kwargs["split"]) == ("new photos", "test")
    assert json.loads(capsys.readouterr().out) == RESULT | {"macro": {"f1": None}}  # JSON has no NaN


def test_evaluate_prints_a_table_and_where_the_report_is(evaluate: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "a run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["accuracy", "75.0", "%"]
    assert lines[-1] == "report: a run/report.html"


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (2, 1)])
def test_predict_exits_with_1_when_a_file_failed(
    failed: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = create_autospec(predicting.predict, return_value=Tally(done=3, failed=failed))
    monkeypatch.setattr(predicting, "predict", stand_in)
    options = ["--format", "parquet", "--out", "p.parquet", "--top-k", "3"]
    assert main(["predict", "run", "a.jpg", "b/*.png", *options]) == code
    assert stand_in.call_args.args == (Path("run"), ["a.jpg", "b/*.png"])
    assert stand_in.call_args.kwargs == {"format": "parquet", "output": Path("p.parquet"), "top_k": 3}
    assert ("2 of 5 files could not be read" in capsys.readouterr().err) == bool(failed)


def test_audit_counts_what_is_there_and_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = write_digits(tmp_path / "digits")
    (digits / "3" / "broken ü.png").write_bytes(b"not an image")
    assert main(["audit", str(digits), "--fast"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "1,797 images of 10 classes; 1 left out"
    assert "174 to 183 a class" in out
    assert "broken ü.png" in out
