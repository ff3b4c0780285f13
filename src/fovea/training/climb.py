"""The climb: from the cheapest rung to the highest that the budget allows, with a usable model after each.

Head → (tail | network): a linear head on frozen features first; then what is left of the time goes either into the last
stages on cached activations or into the whole network, whichever the measured speed allows. Every choice is told and
recorded, and what was chosen by measured time is read back on resume. What a rung does is in `rungs`, how a choice is
computed in `planning` and `views`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fovea.core.errors import Interrupted, ModelError
from fovea.data.preprocess import Preprocess
from fovea.models.chain import as_chain, parameter_stages
from fovea.models.fastforward import FastForward, fast_forward
from fovea.models.heads import feature_extractor
from fovea.training import rungs
from fovea.training.checkpoints import load_checkpoint, save_checkpoint
from fovea.training.loop import Scores
from fovea.training.planning import (
    Stretch,
    measure_step_s,
    plan_network,
    plan_tail,
    sizes_to_try,
    tail_cuts,
)
from fovea.training.session import Session, SplitData, split_data
from fovea.training.views import candidate_views, compare_views, describe_view, sample_rows


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
    try:
        if not session.recipe.model.from_scratch:
            _rung(session, "head", lambda: _climb_head(session, train, val), deliver)
        if strategy == "tail":
            _rung(session, "tail", lambda: _climb_tail(session, train, val, resume=resume), deliver)
        elif strategy == "full" or session.recipe.model.from_scratch:
            _rung(session, "full", lambda: _climb_network(session, train, val, resume=resume), deliver)
        elif strategy == "auto":
            _climb_auto(session, train, val, deliver, resume=resume)
    finally:
        if _load_best(session):
            deliver()


def _climb_auto(
    session: Session, train: SplitData, val: SplitData, deliver: Callable[[], None], *, resume: bool
) -> None:
    """Spend what is left of the budget on the rung that gains most from it."""
    rung = session.decide("rung", lambda: _next_rung(session, len(train)))
    if rung == "full":
        _rung(session, "full", lambda: _climb_network(session, train, val, resume=resume), deliver)
    elif rung == "tail":
        _rung(session, "tail", lambda: _climb_tail(session, train, val, resume=resume), deliver)


def _next_rung(session: Session, images: int) -> str:
    """Return "full", "tail" or "none" by what the time that is left can pay for."""
    stretch = session.decide("network", lambda: _plan_network(session, images))
    if stretch is not None:
        return "full"
    tail = session.decide("tail", lambda: _plan_tail(session, images))
    if tail is not None:
        return "tail"
    session.choose("stopping after the linear head", "the time left pays for no useful further training")
    return "none"


def _rung(session: Session, name: str, train: Callable[[], Scores | None], deliver: Callable[[], None]) -> None:
    """Climb one rung unless it is done; keep its weights; deliver them if they are the best so far."""
    if session.finished(name) and _load_rung(session, name):
        return
    scores = train()
    if session.stop() and name != "head":
        raise Interrupted("stopped by the user", hint=f"fovea resume {session.run.folder}")
    if session.fabric.is_global_zero:
        state = {"module": session.working.state_dict(), "preprocess": session.preprocess.as_dict()}
        save_checkpoint(session.run.checkpoints_path, state, keep=1, name=f"after_{name}")
    session.fabric.barrier()
    entry = session.finish(
        name,
        val_accuracy=scores.accuracy if scores else None,
        val_loss=scores.loss if scores else None,
        view=describe_view(session.preprocess),
    )
    session.run.event("rung_finished", **entry)
    if _best_rung(session) == name:
        deliver()
    if session.stop():
        raise Interrupted("stopped by the user", hint=f"fovea resume {session.run.folder}")
