"""`fovea train` and `fovea resume`: read the data, climb within the budget, save the model, evaluate, report."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from lightning_fabric import Fabric

from fovea.core.cores import usable_cores
from fovea.core.errors import Interrupted
from fovea.core.findings import tally
from fovea.core.progress import Progress, Silent
from fovea.core.recipe import Recipe
from fovea.core.run import Run
from fovea.core.wording import counted, duration
from fovea.data.manifest import Manifest
from fovea.data.preprocess import Preprocess
from fovea.data.reading import check_trainable, read_with_looks
from fovea.data.splits import fold_count, with_folds, with_splits
from fovea.evaluation.environment import environment
from fovea.models.bundle import save_bundle
from fovea.models.catalogue import DEFAULT_NAME, Loaded, create
from fovea.models.folding import fold, unfold
from fovea.training.adapting import adapted
from fovea.training.climb import climb
from fovea.training.loop import Clock
from fovea.training.optimisers import OPTIMISERS
from fovea.training.sampling import check_sampler
from fovea.training.schedules import SCHEDULES
from fovea.training.session import PLAN, Session
from fovea.workflows import auditing, doctoring, evaluating, kfold
from fovea.workflows.beforehand import check_folder, check_network
from fovea.workflows.devices import build_fabric
from fovea.workflows.machine import prepare, stop_on_signal
from fovea.workflows.stopping import stoppable

# Kept of the budget for the end: seconds for saving and the report, the rate of evaluation on a slow CPU, and a share
# for noise.
CLOSING_S, EVALUATED_PER_S, SLACK = 5.0, 33.0, 0.03
FOLD_CLOSING_S = 2.0  # a fold has no report of its own


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A training, of one model or of one for each fold.

    Args:
        run: its folder.
        recipe: its resolved settings.
        manifest: the data, with its splits or folds.
        loaded: the network to start from.
        fabric: devices; the first process writes.
        clock: of the whole command.
        progress: shown to the user.
        resume: go on from what the folder holds.
    """

    run: Run
    recipe: Recipe
    manifest: Manifest
    loaded: Loaded
    fabric: Fabric
    clock: Clock
    progress: Progress
    resume: bool


def train(
    source: Path | str,
    *,
    recipe: Recipe | None = None,
    out: Path | str | None = None,
    console: Progress | None = None,
    started: float | None = None,
) -> Run:
    """Train a model on the images at `source` within the recipe's budget.

    Args:
        source: a folder, table or list file; see `fovea.read`.
        recipe: settings; the defaults when None.
        out: the run folder to make; `runs/<name>-<time>` when None.
        console: shown to the user; silent when None.
        started: `time.monotonic()` at which the budget began; now when None.

    Returns:
        The run: `run.folder / "model"` loads in timm, `run.report_path` is the report.

    Raises:
        FoveaError: data, recipe, weights or `out` are wrong; the message says which and how to fix it. All but the
            data is looked at before the first file is opened.
        Interrupted: the user stopped it; the run folder, once it is made, holds a usable model and can be resumed.
    """
    progress = console or Silent()
    clock = Clock(started=time.monotonic() if started is None else started)
    recipe = recipe or Recipe()
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=str(source)))
    check_names(recipe)
    prepare(recipe.train)
    fabric = build_fabric(recipe.train)
    folder = Path(out) if out is not None else Path(fabric.broadcast(str(new_folder(source))))
    if fabric.is_global_zero:
        Run.check_free(folder)
        check_folder(folder, hint="choose another --out")
    manifest = read_data(recipe, progress)
    recipe, loaded = _settled(recipe, manifest, progress)
    if fabric.is_global_zero:
        run = Run.create(folder, recipe)
        manifest.save(run.manifest_path)
        run.add_findings(list(manifest.findings))
        run.event("started", environment=environment(), command=sys.argv)
    fabric.barrier()
    run = Run.open(folder)
    clock.budget_s = recipe.train.budget_s
    return _train(
        _Work(
            run=run,
            recipe=recipe,
            manifest=manifest,
            loaded=loaded,
            fabric=fabric,
            clock=clock,
            progress=progress,
            resume=False,
        )
    )


