"""`fovea compare`: the same training with one thing changed, on equal terms, answered with paired intervals.

    OUT/comparison.json            what is compared, and the answer
    OUT/comparison.html            the page
    OUT/manifest.parquet           the data, read and split once for all
    OUT/<variant>/seed-<n>/        a run folder each, with answers.parquet: what its model says of the judged images

The first training, of the first variant, decides what depends on measured time (view, rung, epochs); the others are
given its decisions. All see the same images in the same splits. Its part of a budget is smaller where measured steps of
the others take longer; how many seeds really fit shows as they go, and those that do not are left out, for all variants
alike.
"""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from lightning_fabric import Fabric

from fovea.core.errors import DataError, Interrupted, RecipeError, RunError
from fovea.core.files import digest, plain, write_json, write_text
from fovea.core.html import render
from fovea.core.progress import Labelled, Progress, Silent
from fovea.core.recipe import SWAPPED, Recipe
from fovea.core.recipe_io import changed, dump_recipe
from fovea.core.run import Run
from fovea.core.wording import counted, duration, listed
from fovea.cost.costs import cost_of
from fovea.data.manifest import Manifest
from fovea.evaluation.comparison import Comparison, Terms, Trained, compared
from fovea.evaluation.comparisonpage import build_page
from fovea.evaluation.environment import environment
from fovea.evaluation.outoffold import load_table, save_table
from fovea.models.bundle import load_bundle
from fovea.training.loop import Clock
from fovea.training.planning import measure_step_s
from fovea.training.session import PLAN, noise_images
from fovea.workflows import evaluating, training
from fovea.workflows.beforehand import check_folder, check_network
from fovea.workflows.devices import build_fabric
from fovea.workflows.loading import load
from fovea.workflows.machine import prepare, stop_on_signal

LEAST_S = 20.0  # a training is given this much before a second seed is
SLOWER = 0.8  # of an equal part, below which the others' slowness is told
MEASURED_BATCH = 8  # images of the step that is measured
PAGE, RESULT, ANSWERS = "comparison.html", "comparison.json", "answers.parquet"
_DECIDES = {  # setting → decisions of a plan that depend on it
    "data.input_size": ("views",),
    "data.resize": ("views",),
    "model.name": ("views", "tail", "backend"),
    "model.weights": ("views", "tail", "backend"),
    "train.compile": ("compile",),
    "train.cut": ("tail",),
    "train.epochs": ("whole", "tail"),
    "train.freeze_stages": ("whole",),
    "train.strategy": ("rung",),
    "train.views": ("tail",),
}
_ALIKE = (  # what is one for all: the images and how they are split, seeds, and the budget of the whole
    *("data.source", "data.label_column", "data.classes", "data.val_fraction", "data.split_by", "data.max_pixels"),
    *("seed", "train.folds", "train.budget_s", "train.device", "train.threads"),
)
_FOLDER_NAME = re.compile(r"[^A-Za-z0-9_.=+-]+")


@dataclass(frozen=True)
class Variant:
    """One of the trainings compared.

    Args:
        name: what is different about it, in words.
        recipe: its settings.
    """

    name: str
    recipe: Recipe

    @property
    def folder_name(self) -> str:
        """Its name as that of a folder."""
        return _FOLDER_NAME.sub("-", self.name).strip("-.") or digest(self.name)[:8]


