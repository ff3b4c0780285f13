"""Recipes: every fault at once, each with its path; what is written comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from fovea.core.errors import RecipeError
from fovea.core.recipe import Recipe, TrainRecipe
from fovea.core.recipe_io import build_recipe, dump_recipe, load_recipe


def test_defaults_file_and_command_line_in_rising_order(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("train:\n  epochs: 5\n  batch_size: 16\n", encoding="utf-8")
    recipe = load_recipe(file, overrides=["train.epochs=2"])
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.schedule) == (2, 16, "cosine")


def test_every_fault_is_reported_at_once_with_its_path_and_a_suggestion() -> None:
    with pytest.raises(RecipeError) as error:
        build_recipe(
            {"train": {"epoch": 3, "batch_size": "many", "bn": "frozn"}, "lr": 0.1, "data": "photos"},
            overrides=["train.batch_size=0.5", "noequals"],
        )
    message = str(error.value)
    assert message.startswith("6 settings are wrong")
    for part in (
        "train.epoch: no such setting; did you mean 'train.epochs'?",
        "train.batch_size: expected a whole number, got 0.5",
        "'frozn' is not one of auto, frozen, update; did you mean 'frozen'?",
        "lr: no such setting; did you mean 'train.lr'?",
        "--set 'noequals': expected key=value",
    ):
        assert part in message
    assert "--show-recipe" in error.value.hint


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.lr=1e-3", 0.001),
        ("train.lr=1", 1.0),
        ("train.lr=null", None),
        ("train.epochs=3.0", 3),
        ("train.compile=on", "on"),
        ("train.nesterov=false", False),
        ("train.step_epochs=[2, 5]", (2, 5)),
        ("train.step_epochs=4", (4,)),
        ("data.label_column=Coarse Class ID (int)", "Coarse Class ID (int)"),
    ],
)
def test_values_are_read_as_people_write_them(override: str, value: object) -> None:
    recipe = build_recipe(overrides=[override])
    room, _, name = override.partition("=")[0].partition(".")
    found = getattr(getattr(recipe, room), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", "is 0, the smallest sensible value is 1"),
        ("train.nesterov=1", "expected true or false, got 1"),
        ("train.epochs=true", "expected a whole number, got True"),
        ("train.step_epochs=[a]", "expected whole numbers"),
        ("train.batch_size=null", "needs a value"),
        ("data.val_fraction=1", "expected a share below 1"),
        ("train=3", "train: expected settings below it, got 3"),
    ],
)
def test_wrong_values_say_what_was_expected(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        build_recipe(overrides=[override])
    assert message in str(error.value)


def test_contradictions_are_faults() -> None:
    with pytest.raises(RecipeError, match=r"model\.from_scratch: is true while model\.weights is given"):
        build_recipe({"model": {"from_scratch": True, "weights": "dir"}})
    with pytest.raises(RecipeError, match="'head' needs trained weights"):
        build_recipe({"model": {"from_scratch": True}, "train": {"strategy": "head"}})


@pytest.mark.parametrize("comments", [False, True])
def test_a_dumped_recipe_reads_back_equal(tmp_path: Path, comments: bool) -> None:
    recipe = build_recipe(overrides=["data.source=Äpfel & Birnen: a/b #1", "train.lr=1e-7", "train.step_epochs=[1,2]"])
    path = tmp_path / "r.yaml"
    path.write_text(dump_recipe(recipe, comments=comments), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_comments_explain_every_setting() -> None:
    lines = [line for line in dump_recipe(Recipe(), comments=True).splitlines() if not line.endswith(":")]
    assert all(" # " in line for line in lines)
    assert any(line.lstrip().startswith("sampler: shuffle") and "(shuffle, balanced, " in line for line in lines)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe file at"):
        load_recipe(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("train: [", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"broken\.yaml is not valid YAML"):
        load_recipe(broken)
    broken.write_text("- a\n- b\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="holds list, expected settings"):
        load_recipe(broken)
    broken.write_text("", encoding="utf-8")
    assert load_recipe(broken) == Recipe()


def test_a_recipe_cannot_change() -> None:
    with pytest.raises(AttributeError):
        TrainRecipe().epochs = 3  # type: ignore[misc]