def resume(folder: Path | str, *, console: Progress | None = None) -> Run:
    """Continue a training that was interrupted, killed or lost its power; on CPU, bit for bit.

    Raises:
        RunError: there is no run at `folder`, or it is too damaged to continue.
    """
    progress = console or Silent()
    run = Run.open(folder)
    recipe = run.recipe()
    if run.read(PLAN, {}).get("complete"):
        progress.say(f"{folder} is complete; nothing is left to do")
        return run
    prepare(recipe.train)
    fabric = build_fabric(recipe.train)
    if not run.manifest_path.exists():  # killed while reading: nothing is lost by reading again
        manifest = read_data(recipe, progress)
        manifest.save(run.manifest_path)
        run.add_findings(list(manifest.findings))
    manifest = Manifest.load(run.manifest_path)
    before_s = _elapsed_s(run)
    clock = Clock(budget_s=recipe.train.budget_s, before_s=before_s)
    run.event("resumed", environment=environment(), elapsed_s=before_s)
    return _train(
        _Work(
            run=run,
            recipe=recipe,
            manifest=manifest,
            loaded=_network(recipe, manifest, progress),
            fabric=fabric,
            clock=clock,
            progress=progress,
            resume=True,
        )
    )


def resolve(source: Path | str, recipe: Recipe) -> Recipe:
    """Return the recipe with every choice made that does not depend on measured time."""
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=str(source)))
    check_names(recipe)
    return resolve_for(recipe, read_data(recipe, Silent(), audit=False))


def resolve_for(recipe: Recipe, manifest: Manifest) -> Recipe:
    """Return the recipe with every choice made that does not depend on measured time, for data that was read."""
    return _settled(recipe, manifest, Silent())[0]


def check_names(recipe: Recipe) -> None:
    """Raise `UnknownName` for an optimiser or schedule that is not registered."""
    OPTIMISERS[recipe.train.optimizer]
    SCHEDULES[recipe.train.schedule]


def read_data(recipe: Recipe, progress: Progress, *, audit: bool = True) -> Manifest:
    """Read the data, split it so that no scene is parted, and audit it in the fast form, if asked to.

    Between listing the files and opening them, the network is tried.
    """
    with stoppable(progress) as told:
        return _read_and_split(recipe, told, audit=audit)


def _read_and_split(recipe: Recipe, progress: Progress, *, audit: bool) -> Manifest:
    manifest, looks = read_with_looks(
        recipe.data.source,
        label_column=recipe.data.label_column,
        classes=recipe.data.classes,
        max_pixels=recipe.data.max_pixels,
        ready=lambda: check_network(recipe),
        progress=lambda done, total: progress.advance("reading images", done, total),
    )
    by, folds, seed = recipe.data.split_by, recipe.train.folds, recipe.seed
    times = looks.column("taken_s") if by == "time" else None
    together = copies = None
    if audit and recipe.data.audit:
        looks, copies = auditing.group(manifest, looks, seed=seed, progress=progress)
        together = auditing.scenes_of(manifest, copies)
    if folds is None:
        fraction = recipe.data.val_fraction
        manifest = with_splits(manifest, val_fraction=fraction, seed=seed, together=together, by=by, times=times)
    else:
        manifest = with_folds(manifest, folds=folds, seed=seed, together=together, by=by, times=times)
    check_trainable(manifest)
    check_sampler(recipe.train.sampler, multilabel=manifest.multilabel)
    if copies is not None:
        findings = auditing.check(auditing.as_subject(manifest, looks, copies, seed=seed), progress=progress)
        shown = f"; fovea audit {shlex.quote(str(recipe.data.source))} shows them" if findings else ""
        progress.say(f"audit: {tally(findings) or 'nothing found'}{shown}")
        manifest = manifest.with_findings(*findings)
    return manifest


def _settled(recipe: Recipe, manifest: Manifest, progress: Progress) -> tuple[Recipe, Loaded]:
    recipe = _sized(recipe, manifest)
    loaded = _network(recipe, manifest, progress)
    return _resolved(recipe, loaded), loaded


def _sized(recipe: Recipe, manifest: Manifest) -> Recipe:
    """Choose the input size where no weights bring one."""
    if not recipe.model.from_scratch or recipe.data.input_size is not None:
        return recipe
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, input_size=_scratch_size(manifest)))