def variants_of(recipe: Recipe, vary: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return every combination of the values; the first variant, of the first values, is what others are held against.

    Args:
        vary: setting → its values, such as `{"model.pool": ["max", "softpool"]}`; None is the network's own.

    Raises:
        RecipeError: fewer than two combinations, two that are the same, a value that the setting does not take, or a
            setting that must be one for all.

    >>> [variant.name for variant in variants_of(Recipe(), {"train.lr": [0.1, 0.01]})]
    ['lr=0.1', 'lr=0.01']
    """
    if fixed := [setting for setting in vary if setting in _ALIKE]:
        raise RecipeError(
            f"{listed(fixed)} cannot be compared: all variants are trained and judged on the same images",
            hint="run fovea train for each, or --set it for all",
        )
    combinations = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    if len(combinations) < 2:
        raise RecipeError(
            "nothing to compare: there is only one variant",
            hint="name two values or more, for example --swap pool=max,softpool or --vary train.lr=0.001,0.01",
        )
    variants = [Variant(_name(settings), changed(recipe, settings)) for settings in combinations]
    names = [variant.folder_name for variant in variants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecipeError(f"two variants are the same: {listed(twice)}", hint="name each value once")
    return variants


def with_room(recipe: Recipe, vary: Collection[str]) -> Recipe:
    """Return the recipe with room for what is varied: networks are trained whole, exchanged layers with all stages.

    In a frozen stage, as a budget may ask for, the layers around an exchanged one could not get used to it. What the
    recipe itself says stays.

    >>> with_room(Recipe(), ["model.pool"]).train.freeze_stages, with_room(Recipe(), ["train.lr"]).train.strategy
    (0, 'auto')
    """
    settings: dict[str, Any] = {}
    if recipe.train.strategy == "auto" and any(key.startswith("model.") for key in vary):
        settings["train.strategy"] = "full"
    exchanged = any(key.removeprefix("model.") in (*SWAPPED, "where") for key in vary if key.startswith("model."))
    whole = settings.get("train.strategy", recipe.train.strategy) == "full"
    if exchanged and whole and recipe.train.freeze_stages is None:
        settings["train.freeze_stages"] = 0
    return changed(recipe, settings) if settings else recipe


def shared(decisions: Mapping[str, Any], vary: Collection[str]) -> dict[str, Any]:
    """Return what of the first training's decisions holds for all: not those that a varied setting is to make.

    >>> shared({"views": [], "whole": {"epochs": 3, "frozen": 0}}, ["train.epochs"])
    {'views': []}
    """
    undecided = {decision for setting in vary for decision in _DECIDES.get(setting, ())}
    kept = {key: value for key, value in decisions.items() if key not in undecided}
    if "whole" in kept and not {"model.name", "model.weights"}.isdisjoint(vary):
        kept["whole"] = {**kept["whole"], "frozen": 0}  # networks have other numbers of stages
    return kept


def step_cost_s(recipe: Recipe, fabric: Fabric) -> float | None:
    """Return the seconds that one step of training the recipe's network takes on a few images of its size.

    None where only the data decide which network that is.
    """
    loaded = check_network(recipe)
    if loaded is None:
        return None
    side = int(recipe.data.input_size or loaded.pretrained_cfg["input_size"][-1])
    images = noise_images(side, batch=min(MEASURED_BATCH, recipe.train.batch_size))
    model = loaded.model.to(fabric.device).to(memory_format=torch.channels_last)
    return measure_step_s(model, fabric.to_device(images), steps=3, most_s=30.0)


def _name(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={'own' if value is None else value}" for key, value in settings.items())


def compare(
    source: Path | str,
    *,
    vary: Mapping[str, Sequence[Any]],
    recipe: Recipe | None = None,
    seeds: int = 5,
    out: Path | str | None = None,
    console: Progress | None = None,
    started: float | None = None,
) -> Comparison:
    """Train every variant with every seed on equal terms and say which differences are shown.

    Args:
        source: the images, as for `train`.
        vary: setting → its values; see `variants_of`.
        recipe: what all have in common; its budget is that of the whole comparison, its seed the first one. See
            `with_room` for what is added where it leaves that open.
        seeds: how often each variant is trained.
        out: the folder to make; one that an interrupted comparison of the same left is gone on with.
        console: shown to the user; silent when None.
        started: `time.monotonic()` at which the budget began; now when None.

    Returns:
        The comparison, as in `comparison.json`; the page is `comparison.html` beside it.

    Raises:
        FoveaError: the variants, data, weights or `out` are wrong; the message says which and how to fix it.
        Interrupted: the user stopped it; the same call with the same `out` goes on.
    """
    progress = console or Silent()
    began = time.monotonic() if started is None else started
    common = changed(recipe or Recipe(), {"data.source": str(source)})
    if seeds < 1:
        raise RecipeError(f"seeds is {seeds}, expected at least 1", hint="--seeds 5")
    if common.train.folds is not None:
        raise RecipeError("train.folds and a comparison do not go together", hint="drop train.folds; --seeds repeats")
    common = with_room(common, vary)
    variants = variants_of(common, vary)
    for variant in variants:
        training.check_names(variant.recipe)
        check_network(variant.recipe)
    prepare(common.train)
    fabric = build_fabric(common.train)
    if fabric.world_size > 1:
        raise RecipeError("a comparison uses one device", hint="start it without torchrun")
    folder = Path(out) if out is not None else training.new_folder(source, what="compare")
    definition = {variant.name: dump_recipe(changed(variant.recipe, {"train.budget_s": None})) for variant in variants}
    _check_out(folder, definition)
    manifest = _data(folder, variants[0].recipe, progress)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULT, {"definition": definition})
    manifest.save(folder / "manifest.parquet")
    clock = Clock(budget_s=common.train.budget_s, started=began)
    race = _Race(folder, variants, seeds, manifest, fabric, clock, progress, tuple(vary))
    clock.before_s = sum(race.taken_s(variant, seed) or 0.0 for seed in range(seeds) for variant in variants)
    result = _answer(race, race.run())
    write_json(folder / RESULT, plain({"definition": definition, **result.as_dict()}))
    write_text(folder / PAGE, render(build_page(result, environment=environment())))
    return result


def _check_out(folder: Path, definition: Mapping[str, Any]) -> None:
    """Raise unless the folder can be written to and holds nothing, or the beginning of the very same comparison."""
    Run.check_free(folder)
    check_folder(folder, hint="choose another --out")
    result = folder / RESULT
    if result.exists() and Run(folder).read(RESULT).get("definition") != plain(definition):
        raise RunError(f"{folder} holds another comparison", hint="choose another --out, or repeat the same command")


def _data(folder: Path, recipe: Recipe, progress: Progress) -> Manifest:
    """Return the data as an interrupted comparison read it, else read it."""
    kept = folder / "manifest.parquet"
    return Manifest.load(kept) if kept.exists() else training.read_data(recipe, progress)


@dataclass
class _Race:
    """All trainings of a comparison, one after the other."""

    folder: Path
    variants: list[Variant]
    seeds: int
    manifest: Manifest
    fabric: Fabric
    clock: Clock
    progress: Progress
    vary: Collection[str]

    def run(self) -> int:
        """Train seed after seed, every variant with each, and return how many seeds the budget allowed."""
        with stop_on_signal(self.progress) as stop:
            for seed in range(self.seeds):
                missing_s = self._missing_s(seed) if seed else 0.0
                if missing_s and self.clock.left_s() < missing_s:
                    self.progress.say(
                        f"{counted(seed, 'seed')} of {self.seeds} fit the budget: what another round lacks takes about "
                        f"{duration(missing_s)}"
                    )
                    return seed
                for variant in self.variants:
                    try:
                        self._train(variant, seed)
                    except Interrupted as error:
                        raise self._interrupted(error.message) from error
                    if stop():
                        raise self._interrupted("stopped by the user")
        return self.seeds

    def part(self, variant: Variant, seed: int) -> Run:
        """Return the run of one training."""
        return Run(self.folder / variant.folder_name / f"seed-{variant.recipe.seed + seed}")

    def taken_s(self, variant: Variant, seed: int) -> float | None:
        """Return the seconds that a training took with its judging; None where it is not done."""
        run = self.part(variant, seed)
        return run.read(PLAN)["taken_s"] if (run.folder / ANSWERS).exists() else None

    def judged(self) -> tuple[str, pl.DataFrame]:
        """Return the split that is judged, test where there is one, and its images."""
        split = next((name for name in ("test", "val") if self.manifest.has_split(name)), None)
        if split is None:
            raise DataError("no images are left to judge on", hint="set data.val_fraction above 0")
        return split, self.manifest.usable(split)

    def _share_s(self) -> float:
        """Return the part of the budget for the first training in seconds; where that is too short, seeds go first."""
        round_s = self.clock.left_s() * self._part_of_round()
        return max(1.0, round(max(round_s / self.seeds, min(LEAST_S, round_s)), 2))

    def _part_of_round(self) -> float:
        """Return the share of a round of trainings that the first one takes: an equal one where steps cost the same."""
        equal = 1 / len(self.variants)
        if not any(key.startswith("model.") or key == "data.input_size" for key in self.vary):
            return equal
        measured = [step_cost_s(variant.recipe, self.fabric) for variant in self.variants]
        costs = [cost for cost in measured if cost is not None]
        if len(costs) < len(measured):
            return equal
        part = costs[0] / sum(costs)
        if part < SLOWER * equal:
            told = [f"{cost / costs[0]:.1f}" for cost in costs[1:]]
            self.progress.say(f"a step of the others takes {listed(told)} times as long: fewer epochs fit")
        return part

    def _missing_s(self, seed: int) -> float:
        """Return the seconds that the trainings with a seed that are not done took in the first round."""
        missing = [variant for variant in self.variants if self.taken_s(variant, seed) is None]
        return sum(self.taken_s(variant, 0) or 0.0 for variant in missing)

    def _train(self, variant: Variant, seed: int) -> None:
        """Train one variant with one seed, unless it is done, and keep its answers."""
        run, (_, rows) = self.part(variant, seed), self.judged()
        if self.taken_s(variant, seed) is not None:
            return
        label = f"{variant.name}, seed {seed + 1} of {self.seeds}"
        progress = Labelled(self.progress, label, training=label)
        began_s, first = self.clock.elapsed_s(), variant is self.variants[0] and seed == 0
        self._prepare(run, variant, seed, first=first)
        keep_s = training.to_reserve_s(run.recipe(), rows.height, closing_s=training.FOLD_CLOSING_S)
        training.train_part(run, run.recipe(), self.manifest, fabric=self.fabric, progress=progress, reserve_s=keep_s)
        if first and (cut := list(run.events("epochs_cut"))):
            progress.say("fewer epochs fit than were planned: trained again with as many as all will have")
            plan = run.read(PLAN)
            plan["decisions"]["whole"]["epochs"] = cut[-1]["now"]
            shutil.rmtree(run.folder)
            began_s = self.clock.elapsed_s()
            self._prepare(run, variant, seed, first=False, decisions=plan["decisions"])
            training.train_part(run, run.recipe(), self.manifest, fabric=self.fabric, progress=progress, reserve_s=0.0)
        answers = _answers(run, self.manifest, rows, progress)
        run.write(PLAN, {**run.read(PLAN), "taken_s": round(self.clock.elapsed_s() - began_s, 2)})
        save_table(answers, run.folder / ANSWERS)  # last: it says that the training is done
        shutil.rmtree(run.checkpoints_path, ignore_errors=True)  # of the weights, the model folder keeps the best

    def _prepare(
        self, run: Run, variant: Variant, seed: int, *, first: bool, decisions: dict[str, Any] | None = None
    ) -> None:
        """Make a run folder, or what a kill kept from being made of it, with the decisions of the first training."""
        if not (run.folder / "recipe.yaml").exists():
            budget_s = self._share_s() if first and self.clock.budget_s else None
            settings = {"seed": variant.recipe.seed + seed, "train.budget_s": budget_s}
            Run.create(run.folder, training.resolve_for(changed(variant.recipe, settings), self.manifest))
        if not run.manifest_path.exists():
            if not first:
                decisions = decisions or self.part(self.variants[0], 0).read(PLAN)["decisions"]
                run.write(PLAN, {"choices": [], "decisions": shared(decisions, self.vary), "rungs": []})
            run.event("started", environment=environment())
            self.manifest.save(run.manifest_path)

    def _interrupted(self, message: str) -> Interrupted:
        each = [self.taken_s(variant, seed) for seed in range(self.seeds) for variant in self.variants]
        done = sum(taken_s is not None for taken_s in each)
        return Interrupted(
            f"{message}; {done} of {counted(len(each), 'training')} are done",
            hint=f"the same command with --out {self.folder} goes on",
        )


def _answers(run: Run, manifest: Manifest, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    """Return `path` and `right` of each judged image; `right` is null where it can no longer be read."""
    model = load(run.folder)
    targets = manifest.targets(rows)
    right: list[bool | None] = []
    for answer, target in zip(evaluating.answers_of(model, manifest.paths(rows), progress), targets, strict=True):
        if isinstance(answer, str):
            right.append(None)
        elif manifest.multilabel:
            right.append(bool(np.array_equal(answer >= 0.5, np.asarray(target, dtype=bool))))
        else:
            right.append(bool(answer.argmax() == target))
    return rows.select("path").with_columns(right=pl.Series(right, dtype=pl.Boolean))


def _answer(race: _Race, seeds: int) -> Comparison:
    """Gather what the trainings left and compare every variant with the first."""
    split, rows = race.judged()
    tables = {
        variant.name: [load_table(race.part(variant, seed).folder / ANSWERS)["right"] for seed in range(seeds)]
        for variant in race.variants
    }
    read = np.logical_and.reduce([column.is_not_null() for columns in tables.values() for column in columns])
    trained = [
        Trained(
            name=variant.name,
            right=np.stack([column.filter(pl.Series(read)).to_numpy() for column in tables[variant.name]]),
            epoch_s=_epoch_s([race.part(variant, seed) for seed in range(seeds)]),
            **_size(race.part(variant, 0)),
        )
        for variant in race.variants
    ]
    terms = Terms(
        source=race.manifest.source,
        split=split,
        images=int(read.sum()),
        unread=rows.height - int(read.sum()),
        asked_seeds=race.seeds,
        choices=_choices([race.part(variant, seed) for seed in range(seeds) for variant in race.variants]),
        folder=str(race.folder),
    )
    return compared(trained, terms)


def _choices(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return what the first training chose and all others too: averages of weights each measures for itself."""
    first, *others = [[choice["what"] for choice in run.read(PLAN)["choices"]] for run in runs]
    return tuple(choice for choice in first if all(choice in each for each in others))


def _epoch_s(runs: Sequence[Run]) -> float | None:
    """Return the median seconds from the end of one epoch to the end of the next; of one epoch, from its beginning.

    None where none was trained, as with a head on frozen features.
    """
    gaps = [
        later["seconds"] - earlier["seconds"]
        for run in runs
        for earlier, later in itertools.pairwise(run.summary())
        if earlier["rung"] == later["rung"]
    ]
    gaps = gaps or [gap for run in runs for gap in _first_epochs_s(run)]
    return float(np.median(gaps)) if gaps else None


def _first_epochs_s(run: Run) -> Iterator[float]:
    """Yield the seconds of the first epoch of each stage that was not interrupted."""
    epochs = list(run.events("epoch"))
    for began, times in itertools.groupby(run.events("rung_started"), key=lambda event: event["rung"]):
        started = [datetime.fromisoformat(event["time"]) for event in times]
        ended = [datetime.fromisoformat(event["time"]) for event in epochs if event["rung"] == began]
        if len(started) == 1 and ended:
            yield (ended[0] - started[0]).total_seconds()


def _size(run: Run) -> dict[str, int | None]:
    bundle = load_bundle(run.model_path)
    size = bundle.preprocess["input_size"]
    total = cost_of(bundle.model, (1, 3, size, size), measure=False).total
    return {"parameters": total["params"], "macs": total["macs"]}
