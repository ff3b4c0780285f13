"""The options of `fovea compare` and what it prints; the trainings themselves are stood in for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest

from fovea.cli import main
from fovea.evaluation.comparison import Terms, Trained, compared
from fovea.models.comparing_heads import compare_heads
from fovea.workflows import comparing, heads

RIGHT = np.arange(400).reshape(1, 400) % 10 < np.array([[6], [6], [6]])


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mock:
    trained = [
        Trained(name=name, right=right, epoch_s=epoch_s, parameters=10, macs=None)
        for name, right, epoch_s in (
            ("pool=max", RIGHT, 2.0),
            ("pool=softpool", RIGHT | (np.arange(400) % 10 == 7), 3.25),
            ("pool=lip", RIGHT, None),
        )
    ]
    terms = Terms("photos", "val", 400, 0, 3, ("linear head",), str(tmp_path))
    stand_in = create_autospec(comparing.compare, return_value=compared(trained, terms))
    monkeypatch.setattr(comparing, "compare", stand_in)
    return stand_in


def test_the_options_reach_the_comparison(compare: Mock) -> None:
    line = "compare photos --swap pool=max,softpool,own --vary train.optimizer=sgd,adamw --seeds 3 --budget 10m"
    assert main([*line.split(), "--set", "train.epochs=2", "--from-scratch", "--out", "there"]) == 0
    assert compare.call_args.args == ("photos",)
    given = compare.call_args.kwargs
    assert given["vary"] == {"model.pool": ["max", "softpool", None], "train.optimizer": ["sgd", "adamw"]}
    assert (given["seeds"], given["out"]) == (3, Path("there"))
    settings = given["recipe"]
    assert (settings.train.epochs, settings.train.budget_s, settings.model.from_scratch) == (2, 600.0, True)


def test_the_answer_is_printed(compare: Mock, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compare", "photos", "--swap", "pool=max,softpool,lip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pool=max       accuracy 60.0 % (60.0 to 60.0 over 3 seeds), 2 s an epoch"
    assert lines[2] == "pool=lip       accuracy 60.0 % (60.0 to 60.0 over 3 seeds)"
    assert lines[3].startswith("pool=softpool: better than pool=max, +10.0 points (+")
    assert lines[4].startswith("pool=lip: no difference shown, +0.0 points (-")
    assert lines[5] == "(2 intervals that hold all at once with 95 %, over images and seeds; 400 images of val)"
    assert lines[6] == f"report: {tmp_path / 'comparison.html'}"


def test_the_json_is_valid(compare: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "photos", "--swap", "pool=max,softpool,lip", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["against"] and one["against"]["verdict"] for one in found["variants"]] == [
        None,
        "better",
        "no difference shown",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "error: nothing to compare"),
        (["--swap", "pools=max,softpool"], "error: --swap pools=max,softpool: not a kind of layer and a name"),
        (["--swap", "pool"], "error: --swap pool: not a kind of layer and a name"),
        (["--vary", "train.lr"], "error: 'train.lr' names no values"),
        (["--vary", "train.lr="], "error: 'train.lr=' names no values"),
        (["--swap", "pool=max,,lip"], "error: 'model.pool=max,,lip' names an empty value"),
        (["--swap", "pool=max,lip,"], "error: 'model.pool=max,lip,' names an empty value"),
        (["--swap", "pool=max,lip", "--heads", "all"], "error: compare takes --swap and --vary, or --heads"),
    ],
)
def test_a_wrong_option_is_explained(
    compare: Mock, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "photos", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and "\nhint: " in error
    compare.assert_not_called()


def test_heads_are_compared_on_frozen_features(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(mean, 1, (40, 4)) for mean in (-2, 2)])
    found = compare_heads(features, np.repeat(["no", "yes"], 40), heads=["knn"])
    found = dataclasses.replace(found, features_from="a network")
    stand_in = create_autospec(heads.compare_heads_on, return_value=found)
    monkeypatch.setattr(heads, "compare_heads_on", stand_in)
    assert main(["compare", "photos", "--heads", "knn, linear"]) == 0
    assert stand_in.call_args.kwargs["heads"] == ["knn", "linear"]
    linear, knn, answer, about = capsys.readouterr().out.splitlines()
    assert linear == "linear  accuracy 100.0 % (95.4 to 100.0 %)"
    assert knn.startswith("knn     accuracy 100.0 % (95.4 to 100.0 %)  +0.0 points (-")
    assert answer == "no head is shown to be better than linear: a linear top will do"
    assert about == "(80 images in 5 folds; features: a network)"
    assert main(["compare", "photos", "--heads", "all", "--json"]) == 0
    assert stand_in.call_args.kwargs["heads"] is None
    assert json.loads(capsys.readouterr().out)["heads"][1]["verdict"] == "no difference shown"