def _network(recipe: Recipe, manifest: Manifest, progress: Progress) -> Loaded:
    torch.manual_seed(recipe.seed)  # a new classifier, or a network from scratch, starts the same each time
    return create(
        recipe.model.name,
        classes=len(manifest.classes),
        weights=recipe.model.weights,
        from_scratch=recipe.model.from_scratch,
        drop_rate=recipe.model.drop_rate,
        input_size=recipe.data.input_size,
        swap=recipe.model.exchanged,
        say=progress.say,
    )


def _preprocess(recipe: Recipe, loaded: Loaded) -> Preprocess:
    resize: Any = recipe.data.resize
    return Preprocess.from_pretrained_cfg(loaded.pretrained_cfg, input_size=recipe.data.input_size, resize=resize)


def _resolved(recipe: Recipe, loaded: Loaded) -> Recipe:
    """Fill in what the network and the machine decide. What is left empty is chosen by measured time, in plan.json.

    `data.input_size` and `data.resize` stay empty when fovea is to choose the view: the plan says which it chose.
    """
    train = dataclasses.replace(
        recipe.train,
        threads=recipe.train.threads or usable_cores(),
        bn=_bn(recipe, loaded),
    )
    data = dataclasses.replace(recipe.data, workers=recipe.data.workers or usable_cores())
    model = dataclasses.replace(recipe.model, name=recipe.model.name or _name(recipe, loaded))
    return dataclasses.replace(recipe, train=train, data=data, model=model)


def _name(recipe: Recipe, loaded: Loaded) -> str | None:
    """Name the network; the default for training from scratch has arguments that no name carries, and stays None."""
    if recipe.model.from_scratch:
        return None
    return DEFAULT_NAME if recipe.model.weights in (None, "hub") else loaded.architecture


def _scratch_size(manifest: Manifest) -> int:
    """Return an input size for a network without weights: near that of the images, at most 128 pixels."""
    sides = manifest.usable("train").select(pl.min_horizontal("width", "height").alias("side"))["side"]
    typical = float(np.median(sides))
    return next((size for size in (32, 64, 96) if typical <= 1.25 * size), 128)


def _bn(recipe: Recipe, loaded: Loaded) -> str:
    """Keep the statistics of pretrained weights: small batches of a small data set estimate worse ones."""
    if recipe.train.bn != "auto":
        return recipe.train.bn
    return "update" if recipe.model.from_scratch else "frozen"


def _train(work: _Work) -> Run:
    """Train and judge one model, or one for each fold."""
    recipe, manifest = work.recipe, work.manifest
    if recipe.train.folds is None:
        split = next((name for name in ("test", "val") if manifest.has_split(name)), None)
        _train_model(work, reserve_s=to_reserve_s(recipe, manifest.usable(split).height if split else 0), judge=True)
        return work.run

    def train_one(run: Run, recipe: Recipe, manifest: Manifest, progress: Progress, *, judging_s: float | None) -> None:
        held_out = manifest.usable("test").height
        reserve_s = to_reserve_s(recipe, held_out, closing_s=FOLD_CLOSING_S, judging_s=judging_s)
        if recipe.train.budget_s is not None and reserve_s >= recipe.train.budget_s:
            progress.say(
                f"judging {counted(held_out, 'image')} takes about {duration(reserve_s)}, and this fold has "
                f"{duration(recipe.train.budget_s)}: it trains the least it can, and the budget will be exceeded"
            )
        train_part(run, recipe, manifest, fabric=work.fabric, progress=progress, reserve_s=reserve_s)

    by_all_models = manifest.usable("test").height * fold_count(manifest)
    folds = kfold.Folds(work.run, recipe, manifest, work.fabric, work.clock, to_reserve_s(recipe, by_all_models))
    kfold.train_folds(folds, train_one=train_one, progress=work.progress)
    return work.run


def train_part(
    run: Run, recipe: Recipe, manifest: Manifest, *, fabric: Fabric, progress: Progress, reserve_s: float
) -> None:
    """Train one model of several, or go on with it; it is neither judged nor reported on.

    Args:
        run: its folder, which holds the recipe and perhaps the beginning of a plan.
        recipe: its resolved settings.
        manifest: the data, with its splits.
        reserve_s: seconds of the budget to keep for what comes afterwards.
    """
    work = _Work(
        run=run,
        recipe=recipe,
        manifest=manifest,
        loaded=_network(recipe, manifest, progress),
        fabric=fabric,
        clock=Clock(budget_s=recipe.train.budget_s, before_s=_elapsed_s(run)),
        progress=progress,
        resume=True,
    )
    _train_model(work, reserve_s=reserve_s, judge=False)


