"""The upper rungs of the climb: the last stages on cached activations, and the whole network on augmented pixels.

Each rung takes a `Session`, trains `session.working` in place and returns its validation scores. Which rungs are
climbed, and how far, is `climb`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fovea.core.errors import Interrupted
from fovea.models.chain import Chain, parameter_stages
from fovea.models.fastforward import FastForward
from fovea.training.activations import ActivationStore, extract
from fovea.training.batches import ActivationBatches, PixelBatches
from fovea.training.embedding import activation_store
from fovea.training.images import Images, augmentation, readable
from fovea.training.loop import Job, Scores, fit, score_logits
from fovea.training.objective import build_objective
from fovea.training.optimisers import build_optimiser, parameter_groups, peak_lr
from fovea.training.session import Session, SplitData

VALIDATION_BATCH = 64
SHARES = (0.85, 0.7, 0.5)  # of the fine-tuned weights that are tried in a mixture


def validator(inputs: Callable[[np.ndarray], torch.Tensor], data: SplitData, session: Session) -> Any:
    """Return a function that scores a module on `data`, or None when there is no such image.

    Args:
        inputs: what the module is fed for these row numbers.
        data: the validation images.
        session: gives device and precision.
    """
    if not len(data):
        return None
    targets = data.target_tensor(np.arange(len(data)))

    def validate(module: nn.Module) -> Scores:
        logits = []
        with torch.inference_mode(), session.fabric.autocast():
            for start in range(0, len(data), VALIDATION_BATCH):
                rows = np.arange(start, min(start + VALIDATION_BATCH, len(data)))
                logits.append(module(session.fabric.to_device(inputs(rows))).float().cpu())
        return score_logits(torch.cat(logits), targets)

    return validate


def train_tail(
    session: Session,
    train: SplitData,
    val: SplitData,
    *,
    chain: Chain,
    cut: int,
    views: int,
    epochs: int,
    forward: FastForward,
    resume: bool,
) -> Scores | None:
    """Train the stages after unit `cut` on cached activations of `views` views of each image.

    View 0 is the plain one; the others are random crops, flips and colours, drawn once.
    """
    preprocess = session.preprocess
    unit = chain.units[cut - 1].name
    augment = augmentation(session)

    train_images, kept = readable(session, train, preprocess, whole=True)
    train = train.take(kept)
    val_images, kept = readable(session, val, preprocess, whole=False)
    val = val.take(kept)

    def filled(images: Images, view: int, label: str) -> ActivationStore:
        name = "plain" if view == 0 else repr((augment, session.recipe.seed, view))
        store = activation_store(session.loaded, unit=unit, preprocess=preprocess, backend=forward.name, view=name)

        def pixels(rows: Any) -> torch.Tensor:
            if view == 0:
                return session.fabric.to_device(preprocess.normalise(images.plain(rows)))
            changed = images.augmented(
                rows, augment=augment, size=preprocess.input_size, seed=session.recipe.seed, look=view
            )
            return session.fabric.to_device(preprocess.normalise(changed))

        extract(
            store,
            digests=images.data.digests,
            pixels=pixels,
            forward=forward,
            advance=lambda done, total: session.progress.advance(label, done, total),
            stop=session.stop,
        )
        return store

    val_store = filled(val_images, 0, "activations for validation") if len(val) else None
    stores: list[ActivationStore] = []
    for view in range(views):
        short_of_time = session.training_left_s() < 0 and stores
        if session.stop() or short_of_time:
            break
        stores.append(filled(train_images, view, f"activations, view {view + 1}/{views}"))
    if session.stop():
        raise Interrupted("stopped by the user", hint=session.run.resume_command)
    complete = [store for store in stores if store.has(train.digests).all()]
    if not complete:
        return None
    batches = ActivationBatches(
        complete,
        train,
        settings=session.settings,
        classes=len(session.manifest.classes),
        seed=session.recipe.seed,
        fabric=session.fabric,
    )

    def activations(rows: np.ndarray) -> torch.Tensor:
        assert val_store is not None  # the validator exists only with validation images
        return torch.from_numpy(val_store.gather([val.digests[row] for row in rows])).float()

    suffix = chain.suffix(cut)
    return _fit(
        session,
        rung="tail",
        module=suffix,
        stages=_stages_of(suffix, parameter_stages(session.working)),
        batches=batches,
        validate=validator(activations, val, session),
        train=train,
        epochs=epochs,
        resume=resume,
    )


def train_network(
    session: Session,
    train: SplitData,
    val: SplitData,
    *,
    rung: str,
    stages: list[list[str]],
    frozen: int,
    epochs: int,
    resume: bool,
) -> Scores | None:
    """Train the network but for its first `frozen` stages on augmented pixels, at the size that it is judged at."""
    images, kept = readable(session, train, session.preprocess, whole=session.recipe.data.augment)
    train = train.take(kept)
    batches = PixelBatches(
        images,
        train,
        size=session.preprocess.input_size,
        augment=augmentation(session) if session.recipe.data.augment else None,
        settings=session.settings,
        classes=len(session.manifest.classes),
        seed=session.recipe.seed,
        fabric=session.fabric,
    )
    judged, kept = readable(session, val, session.preprocess, whole=False)
    val = val.take(kept)
    for position, stage in enumerate(stages):
        for name in stage:
            session.working.get_parameter(name).requires_grad_(position >= frozen)
    return _fit(
        session,
        rung=rung,
        module=session.working,
        stages=stages,
        batches=batches,
        validate=validator(lambda rows: session.preprocess.normalise(judged.plain(rows)), val, session),
        train=train,
        epochs=epochs,
        resume=resume,
    )


def _stages_of(module: nn.Module, stages: list[list[str]]) -> list[list[str]]:
    """Return the stages without the parameters that `module` does not have."""
    own = {name for name, _ in module.named_parameters()}
    kept = [[name for name in stage if name in own] for stage in stages]
    return [stage for stage in kept if stage]


def _fit(
    session: Session,
    *,
    rung: str,
    module: nn.Module,
    stages: list[list[str]],
    batches: Any,
    validate: Any,
    train: SplitData,
    epochs: int,
    resume: bool,
) -> Scores | None:
    """Run the loop on `module` with the recipe's optimiser and loss; return the best validation scores."""
    settings = session.settings
    peak = peak_lr(settings, from_scratch=session.recipe.model.from_scratch, devices=session.fabric.world_size)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    groups = parameter_groups(module, stages, weight_decay=settings.weight_decay, layer_decay=settings.layer_decay)
    classes = len(session.manifest.classes)
    counts = train.targets.sum(0) if session.multilabel else np.bincount(train.targets, minlength=classes)
    job = Job(
        rung=rung,
        module=module,
        optimiser=build_optimiser(groups, lr=peak, settings=settings),
        lr=peak,
        batches=batches,
        objective=build_objective(settings, counts=counts, multilabel=session.multilabel),
        validate=validate,
        settings=settings,
        epochs=epochs,
        seed=session.recipe.seed,
        reserve_s=session.reserve_s,
        frozen_bn=session.frozen_bn,
        compile=session.decide("compile", lambda: pays_to_compile(session)),
    )
    session.event("rung_started", rung=rung, epochs=epochs, lr=peak, parameters=_trainable(module))
    with session.watch(rung):
        ended = fit(
            job,
            fabric=session.fabric,
            run=session.run,
            clock=session.clock,
            progress=session.progress,
            stop=session.stop,
            resume=resume,
        )
    if validate is None or session.recipe.model.from_scratch or not settings.interpolate:
        return ended.best
    return interpolate(session, module, start, validate)


