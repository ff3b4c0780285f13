"""`fovea compare`, whole: equal terms, one answer for each variant, going on after a stop, and what it refuses."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fovea.core.errors import DataError, Interrupted, ModelError, RecipeError, RunError
from fovea.core.recipe import Recipe
from fovea.core.recipe_io import changed
from fovea.core.run import Run
from fovea.data.manifest import Manifest
from fovea.evaluation.comparison import Comparison
from fovea.models import catalogue
from fovea.training.loop import Clock
from fovea.workflows import comparing, features, training
from fovea.workflows.comparing import compare, variants_of, with_room
from fovea.workflows.devices import build_fabric
from fovea.workflows.evaluating import evaluate
from fovea.workflows.heads import compare_heads_on
from fovea.workflows.loading import load

from .conftest import recipe as quick_recipe
from .pictures import Told

POOLS = {"model.pool": [None, "softpool", "lip"]}


def recipe(weights: Path, *overrides: str) -> Recipe:
    """A recipe that trains in a second: one epoch of one view."""
    fixed = ("data.input_size=32", "data.resize=squash", "train.epochs=1", "train.freeze_stages=0")
    return quick_recipe(f"model.weights={weights}", *fixed, *overrides)


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def pools(photos: Path, tiny_weights: Path, told: Told, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Three ways to pool, two seeds each."""
    out = tmp_path_factory.mktemp("runs") / "drei Pools"
    return compare(photos, vary=POOLS, recipe=recipe(tiny_weights), seeds=2, out=out, console=told)


def parts(found: Comparison) -> dict[str, list[Run]]:
    """Return the runs of each variant."""
    folder = Path(found.terms.folder)
    return {one.name: [Run.open(folder / one.name / f"seed-{seed}") for seed in (0, 1)] for one in found.trained}


