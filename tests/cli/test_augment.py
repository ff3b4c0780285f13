"""`fovea augment` hands its options on as they were meant, and tells what was made and what was left out."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock, create_autospec

import pytest

from fovea.cli import main
from fovea.workflows import augmenting
from fovea.workflows.augmenting import Augmented

MADE = Augmented(
    folder=Path("out"),
    labels=Path("out/labels.csv"),
    originals=1000,
    variants=4000,
    copied=250,
    written=5250,
    left_out=(),
)


@pytest.fixture
def augment(monkeypatch: pytest.MonkeyPatch) -> Mock:
    stand_in = create_autospec(augmenting.augment, return_value=MADE)
    monkeypatch.setattr(augmenting, "augment", stand_in)
    return stand_in


def test_options_become_a_recipe_and_the_summary_says_how_to_go_on(
    augment: Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--factor", "5", "--seed", "3", "--set", "data.rotate=15", "--size", "320", "--min-visible", "0.5"]
    assert main(["augment", "my photos", "--out", "out", *options]) == 0
    assert augment.call_args.args == ("my photos",)
    given = augment.call_args.kwargs
    assert (given["out"], given["factor"], given["size"], given["min_visible"]) == (Path("out"), 5, 320, 0.5)
    assert (given["recipe"].seed, given["recipe"].data.rotate) == (3, 15)
    assert capsys.readouterr().out.splitlines() == [
        "5,250 images in out: 1,000 for training, 4,000 variants of them, 250 others unchanged",
        "to train on them: fovea train out/labels.csv",
    ]


def test_images_left_out_are_named_and_the_exit_code_is_1(augment: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    left_out = tuple((f"a/{number}.jpg", "is empty (0 bytes)") for number in range(25))
    augment.return_value = Augmented(**{**vars(MADE), "labels": None, "left_out": left_out})
    assert main(["augment", "photos", "--out", "out"]) == 1
    out, err = capsys.readouterr()
    assert "fovea train" not in out  # boxes: nothing that fovea train reads
    lines = err.splitlines()
    assert lines[:2] == ["25 images were left out:", "  a/0.jpg is empty (0 bytes)"]
    assert lines[-1] == "  and 5 more"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["augment", "photos"], "--out"),
        (["augment", "photos", "--out", "o", "--set", "data.rotat=5"], "did you mean 'data.rotate'?"),
        (["augment", "photos", "--out", "o", "--set", "data.shear=85"], "expected at most 80 degrees"),
    ],
)
def test_a_wrong_call_is_explained(
    arguments: list[str], message: str, augment: Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    augment.assert_not_called()
