"""The climb: from the cheapest rung to the highest that the budget allows, with a usable model after each.

Head → (tail | network): a linear head on frozen features first; then what is left of the time goes either into the last
stages on cached activations or into the whole network, whichever the measured speed allows. Every choice is told and
recorded, and what was chosen by measured time is read back on resume. What a rung does is in `frozen` and `rungs`, how
a choice is computed in `planning` and `views`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fovea.core.errors import Interrupted, ModelError, UnknownName
from fovea.data.preprocess import Preprocess
from fovea.models.chain import Chain, as_chain, parameter_stages
from fovea.models.fastforward import fast_forward
from fovea.training import rungs
from fovea.training.checkpoints import load_checkpoint, save_checkpoint
from fovea.training.frozen import train_head
from fovea.training.loop import Scores, load_state
from fovea.training.planning import (
    STEP_OVERHEAD,
    WHOLE_EPOCHS,
    WORTH_MEASURING_S,
    measure_step_s,
    plan_epochs,
    plan_tail,
    tail_cuts,
)
from fovea.training.sampling import epoch_size
from fovea.training.session import PLAN, Session, SplitData, split_data
from fovea.training.views import describe_view


def climb(session: Session, *, deliver: Callable[[], None], resume: bool) -> None:
    """Train `session.working` by the recipe's strategy and leave the best rung's weights in it.

    Args:
        session: what to train.
        deliver: called whenever `session.working` holds a better model than before; writes the model folder.
        resume: continue a climb that was interrupted.

    Raises:
        Interrupted: the user stopped it; the best model so far has been delivered.
    """
    train, val = split_data(session.manifest, "train"), split_data(session.manifest, "val")
    strategy = session.settings.strategy
    session.plan.pop("partial", None)
    try:
        if not session.recipe.model.from_scratch:
            _head_rung(session, train, val, deliver)
        if strategy == "tail":
            _rung(session, "tail", lambda: _climb_tail(session, train, val, resume=resume), deliver)
        elif strategy == "full" or session.recipe.model.from_scratch:
            _rung(session, "full", lambda: _climb_network(session, train, val, resume=resume), deliver)
        elif strategy == "auto":
            _climb_auto(session, train, val, deliver, resume=resume)
    finally:
        if _load_best(session):
            deliver()


def _head_rung(session: Session, train: SplitData, val: SplitData, deliver: Callable[[], None]) -> None:
    """Climb the first rung; of several devices, the first one does it for all."""
    if session.fabric.is_global_zero:
        session.alone = True
        _rung(session, "head", lambda: train_head(session, train, val), deliver)
        session.alone = False
    session.fabric.barrier()
    if not session.fabric.is_global_zero:
        session.plan = session.run.read(PLAN)
        _load_rung(session, "head")


def _climb_auto(
    session: Session, train: SplitData, val: SplitData, deliver: Callable[[], None], *, resume: bool
) -> None:
    """Spend what is left of the budget on the rung that gains most from it."""
    rung = session.decide("rung", lambda: _next_rung(session, train))
    if rung == "full":
        _rung(session, "full", lambda: _climb_network(session, train, val, resume=resume), deliver)
    elif rung == "tail":
        _rung(session, "tail", lambda: _climb_tail(session, train, val, resume=resume), deliver)


def _next_rung(session: Session, train: SplitData) -> str:
    """Return "full", "tail" or "none" by what the time that is left can pay for."""
    if session.fabric.world_size > 1:
        return "full"
    if session.training_left_s() < WORTH_MEASURING_S:
        session.choose("stopping after the linear head", "the time left is too short for further training")
        return "none"
    if session.decide("whole", lambda: _plan_whole(session, train))["epochs"] >= WHOLE_EPOCHS:
        return "full"
    if session.decide("tail", lambda: _plan_tail(session, train)) is not None:
        return "tail"
    session.choose("stopping after the linear head", "the time left pays for no useful further training")
    return "none"


def _rung(session: Session, name: str, train: Callable[[], Scores | None], deliver: Callable[[], None]) -> None:
    """Climb one rung unless it is done; keep its weights; deliver them if they are the best so far."""
    if session.finished(name) and _load_rung(session, name):
        return
    try:
        scores = train()
    except Interrupted:
        _keep_partial(session, name)
        raise
    _save_rung(session, name)
    if not session.alone:
        session.fabric.barrier()
    entry = session.finish(
        name,
        val_accuracy=scores.accuracy if scores else None,
        val_loss=scores.loss if scores else None,
        view=describe_view(session.preprocess),
        epochs=sum(row["rung"] == name for row in session.run.summary()) or None,
    )
    session.event("rung_finished", **entry)
    if _best_rung(session) == name:
        deliver()
    if session.stop():
        raise Interrupted("stopped by the user", hint=session.run.resume_command)


def _save_rung(session: Session, name: str) -> None:
    """Keep the weights of the network, and the view they are judged on, as those of a rung."""
    if session.fabric.is_global_zero:
        state = {"module": session.working.state_dict(), "preprocess": session.preprocess.as_dict()}
        save_checkpoint(session.run.checkpoints_path, state, keep=1, name=f"after_{name}")


def _keep_partial(session: Session, name: str) -> None:
    """Remember the best weights of an interrupted rung: they are worth delivering, though the rung is not done."""
    state = load_state(session.run, name)
    best = state["position"]["best"] if state else None
    if best is not None:
        _save_rung(session, name)
        session.plan["partial"] = {"name": name, "val_loss": best[0], "val_accuracy": best[1]}
        session.save_plan()


def _best_rung(session: Session) -> str | None:
    """Return the rung with the best validation scores; without validation, the last one."""
    best: tuple[Scores, str] | None = None
    name = None
    partial = session.plan.get("partial")
    for entry in [*session.plan["rungs"], *([partial] if partial else [])]:
        name = entry["name"]
        if entry["val_accuracy"] is not None:
            scores = Scores(entry["val_loss"], entry["val_accuracy"])
            best = (scores, name) if best is None or scores.better_than(best[0]) else best
    return best[1] if best else name


def _load_rung(session: Session, name: str) -> bool:
    """Put the weights that a finished rung ended with into the network; False when they are missing or damaged."""
    state, _ = load_checkpoint(session.run.checkpoints_path, name=f"after_{name}")
    if state is None:
        return False
    session.working.load_state_dict(state["module"])
    session.preprocess = Preprocess.from_dict(state["preprocess"])
    return True


def _load_best(session: Session) -> bool:
    """Put the best finished rung's weights into the network; where none is finished, what there is stays.

    Returns whether there is anything worth delivering: a finished rung, or a training that has made steps.
    """
    name = _best_rung(session)
    if name is not None:
        return _load_rung(session, name)
    return any(session.run.checkpoints_path.glob("*.safetensors"))


def _plan_whole(session: Session, train: SplitData) -> dict[str, int]:
    """Return {frozen, epochs}: as few frozen stages as let enough epochs fit, by measured steps."""
    settings, stages = session.settings, parameter_stages(session.working)
    frozen = settings.freeze_stages or 0
    if settings.epochs is not None and settings.freeze_stages is not None:
        return {"frozen": frozen, "epochs": settings.epochs}
    tried = [frozen]
    if settings.freeze_stages is None and not session.recipe.model.from_scratch:
        tried += sorted({len(stages) * quarter // 8 for quarter in (2, 3, 4)})
    example = session.example(session.native_size, batch=settings.batch_size)
    images = epoch_size(train.targets, settings.sampler)
    plan = {"frozen": frozen, "epochs": 0}
    for frozen in tried:
        trial = copy.deepcopy(session.working)
        for name in (name for stage in stages[:frozen] for name in stage):
            trial.get_parameter(name).requires_grad_(False)
        image_s = measure_step_s(trial, example) * STEP_OVERHEAD / len(example)
        epochs = settings.epochs or plan_epochs(
            left_s=session.training_left_s(),
            images=images,
            image_s=image_s,
            from_scratch=session.recipe.model.from_scratch,
        )
        session.event("measured", what="training steps", frozen_stages=frozen, images_per_s=1 / image_s)
        plan = {"frozen": frozen, "epochs": epochs}
        enough = settings.epochs is not None or epochs >= WHOLE_EPOCHS
        if enough and epochs * images * image_s <= session.training_left_s():
            break
    return plan


def _climb_network(session: Session, train: SplitData, val: SplitData, *, resume: bool) -> Scores | None:
    """Train the whole network for the epochs that the recipe or the time left says."""
    scratch = session.recipe.model.from_scratch
    plan = session.decide("whole", lambda: _plan_whole(session, train))
    stages = parameter_stages(session.working)
    session.preprocess = replace(session.preprocess, input_size=session.native_size)
    epochs, frozen = max(1, plan["epochs"]), plan["frozen"]
    what = "training from scratch" if scratch else "fine-tuning the whole network"
    if frozen:
        what = f"fine-tuning all but the first {frozen} of {len(stages)} stages"
    session.choose(
        f"{what} at {session.native_size} px",
        f"{epochs} epochs" + (" fit the time left" if session.clock.budget_s else ""),
    )
    return rungs.train_network(
        session,
        train,
        val,
        rung="full",
        stages=stages,
        frozen=frozen,
        epochs=epochs,
        resume=resume,
    )


def _tail_chain(session: Session) -> Chain | None:
    return as_chain(session.working, session.example(session.native_size, batch=2))


def _plan_tail(session: Session, train: SplitData) -> dict[str, Any] | None:
    """Measure the frozen part and the training of the rest at each cut and plan views and epochs."""
    settings = session.settings
    chain = _tail_chain(session)
    cuts = tail_cuts(chain) if chain else []
    if chain is None or not cuts:
        return None
    names = {chain.units[cut].name: cut for cut in range(1, len(chain.units))}
    if settings.cut is not None:
        if settings.cut not in names:
            raise UnknownName("train.cut", settings.cut, names)
        cuts = [names[settings.cut]]
    prefix_s, suffix_s = {}, {}
    example = session.example(session.native_size)
    for cut in cuts:
        forward = fast_forward(chain.prefix(cut), example=example, prefer=session.plan["decisions"].get("backend"))
        began = time.perf_counter()
        activations = forward(example).float().clone()  # a clone may be trained on, an inference tensor may not
        prefix_s[cut] = (time.perf_counter() - began) / len(example) * STEP_OVERHEAD
        forward.close()
        suffix_s[cut] = measure_step_s(chain.suffix(cut), activations) / len(example) * STEP_OVERHEAD
    plan = plan_tail(
        left_s=session.training_left_s(),
        images=len(train),
        drawn=epoch_size(train.targets, settings.sampler),
        prefix_s=prefix_s,
        suffix_s=suffix_s,
    )
    if plan is not None or session.settings.strategy == "tail":
        plan = plan or {"cut": max(cuts), "views": 1, "epochs": 2}
        plan["views"] = settings.views or plan["views"]
        plan["epochs"] = settings.epochs or plan["epochs"]
    return plan


def _climb_tail(session: Session, train: SplitData, val: SplitData, *, resume: bool) -> Scores | None:
    """Train the last stages on cached activations."""
    plan = session.decide("tail", lambda: _plan_tail(session, train))
    chain = _tail_chain(session)
    if plan is None or chain is None:
        raise ModelError(
            f"{session.loaded.architecture} has no place to be cut: its stages cannot be trained alone",
            hint="use --set train.strategy=full or head",
        )
    cut = plan["cut"]
    session.preprocess = replace(session.preprocess, input_size=session.native_size)
    session.choose(
        f"training the last stages, from {chain.units[cut].name} on",
        f"{plan['views']} cached views of each image and {plan['epochs']} epochs fit the time left",
    )
    forward = fast_forward(
        chain.prefix(cut),
        example=session.example(session.native_size),
        prefer=session.plan["decisions"].get("backend"),
    )
    try:
        return rungs.train_tail(
            session,
            train,
            val,
            chain=chain,
            cut=cut,
            views=plan["views"],
            epochs=plan["epochs"],
            forward=forward,
            resume=resume,
        )
    finally:
        forward.close()