def test_slower_variants_leave_the_first_one_a_smaller_part_of_the_budget(
    pools: Comparison, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, data = Told(), Manifest.load(Path(pools.terms.folder) / "manifest.parquet")
    variants = variants_of(recipe(tiny_weights), POOLS)
    costs: dict[str, float | None] = {"own": 1.0, "softpool": 2.0, "lip": 6.0}
    monkeypatch.setattr(comparing, "step_cost_s", lambda recipe, fabric: costs[recipe.model.pool or "own"])
    clock = Clock(budget_s=900.0, started=time.monotonic())

    def share_s(vary: Collection[str]) -> float:
        fabric = build_fabric(Recipe().train)
        return comparing._Race(tmp_path, variants, 2, data, fabric, clock, told, vary)._share_s()

    assert share_s(POOLS) == pytest.approx(900 / 2 / 9, rel=0.05)
    assert any("2.0 and 6.0 times as long" in line for line in told.said)
    assert share_s(["train.lr"]) == pytest.approx(900 / 2 / 3, rel=0.05)
    costs["own"] = None  # of which network the data decide: nothing to hold the others against
    assert share_s(POOLS) == pytest.approx(900 / 2 / 3, rel=0.05)


def test_a_step_of_every_network_can_be_measured(tiny_weights: Path) -> None:
    fabric = build_fabric(Recipe().train)
    for variant in variants_of(recipe(tiny_weights), POOLS):
        cost_s = comparing.step_cost_s(variant.recipe, fabric)
        assert cost_s is not None and cost_s > 0
    assert comparing.step_cost_s(changed(Recipe(), {"model.from_scratch": True}), fabric) is None


def test_every_variant_is_trained_with_every_seed_on_the_same_images(pools: Comparison) -> None:
    assert [one.name for one in pools.trained] == ["pool=own", "pool=softpool", "pool=lip"]
    splits = set()
    for runs in parts(pools).values():
        for seed, run in enumerate(runs):
            assert run.recipe().seed == seed
            table = Manifest.load(run.manifest_path).table
            splits.add(tuple(zip(table["path"], table["split"], strict=True)))
    assert len(splits) == 1


def test_a_variant_differs_in_what_is_compared_alone(pools: Comparison) -> None:
    own, soft, _ = (runs[0].recipe() for runs in parts(pools).values())
    assert (own.model.pool, soft.model.pool) == (None, "softpool")
    assert comparing.changed(soft, {"model.pool": None}) == own
    decided = [run.read("plan.json")["decisions"] for runs in parts(pools).values() for run in runs]
    assert all(decisions == decided[0] for decisions in decided)
    assert decided[0]["whole"] == {"frozen": 0, "epochs": 1}


def test_the_layers_are_there_in_the_model_that_is_loaded(pools: Comparison) -> None:
    kinds = {
        name: {type(layer).__name__ for layer in load(runs[0].folder).model.modules()}  # type: ignore[union-attr]
        for name, runs in parts(pools).items()
    }
    assert "SoftPool2d" in kinds["pool=softpool"] and "LocalImportancePool2d" in kinds["pool=lip"]
    assert kinds["pool=own"].isdisjoint({"SoftPool2d", "LocalImportancePool2d"})


def test_batchnorm_is_estimated_anew_where_layers_were_exchanged(pools: Comparison, told: Told) -> None:
    said = [text for text in told.said if "BatchNorm" in text and "estimated anew" in text]
    assert len(said) == 4 and all("pool=own" not in text for text in said)
    assert "pool=softpool, seed 1 of 2: 13 BatchNorms estimated anew on 32 images" in said


def test_the_answers_are_those_of_the_models(pools: Comparison) -> None:
    for one, runs in zip(pools.trained, parts(pools).values(), strict=True):
        for right, run in zip(one.right, runs, strict=True):
            assert evaluate(run.folder)["accuracy"] == pytest.approx(right.mean())
    assert pools.terms.images == pools.trained[0].right.shape[1] == 9 and pools.terms.split == "val"


def test_what_is_written_says_what_is_returned(pools: Comparison) -> None:
    folder = Path(pools.terms.folder)
    written = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert [variant["name"] for variant in written["variants"]] == ["pool=own", "pool=softpool", "pool=lip"]
    assert written["baseline"] == "pool=own" and written["variants"][0]["against"] is None
    against = written["variants"][1]["against"]
    assert against["verdict"] in pools.answer and against["level"] == pytest.approx(0.975)
    own, _, lip = written["variants"]
    assert lip["parameters"] > own["parameters"] and lip["macs"] > own["macs"]
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "pool=softpool" in page and "2 seeds each" in page and page.count("<svg") == 2
    assert not list(folder.glob("*/*/checkpoints"))


def test_the_same_command_changes_nothing_and_what_is_missing_is_added(
    pools: Comparison, photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(pools.terms.folder, tmp_path / "copy")
    trained: list[Path] = []
    real = training.train_part

    def train_part(run: Run, *rest: object, **options: object) -> None:
        trained.append(run.folder.relative_to(folder))
        real(run, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "train_part", train_part)
    again = compare(photos, vary=POOLS, recipe=recipe(tiny_weights), seeds=2, out=folder)
    assert not trained and again.as_dict() == pools.as_dict() | {"folder": str(folder)}
    shutil.rmtree(folder / "pool=lip" / "seed-1")  # as if it had not been asked for
    more = compare(photos, vary=POOLS, recipe=recipe(tiny_weights), seeds=2, out=folder)
    assert trained == [Path("pool=lip") / "seed-1"] and more.seeds == 2
    assert [one.accuracies for one in more.trained] == [one.accuracies for one in pools.trained]
    with pytest.raises(RunError, match="holds another comparison"):
        compare(photos, vary=POOLS, recipe=recipe(tiny_weights, "train.lr=0.5"), seeds=2, out=folder)


def test_a_stop_loses_nothing_and_the_same_command_goes_on(
    pools: Comparison, photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = recipe(tiny_weights), tmp_path / "stopped"
    real = training.train_part

    def stopped(run: Run, *rest: object, **options: object) -> None:
        if "lip" in str(run.folder):
            raise Interrupted("stopped by the user", hint="never seen")
        real(run, *rest, **options)  # type: ignore[arg-type]

    vary = {"model.pool": [None, "lip"]}
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_part", stopped)
        with pytest.raises(Interrupted) as error:
            compare(photos, vary=vary, recipe=settings, seeds=1, out=out)
    assert error.value.message == "stopped by the user; 1 of 2 trainings are done"
    assert error.value.hint == f"the same command with --out {out} goes on"
    ended = compare(photos, vary=vary, recipe=settings, seeds=1, out=out)
    own, _, lip = pools.trained
    assert [one.accuracies for one in ended.trained] == [own.accuracies[:1], lip.accuracies[:1]]


def test_a_setting_that_is_varied_is_not_decided_by_the_first_training(
    photos: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    settings, vary = recipe(tiny_weights, "train.strategy=full"), {"train.epochs": [1, 2]}
    found = compare(photos, vary=vary, recipe=settings, seeds=1, out=tmp_path / "epochs")
    epochs = [
        sum(row["rung"] == "full" for row in Run(tmp_path / "epochs" / name / "seed-0").summary())
        for name in ("epochs=1", "epochs=2")
    ]
    assert epochs == [1, 2]
    assert "one seed says nothing of other trainings" in found.answer


@pytest.mark.parametrize(
    ("vary", "asked", "strategy", "frozen"),
    [
        ("model.pool", {}, "full", 0),  # in a frozen stage nothing could get used to another layer
        ("model.where", {}, "full", 0),
        ("model.act", {"train.strategy": "full", "train.freeze_stages": 2}, "full", 2),
        ("model.norm", {"train.strategy": "head"}, "head", None),
        ("model.name", {}, "full", None),  # the budget may freeze stages
        ("train.lr", {}, "auto", None),
    ],
)
def test_exchanged_layers_are_given_the_whole_network_to_get_used_to(
    vary: str, asked: dict[str, object], strategy: str, frozen: int | None
) -> None:
    settings = with_room(comparing.changed(Recipe(), asked), [vary]).train
    assert (settings.strategy, settings.freeze_stages) == (strategy, frozen)


def test_what_does_not_fit_the_budget_is_left_out_for_all_alike(
    photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing._Race, "_missing_s", lambda race, seed: 7200.0)  # as if this machine were slow
    settings, told = recipe(tiny_weights, "train.strategy=head", "train.budget_s=3600"), Told()
    vary = {"train.label_smoothing": [0.0, 0.1]}
    found = compare(photos, vary=vary, recipe=settings, seeds=3, out=tmp_path / "short", console=told)
    assert found.seeds == 1 and found.terms.asked_seeds == 3
    assert "1 seed of 3 fit the budget: what another round lacks takes about 2 h" in told.said
    given = [Run(path.parent).recipe().train.budget_s for path in sorted((tmp_path / "short").glob("*/*/recipe.yaml"))]
    assert given == [pytest.approx(600, abs=20), None]  # the first one plans for all
    assert "3 were asked for; the budget allowed no more" in (tmp_path / "short" / "comparison.html").read_text()


def test_what_was_trained_once_counts_though_the_budget_is_used_up(
    photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = recipe(tiny_weights, "train.strategy=head", "train.budget_s=3600")
    vary = {"train.label_smoothing": [0.0, 0.1]}
    found = compare(photos, vary=vary, recipe=settings, seeds=2, out=tmp_path / "done")
    assert found.seeds == 2 and all(one.epoch_s is None for one in found.trained)
    monkeypatch.setattr(comparing.Clock, "left_s", lambda clock: -1.0)
    again = compare(photos, vary=vary, recipe=settings, seeds=2, out=tmp_path / "done")
    assert again.as_dict() == found.as_dict()


def test_seconds_an_epoch_are_those_of_a_single_one_too(pools: Comparison) -> None:
    runs = parts(pools)
    for one in pools.trained:
        spent_s = max(float(row["seconds"]) for run in runs[one.name] for row in run.summary())
        assert one.epoch_s is not None and 0 < one.epoch_s < spent_s
    assert {
        row["epoch"] for each in runs.values() for run in each for row in run.summary() if row["rung"] == "full"
    } == {1}


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"model.pool": ["softpool"]}, "there is only one variant"),
        ({"model.pool": ["max", "max"]}, "two variants are the same: pool=max"),
        (
            {"data.val_fraction": [0.1, 0.2]},
            "data.val_fraction cannot be compared: all variants are trained and judged",
        ),
        ({"train.lr": [0.1, "fast"]}, "train.lr: expected a number, got 'fast'"),
        ({"model.pol": ["max", "softpool"]}, "model.pol: no such setting; did you mean 'model.pool'?"),
    ],
)
def test_variants_that_cannot_be_are_refused(vary: dict[str, list[object]], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        variants_of(Recipe(), vary)
    assert message in error.value.message


def test_layers_that_the_network_does_not_have_are_refused_before_a_file_is_opened(
    photos: Path, tiny_weights: Path, tmp_path: Path, opened: list[object]
) -> None:
    vary = {"model.global_pool": [None, "max"], "model.where": ["nowhere"]}
    with pytest.raises(ModelError, match="has no global pooling layer that matches 'nowhere'"):
        compare(photos, vary=vary, recipe=recipe(tiny_weights), out=tmp_path / "none")
    assert not opened and not (tmp_path / "none").exists()


def test_an_image_that_has_gone_is_left_out_for_all(
    pools: Comparison, photos: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pools.terms.folder, tmp_path / "copy")
    answers = folder / "pool=lip" / "seed-1" / comparing.ANSWERS
    table = pl.read_parquet(answers)
    table[0, "right"] = None
    table.write_parquet(answers)
    found = compare(photos, vary=POOLS, recipe=recipe(tiny_weights), seeds=2, out=folder)
    assert (found.terms.images, found.terms.unread) == (8, 1)
    assert np.array_equal(found.trained[0].right, pools.trained[0].right[:, 1:])


def test_heads_on_the_features_of_real_files(photos: Path, tiny_weights: Path) -> None:
    told = Told()
    settings = quick_recipe(f"model.weights={tiny_weights}")
    found = compare_heads_on(photos, heads=["knn"], recipe=settings, console=told)
    assert [score.name for score in found.scores] == ["linear", "knn"] and found.rows == 42
    assert found["linear"].accuracy > 0.9 and "heads" in told.steps
    assert found.features_from == str(tiny_weights)


def test_heads_say_that_there_was_no_network(photos: Path) -> None:
    found = compare_heads_on(photos, heads=["knn"], recipe=quick_recipe("model.weights=plain"))
    assert found.as_dict()["features_from"] == "colour, layout and edges, without a network"


@pytest.mark.parametrize("settings", [[], ["model.from_scratch=true"]], ids=["none at hand", "from scratch"])
def test_heads_do_without_a_network_where_none_was_asked_for(
    photos: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise ModelError("the weights are not on this machine", hint="none")

    for module in (catalogue, features):
        monkeypatch.setattr(module, "create", unreachable)
    told = Told()
    found = compare_heads_on(photos, heads=["knn"], recipe=quick_recipe(*settings), console=told)
    assert found.features_from == "colour, layout and edges, without a network"
    assert any("features without a network" in line for line in told.said)
    with pytest.raises(ModelError, match="not on this machine"):
        compare_heads_on(photos, heads=["knn"], recipe=quick_recipe("model.weights=hub"))


def test_heads_need_images_enough(tmp_path: Path, photos: Path, tiny_weights: Path) -> None:
    for name in ("plum", "apple red"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for path in sorted((photos / name).glob("bild *"))[:4]:
            shutil.copy(path, tmp_path / "few" / name)
    with pytest.raises(DataError, match="0 classes have 5 images or more, of 2"):
        compare_heads_on(tmp_path / "few", recipe=quick_recipe(f"model.weights={tiny_weights}"))
