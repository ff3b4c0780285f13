"""`fovea train` and `fovea resume`: read the data, climb within the budget, save the model, evaluate, report."""

from __future__ import annotations

import dataclasses
import datetime
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from lightning_fabric import Fabric

from fovea.core.cores import usable_cores
from fovea.core.errors import Interrupted
from fovea.core.progress import Progress, Silent
from fovea.core.recipe import Recipe
from fovea.core.run import Run
from fovea.data.manifest import Manifest
from fovea.data.preprocess import Preprocess
from fovea.data.reading import check_trainable, read
from fovea.data.splits import with_splits
from fovea.evaluation.environment import environment
from fovea.models.bundle import save_bundle
from fovea.models.catalogue import DEFAULT_NAME, Loaded, create
from fovea.models.folding import fold, unfold
from fovea.training.climb import climb
from fovea.training.loop import Clock
from fovea.training.optimisers import OPTIMISERS
from fovea.training.schedules import SCHEDULES
from fovea.training.session import PLAN, Session
from fovea.workflows import evaluating
from fovea.workflows.machine import build_fabric, prepare, stop_on_signal

# Kept of the budget for the end: seconds for saving and the report, the rate of evaluation on a slow CPU, and a share
# for noise.
CLOSING_S, EVALUATED_PER_S, SLACK = 5.0, 33.0, 0.03


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
        FoveaError: data, recipe or weights are wrong; the message says which and how to fix it.
        Interrupted: the user stopped it; the run folder holds a usable model and can be resumed.
    """
    progress = console or Silent()
    clock = Clock(started=time.monotonic() if started is None else started)
    recipe = recipe or Recipe()
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=str(source)))
    check_names(recipe)
    prepare(recipe.train)
    fabric = build_fabric(recipe.train)
    manifest = _read(recipe, progress)
    recipe = _sized(recipe, manifest)
    loaded = _network(recipe, manifest)
    recipe = _resolved(recipe, loaded)
    folder = Path(out) if out is not None else Path(fabric.broadcast(str(_new_folder(source))))
    if fabric.is_global_zero:
        run = Run.create(folder, recipe)
        manifest.save(run.manifest_path)
        run.add_findings(list(manifest.findings))
        run.event("started", environment=environment(), command=sys.argv)
    fabric.barrier()
    run = Run.open(folder)
    clock.budget_s = recipe.train.budget_s
    return _run(run, recipe, manifest, loaded, fabric, clock, progress, resume=False)


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
        manifest = _read(recipe, progress)
        manifest.save(run.manifest_path)
        run.add_findings(list(manifest.findings))
    manifest = Manifest.load(run.manifest_path)
    loaded = _network(recipe, manifest)
    before_s = _elapsed_s(run)
    clock = Clock(budget_s=recipe.train.budget_s, before_s=before_s)
    run.event("resumed", environment=environment(), elapsed_s=before_s)
    return _run(run, recipe, manifest, loaded, fabric, clock, progress, resume=True)


def resolve(source: Path | str, recipe: Recipe) -> Recipe:
    """Return the recipe with every choice made that does not depend on measured time."""
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=str(source)))
    check_names(recipe)
    manifest = _read(recipe, Silent())
    recipe = _sized(recipe, manifest)
    return _resolved(recipe, _network(recipe, manifest))


def check_names(recipe: Recipe) -> None:
    """Raise `UnknownName` for an optimiser or schedule that is not registered."""
    OPTIMISERS[recipe.train.optimizer]
    SCHEDULES[recipe.train.schedule]


def _read(recipe: Recipe, progress: Progress) -> Manifest:
    manifest = read(
        recipe.data.source,
        label_column=recipe.data.label_column,
        classes=recipe.data.classes,
        max_pixels=recipe.data.max_pixels,
        progress=lambda done, total: progress.advance("reading images", done, total),
    )
    manifest = with_splits(manifest, val_fraction=recipe.data.val_fraction, seed=recipe.seed)
    check_trainable(manifest)
    return manifest


def _sized(recipe: Recipe, manifest: Manifest) -> Recipe:
    """Choose the input size where no weights bring one."""
    if not recipe.model.from_scratch or recipe.data.input_size is not None:
        return recipe
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, input_size=_scratch_size(manifest)))


def _network(recipe: Recipe, manifest: Manifest) -> Loaded:
    torch.manual_seed(recipe.seed)  # a new classifier, or a network from scratch, starts the same each time
    return create(
        recipe.model.name,
        classes=len(manifest.classes),
        weights=recipe.model.weights,
        from_scratch=recipe.model.from_scratch,
        drop_rate=recipe.model.drop_rate,
        input_size=recipe.data.input_size,
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


def _run(
    run: Run,
    recipe: Recipe,
    manifest: Manifest,
    loaded: Loaded,
    fabric: Fabric,
    clock: Clock,
    progress: Progress,
    *,
    resume: bool,
) -> Run:
    """Climb, deliver, evaluate, report."""
    preprocess = _preprocess(recipe, loaded)
    example = torch.zeros(1, 3, preprocess.input_size, preprocess.input_size)
    frozen_bn = recipe.train.bn == "frozen"
    working = fold(loaded.model, example=example).requires_grad_(True) if frozen_bn else loaded.model
    with stop_on_signal(progress) as stop:
        session = Session(
            recipe=recipe,
            manifest=manifest,
            run=run,
            loaded=loaded,
            working=working,
            preprocess=preprocess,
            fabric=fabric,
            clock=clock,
            progress=progress,
            stop=stop,
            reserve_s=_reserve_s(recipe, manifest),
        )
        if resume:
            session.plan = run.read(PLAN, session.plan)

        def deliver() -> None:
            if not fabric.is_global_zero:
                return
            if working is not loaded.model:
                unfold(working, loaded.model, example=example)
            _save(session)

        try:
            climb(session, deliver=deliver, resume=resume)
        except Interrupted:
            run.event("interrupted", elapsed_s=clock.elapsed_s())
            raise
    if fabric.is_global_zero:
        evaluating.evaluate(run.folder, console=progress)
        session.plan["complete"] = True
        session.plan["elapsed_s"] = round(clock.elapsed_s(), 2)
        session.save_plan()
        run.event("finished", elapsed_s=clock.elapsed_s())
    fabric.barrier()
    return run


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


def _reserve_s(recipe: Recipe, manifest: Manifest) -> float:
    """Return the seconds to keep for evaluation and the report."""
    split = next((name for name in ("test", "val") if manifest.has_split(name)), None)
    images = manifest.usable(split).height if split else 0
    return CLOSING_S + images / EVALUATED_PER_S + SLACK * (recipe.train.budget_s or 0)


def _elapsed_s(run: Run) -> float:
    """Return the seconds that earlier sessions worked on a run, as far as they were recorded."""
    plan = run.read(PLAN, {"rungs": []})
    return max(
        [float(row["seconds"]) for row in run.summary()[-1:]] + [entry["elapsed_s"] for entry in plan["rungs"]],
        default=0.0,
    )


def _new_folder(source: Path | str) -> Path:
    """Return a name for a new run: the data's name and the time."""
    stem = Path(source).expanduser().absolute().stem or "run"
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{stem}-{now}"