def interpolate(
    session: Session, module: nn.Module, start: dict[str, torch.Tensor], validate: Callable[[nn.Module], Scores]
) -> Scores:
    """Leave the weights between `start` and those of `module` that validate best; return their scores.

    A linear mixture of the weights before and after fine-tuning is often more accurate than either, and better
    calibrated, on photos from elsewhere. The log loss decides: it is less noisy than accuracy on few images.
    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", §3.
    """
    end = {name: value.clone() for name, value in module.state_dict().items()}
    best, best_share = validate(module.eval()), 1.0
    for share in SHARES:
        module.load_state_dict(mixture(start, end, share))
        scores = validate(module.eval())
        if scores.loss < best.loss:
            best, best_share = scores, share
    module.load_state_dict(mixture(start, end, best_share))
    if best_share < 1:
        session.choose(
            f"mixing {1 - best_share:.0%} of the weights from before fine-tuning back in",
            f"validates better than the fine-tuned weights alone: log loss {best.loss:.3f}",
        )
    return best


def mixture(start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Return `share` of `end` and the rest of `start`, weight by weight; integer buffers are those of `end`."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() and share < 1 else value
        for name, value in end.items()
    }


def pays_to_compile(session: Session) -> bool:
    """Return whether to run the network through torch.compile.

    It takes one to two minutes before the first step, which a CPU does not earn back within a usual budget
    (docs/decisions, 5); on a GPU it is used when more than ten minutes of training lie ahead.
    """
    if session.settings.compile != "auto":
        return session.settings.compile == "on"
    return session.fabric.device.type == "cuda" and session.training_left_s() > 600


def _trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
