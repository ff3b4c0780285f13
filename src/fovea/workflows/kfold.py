"""k-fold training: one ordinary training for each fold, judged on images it has not seen, and then all models together.

    RUN/recipe.yaml manifest.parquet (with `fold`) plan.json events.jsonl findings.json
    RUN/folds/0/, RUN/folds/1/ …   a run folder each, with `oof.parquet`: what its model says of the fold's images
    RUN/oof.parquet report.html report.json   of every training image, by the model that had not seen it
    RUN/report-test.html report-test.json     of the data's test split, if it has one, by all models together

How one training goes is not decided here; it is passed in. Caches are addressed by content, so the folds share decoded
pixels and frozen features, and the first rung is paid for about once.

Of a budget the time for the last reports is kept back and the folds share the rest: each gets, when it begins, an equal
part of what is left for it and those behind it. So what one takes beyond its part, the later ones lack, and it is said.
How long judging the held-out images takes is measured with the first fold; the later ones keep that much.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import polars as pl
from lightning_fabric import Fabric

from fovea.core.errors import Interrupted
from fovea.core.progress import Labelled, Progress
from fovea.core.recipe import Recipe
from fovea.core.run import Run
from fovea.core.wording import counted, duration
from fovea.data.manifest import Manifest
from fovea.data.reading import check_trainable
from fovea.data.splits import fold_count, one_fold
from fovea.evaluation import outoffold
from fovea.evaluation.environment import environment
from fovea.training.loop import Clock
from fovea.training.session import PLAN
from fovea.workflows import evaluating
from fovea.workflows.loading import load
from fovea.workflows.machine import stop_on_signal

LEAST_S = 1.0  # a fold's budget where nothing is left: it delivers what it can in that time
TOLERATED = 0.05  # of its budget a fold may take more without a word


class TrainOne(Protocol):
    """One ordinary training within its recipe's budget; goes on from what its run folder holds and leaves a model.

    Of the budget it leaves `judging_s` for judging the images held out; None: nobody has measured that yet.
    """

    def __call__(
        self, run: Run, recipe: Recipe, manifest: Manifest, progress: Progress, *, judging_s: float | None
    ) -> None: ...


@dataclass(frozen=True)
class Folds:
    """A k-fold training.

    Args:
        run: the run of all folds; what is in it already stays.
        recipe: its resolved settings; each fold gets them with its part of the time left as its budget.
        manifest: the data, with its folds.
        fabric: devices; the first process writes.
        clock: of the whole command.
        reserve_s: seconds of the budget to keep for the reports at the end.
    """

    run: Run
    recipe: Recipe
    manifest: Manifest
    fabric: Fabric
    clock: Clock
    reserve_s: float


def train_folds(folds: Folds, *, train_one: TrainOne, progress: Progress) -> None:
    """Train the folds that are not done yet, judge each on its images, and all models together.

    Raises:
        Interrupted: the user stopped it; the folds that have a model so far answer together.
    """
    run, count = folds.run, fold_count(folds.manifest)
    with stop_on_signal(progress) as stop:
        for fold in range(count):
            if _done(folds, fold):
                continue
            try:
                name = f"{fold + 1} of {count}"
                _train_fold(folds, fold, train_one, Labelled(progress, f"fold {name}", fold=name))
            except Interrupted as error:
                raise _interrupted(folds, error.message) from error
            if folds.fabric.broadcast(stop()):  # as the first process sees it, so that none waits for the others
                raise _interrupted(folds, "stopped by the user")
    if folds.fabric.is_global_zero:
        tables = [outoffold.load_table(Run(path).out_of_fold_path) for path in run.fold_paths()]
        order = folds.manifest.usable("train").select("path")
        table = order.join(pl.concat(tables), on="path", how="inner", maintain_order="left")
        outoffold.save_table(table, run.out_of_fold_path)
        if folds.manifest.has_split("test"):
            evaluating.evaluate(run.folder, split="test", console=progress)
        evaluating.judge_out_of_fold(run)
        elapsed_s = round(folds.clock.elapsed_s(), 2)
        run.write(PLAN, {**run.read(PLAN, {}), "complete": True, "elapsed_s": elapsed_s})
        run.event("finished", elapsed_s=elapsed_s)
    folds.fabric.barrier()


def _done(folds: Folds, fold: int) -> bool:
    part = Run(folds.run.fold_path(fold))
    return bool(part.read(PLAN, {}).get("complete")) and part.out_of_fold_path.exists()


def _train_fold(folds: Folds, fold: int, train_one: TrainOne, progress: Progress) -> None:
    """Train one fold in its own run folder, or go on with it; keep what its model says of the images held out."""
    began_s = folds.clock.elapsed_s()
    if folds.fabric.is_global_zero:
        _begin(folds, fold)
    folds.fabric.barrier()
    part = Run.open(folds.run.fold_path(fold))
    manifest = Manifest.load(part.manifest_path)
    progress.say(f"{manifest.usable('train').height:,} images to train on, {manifest.usable('test').height:,} held out")
    if not part.read(PLAN, {}).get("complete"):
        known = folds.run.read(PLAN, {}).get("judging")
        judging_s = known and known["seconds"] * manifest.usable("test").height / known["images"]
        train_one(part, part.recipe(), manifest, progress, judging_s=judging_s)
    if folds.fabric.is_global_zero:
        _judge_held_out(folds, fold, part, manifest, progress)
        _say_overrun(folds, fold, folds.clock.elapsed_s() - began_s, progress)
    folds.fabric.barrier()


def _share_s(folds: Folds, first: int) -> float:
    """Return an equal part of the time left, in seconds, for each fold from `first` on that is not done."""
    to_do = sum(not _done(folds, fold) for fold in range(first, fold_count(folds.manifest)))
    return max(LEAST_S, round((folds.clock.left_s() - folds.reserve_s) / to_do, 2))


def _say_overrun(folds: Folds, fold: int, spent_s: float, progress: Progress) -> None:
    """Say that a fold took more than its budget, and what that leaves to the folds behind it."""
    budget_s = Run(folds.run.fold_path(fold)).recipe().train.budget_s
    if budget_s is None or spent_s <= (1 + TOLERATED) * budget_s:
        return
    said = f"took {duration(spent_s)}, {duration(spent_s - budget_s)} more than its part of the budget"
    behind = fold_count(folds.manifest) - fold - 1
    if behind:
        share_s = _share_s(folds, fold + 1)
        said += f"; {counted(behind, 'fold')} left, with {duration(share_s)}{' each' if behind > 1 else ''}"
        if share_s == LEAST_S:
            said += " to do the least they can in: the budget will be exceeded"
    progress.say(said)


def _begin(folds: Folds, fold: int) -> None:
    """Make the run folder of a fold, or what a kill kept from being made of it."""
    path = folds.run.fold_path(fold)
    if not (path / "recipe.yaml").exists():
        budget_s = folds.recipe.train.budget_s
        if budget_s is not None:
            budget_s = _share_s(folds, fold)
        settings = dataclasses.replace(folds.recipe.train, folds=None, budget_s=budget_s)
        Run.create(path, dataclasses.replace(folds.recipe, train=settings))
    part = Run.open(path)
    if not part.manifest_path.exists():
        before = [Run(path).read(PLAN, {}).get("decisions", {}) for path in folds.run.fold_paths()[:1]]
        if before and "backend" in before[0]:  # backends differ in the last bits: with one, the folds share features
            part.write(PLAN, {"choices": [], "decisions": {"backend": before[0]["backend"]}, "rungs": []})
        data = folds.recipe.data
        manifest = one_fold(
            folds.manifest, fold, val_fraction=data.val_fraction, seed=folds.recipe.seed, by=data.split_by
        )
        check_trainable(manifest)
        part.add_findings(list(manifest.findings))
        part.event("started", environment=environment(), fold=fold)
        manifest.save(part.manifest_path)


def _judge_held_out(folds: Folds, fold: int, part: Run, manifest: Manifest, progress: Progress) -> None:
    """Write what the fold's model says of the fold's images, and note the fold in the plan of the whole."""
    rows = manifest.usable("test")
    began_s = folds.clock.elapsed_s()
    model = load(part.folder)
    answers = evaluating.answers_of(model, manifest.paths(rows), progress)
    table = outoffold.out_of_fold_table(manifest, rows, fold, answers, model.threshold)
    outoffold.save_table(table, part.out_of_fold_path)
    right = (table["label"] == table["predicted"]).sum()
    progress.say(f"right on {right:,} of {rows.height - table['error'].count():,} images held out")
    plan = folds.run.read(PLAN, {})
    entry = {"fold": fold, **{split: manifest.usable(split).height for split in ("train", "val")}}
    others = [known for known in plan.get("folds", []) if known["fold"] != fold]
    elapsed_s = round(folds.clock.elapsed_s(), 2)
    plan["judging"] = {"images": rows.height, "seconds": round(elapsed_s - began_s, 2)}
    folds.run.write(PLAN, {**plan, "folds": [*others, entry], "elapsed_s": elapsed_s})


def _interrupted(folds: Folds, message: str) -> Interrupted:
    """Note the interruption; the way on is by the run of all folds."""
    if folds.fabric.is_global_zero:
        folds.run.event("interrupted", elapsed_s=folds.clock.elapsed_s())
    return Interrupted(message, hint=folds.run.resume_command)