def _train_model(work: _Work, *, reserve_s: float, judge: bool) -> None:
    """Climb, deliver and, if asked to, evaluate and report.

    Args:
        reserve_s: seconds of the budget to keep for what comes after the climb.
        judge: whether to evaluate and report.
    """
    run, recipe, fabric = work.run, work.recipe, work.fabric
    preprocess = _preprocess(recipe, work.loaded)
    loaded = adapted(
        work.loaded,
        recipe=recipe,
        manifest=work.manifest,
        preprocess=preprocess,
        fabric=fabric,
        progress=work.progress,
    )
    example = torch.zeros(1, 3, preprocess.input_size, preprocess.input_size)
    frozen_bn = recipe.train.bn == "frozen"
    working = fold(loaded.model, example=example).requires_grad_(True) if frozen_bn else loaded.model
    with stop_on_signal(work.progress) as stop:
        session = Session(
            recipe=recipe,
            manifest=work.manifest,
            run=run,
            loaded=loaded,
            working=working,
            preprocess=preprocess,
            fabric=fabric,
            clock=work.clock,
            progress=work.progress,
            stop=stop,
            reserve_s=reserve_s,
            watch=_watch(work),
        )
        if work.resume:
            session.plan = run.read(PLAN, session.plan)

        def deliver() -> None:
            if not fabric.is_global_zero:
                return
            if working is not loaded.model:
                unfold(working, loaded.model, example=example)
            _save(session)

        try:
            climb(session, deliver=deliver, resume=work.resume)
        except Interrupted:
            run.event("interrupted", elapsed_s=work.clock.elapsed_s())
            raise
    if fabric.is_global_zero:
        if judge:
            evaluating.evaluate(run.folder, console=work.progress)
        session.plan["complete"] = True
        session.plan["elapsed_s"] = round(work.clock.elapsed_s(), 2)
        session.save_plan()
        run.event("finished", elapsed_s=work.clock.elapsed_s())
    fabric.barrier()


def _watch(work: _Work) -> Callable[[str], AbstractContextManager[None]]:
    """Return what each rung is trained within: the doctor, on the first device, unless the recipe says no."""
    if not (work.recipe.train.doctor and work.fabric.is_global_zero):
        return lambda rung: nullcontext()
    classes, progress = work.manifest.classes, work.progress
    audited = work.recipe.data.audit
    return lambda rung: doctoring.watched(rung, run=work.run, classes=classes, audited=audited, progress=progress)


def _save(session: Session) -> None:
    """Write the model folder."""
    loaded, manifest = session.loaded, session.manifest
    save_bundle(
        session.run.model_path,
        model=loaded.model,
        architecture=loaded.architecture,
        model_args=loaded.model_args,
        pretrained_cfg=loaded.pretrained_cfg,
        classes=manifest.classes,
        class_ids=manifest.class_ids,
        preprocess=session.preprocess.as_dict(),
        library=loaded.library,
        extra={"multilabel": manifest.multilabel, "trained_from": loaded.source},
    )


def to_reserve_s(recipe: Recipe, images: int, *, closing_s: float = CLOSING_S, judging_s: float | None = None) -> float:
    """Return the seconds to keep for judging so many images (as measured, or else assumed), and for the report."""
    judging_s = images / EVALUATED_PER_S if judging_s is None else judging_s
    return closing_s + judging_s + SLACK * (recipe.train.budget_s or 0)


def _elapsed_s(run: Run) -> float:
    """Return the seconds that earlier sessions worked on a run and its folds, as far as they were recorded."""
    plan = run.read(PLAN, {})
    recorded = [
        *(float(row["seconds"]) for row in run.summary()[-1:]),
        *(entry["elapsed_s"] for entry in plan.get("rungs", [])),
        plan.get("elapsed_s", 0.0),
    ]
    counted_in = {str(entry["fold"]) for entry in plan.get("folds", [])}
    return max(recorded) + sum(_elapsed_s(Run(path)) for path in run.fold_paths() if path.name not in counted_in)


def new_folder(source: Path | str, *, what: str = "") -> Path:
    """Return a name for a new run: the data's name, what is done with it if it is not one training, and the time."""
    stem = Path(source).expanduser().absolute().stem or "run"
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / "-".join(part for part in (stem, what, now) if part)
