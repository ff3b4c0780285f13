"""`fovea models` prints a table for people and JSON for programs."""

from __future__ import annotations

import json

import pytest

from fovea.cli import main


def test_the_table_names_what_a_reader_chooses_by(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "squeezenet*"]) == 0
    header, first, _, summary = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "library", "year", "input", "parameters", "MACs", "weights", "paper"]
    assert first.split()[:7] == [
        "squeezenet1_0",
        "torchvision",
        "2016",
        "224",
        "1,248,424",
        "818,924,576",
        "IMAGENET1K_V1",
    ]
    assert first.endswith("SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size")
    assert summary == "2 networks, 2 with published weights"


def test_what_is_not_there_is_a_dash_and_what_is_too_much_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "lenet5"]) == 0
    _, row, summary = capsys.readouterr().out.splitlines()
    assert row.split()[6] == "–"  # nobody publishes weights
    assert summary == "1 network, 0 with published weights"
    assert main(["models", "resnet50"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert " +" in rows["resnet50"]


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "vgg1*"]) == 0
    header, *rows, _ = capsys.readouterr().out.splitlines()
    assert {row.index("Very Deep") for row in rows} == {header.index("paper")}


def test_json_is_a_list_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inception_resnet_*", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["library"], first["weights"]) == ("inception_resnet_v1", "fovea", [])
    assert (second["library"], second["year"], second["arxiv"]) == ("timm", 2016, "1602.07261")
    assert second["parameters"] == 55_843_464


def test_without_a_pattern_there_are_more_than_a_thousand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 1000


def test_an_unknown_name_exits_with_2_and_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "resnett50"]) == 2
    error = capsys.readouterr().err
    assert "error: unknown network 'resnett50'" in error
    assert "did you mean 'resnet50" in error
