"""The one training loop. Tasks give it a module, batches and a loss; nobody writes a second loop.

It decides nothing about data or models. It guarantees: every random number depends on (seed, epoch, batch) alone, so a
training resumed from any checkpoint repeats the uninterrupted one bit for bit on CPU; a deadline or Ctrl-C ends it
between two steps with everything saved; the mean loss is over all devices exactly.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from fovea.core.errors import Interrupted
from fovea.core.progress import Progress
from fovea.core.recipe import TrainRecipe
from fovea.core.run import Run
from fovea.training.checkpoints import load_checkpoint, read_checkpoint, save_checkpoint
from fovea.training.ema import Ema
from fovea.training.objective import Objective
from fovea.training.schedules import lr_factor
from fovea.training.tensorboard import Scalars


class Batches(Protocol):
    """Where batches come from: deterministic in (epoch, batch), able to start in the middle of an epoch."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def epoch(self, epoch: int, *, first: int) -> Iterable[tuple[torch.Tensor, torch.Tensor, int]]:
        """Yield (inputs, targets, images in the batch over all devices) from batch `first` on."""


@dataclass(frozen=True)
class Scores:
    """What validation says: mean loss and accuracy over the validation images."""

    loss: float
    accuracy: float

    def better_than(self, other: Scores | None) -> bool:
        """Compare by accuracy, then by loss."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


def score_logits(logits: torch.Tensor, targets: torch.Tensor) -> Scores:
    """Return mean log loss and accuracy; a multi-label row is right when every label is."""
    if targets.ndim == 2:
        loss = nn.functional.binary_cross_entropy_with_logits(logits, targets.float())
        return Scores(float(loss), float(((logits > 0) == (targets > 0.5)).all(1).float().mean()))
    loss = nn.functional.cross_entropy(logits, targets.long())
    return Scores(float(loss), float((logits.argmax(1) == targets).float().mean()))


@dataclass
class Clock:
    """Wall clock of a whole run, over all its sessions; seconds."""

    budget_s: float | None = None
    before_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def elapsed_s(self) -> float:
        """Return the seconds worked on this run, earlier sessions included."""
        return self.before_s + time.monotonic() - self.started

    def left_s(self) -> float:
        """Return the seconds left of the budget; infinite without one."""
        return math.inf if self.budget_s is None else self.budget_s - self.elapsed_s()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stretch of training: what to train, on what, how long.

    Args:
        rung: its name in the logs, such as "tail" or "full".
        module: the network to train in place (for "tail", the last stages only).
        optimiser: over the parameters of `module`; each group has its `lr_scale`.
        lr: peak learning rate.
        batches: the training data.
        objective: loss per image of (logits, targets).
        validate: scores of a module on the validation images, or None without any.
        settings: the recipe's `train` part.
        epochs: how many; may shrink when time runs short.
        seed: of everything random.
        reserve_s: seconds of the budget that must be left when the job ends.
        frozen_bn: BatchNorm layers use and keep the statistics they have.
        compile: run the module through torch.compile.
    """

    rung: str
    module: nn.Module
    optimiser: torch.optim.Optimizer
    lr: float
    batches: Batches
    objective: Objective
    validate: Callable[[nn.Module], Scores] | None
    settings: TrainRecipe
    epochs: int
    seed: int
    reserve_s: float
    frozen_bn: bool
    compile: bool = False


# How a stretch of an epoch ended; the larger wins when devices disagree.
_COMPLETE, _OUT_OF_TIME, _STOPPED = 0, 1, 2


@dataclass
class Position:
    """Where a job stands; saved in every checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    epochs: int = 0
    epoch_loss: float = 0.0
    epoch_images: int = 0
    best: Scores | None = None
    best_file: str = ""
    best_loss: float = math.inf
    stale_epochs: int = 0
    done: bool = False


def fit(
    job: Job,
    *,
    fabric: Fabric,
    run: Run,
    clock: Clock,
    progress: Progress,
    stop: Callable[[], bool],
    resume: bool = False,
) -> Position:
    """Train `job.module`, leave its best weights in it and return where it ended.

    Args:
        job: what to train.
        fabric: devices and precision.
        run: where checkpoints, events and the summary go.
        clock: the run's time.
        progress: shown to the user.
        stop: asked between steps; True ends the job with everything saved.
        resume: continue from the newest intact checkpoint of this rung.

    Raises:
        Interrupted: `stop` said so; the module holds the best weights so far.
    """
    position = Position(epochs=job.epochs)
    module, optimiser = _setup(fabric, job)
    ema = Ema(job.module, decay=job.settings.ema_decay) if job.settings.ema_decay > 0 else None
    rows = run.summary()
    if resume and (state := load_state(run, job.rung)):
        position, rows = _restore(state, job, ema)
    checkpoint = _Checkpointer(run, job, ema, clock, fabric, rows, position)
    while position.epoch < position.epochs and not position.done:
        began = time.monotonic()
        end = _train_epoch(job, module, optimiser, ema, position, fabric, clock, progress, stop, checkpoint)
        if end == _STOPPED:
            checkpoint.save()
            _load_best(run, position, job.module, ema)
            raise Interrupted("stopped by the user", hint=run.resume_command)
        _finish_epoch(job, ema, position, run, rows, clock, progress, fabric, checkpoint, time.monotonic() - began)
        if end == _OUT_OF_TIME:
            break
    position.done = True
    checkpoint.save()
    if checkpoint.scalars:
        checkpoint.scalars.close()
    _load_best(run, position, job.module, ema)
    return position


def load_state(run: Run, rung: str) -> dict[str, Any] | None:
    """Return the newest intact checkpoint if it belongs to `rung`; damaged ones are recorded as events."""
    state, damaged = load_checkpoint(run.checkpoints_path)
    for path in damaged:
        run.event("checkpoint_damaged", file=path.name)
    return state if state is not None and state["rung"] == rung else None


def _setup(fabric: Fabric, job: Job) -> tuple[Any, Any]:
    if not any(parameter.requires_grad for parameter in job.module.parameters()):
        raise ValueError("nothing to train: every parameter is frozen")
    module: Any = torch.compile(job.module) if job.compile else job.module
    return tuple(fabric.setup(module, job.optimiser))


def _train_epoch(
    job: Job,
    module: Any,
    optimiser: Any,
    ema: Ema | None,
    position: Position,
    fabric: Fabric,
    clock: Clock,
    progress: Progress,
    stop: Callable[[], bool],
    checkpoint: _Checkpointer,
) -> int:
    """Run the rest of the current epoch and return how it ended."""
    _train_mode(module, frozen_bn=job.frozen_bn)
    settings, count = job.settings, len(job.batches)
    updates = math.ceil(count / settings.accumulate)
    began, began_images = time.monotonic(), position.epoch_images
    for inputs, targets, images in job.batches.epoch(position.epoch, first=position.batch):
        factor = lr_factor(position.step, steps_per_epoch=updates, epochs=position.epochs, settings=settings)
        for group in optimiser.param_groups:
            group["lr"] = job.lr * group["lr_scale"] * factor
        torch.manual_seed(_mix(job.seed, position.epoch, position.batch, fabric.global_rank))
        last = position.batch + 1 == count
        update = last or (position.batch + 1) % settings.accumulate == 0
        gathered = settings.accumulate if not last else (count - 1) % settings.accumulate + 1
        with fabric.no_backward_sync(module, enabled=not update):
            losses = job.objective(module(fabric.to_device(inputs)), fabric.to_device(targets))
            # Each device sums its own images and divides by the share of all images it would have had: the mean of the
            # devices' gradients, which is what they exchange, is then the mean over all images, also for uneven shares.
            loss = losses.sum() * fabric.world_size / images
            fabric.backward(loss / gathered)
        if update:
            if settings.clip_norm > 0:
                fabric.clip_gradients(module, optimiser, max_norm=settings.clip_norm, error_if_nonfinite=False)
            optimiser.step()
            optimiser.zero_grad()
            position.step += 1
            if ema:
                ema.update(job.module)
        everyone: Any = fabric.all_reduce(loss.detach())
        mean = float(everyone)
        position.epoch_loss += mean * images
        position.epoch_images += images
        position.batch += 1
        seconds = time.monotonic() - began
        rate = (position.epoch_images - began_images) / max(seconds, 1e-9)
        progress.advance(
            f"{job.rung} {position.epoch + 1}/{position.epochs}",
            position.batch,
            count,
            {"loss": position.epoch_loss / position.epoch_images, "images_per_s": rate, "left_s": clock.left_s()},
        )
        wish = _STOPPED if stop() else _OUT_OF_TIME if clock.left_s() < job.reserve_s else _COMPLETE
        end = _largest(fabric, wish)
        if end and position.batch < count:
            return end
        if update and _largest(fabric, checkpoint.due()):
            checkpoint.save()
    return _COMPLETE


def _finish_epoch(
    job: Job,
    ema: Ema | None,
    position: Position,
    run: Run,
    rows: list[dict[str, Any]],
    clock: Clock,
    progress: Progress,
    fabric: Fabric,
    checkpoint: _Checkpointer,
    seconds: float,
) -> None:
    """Validate, record, remember the best, fit the remaining epochs to the remaining time, save."""
    judged = ema.module if ema else job.module
    scores = job.validate(judged.eval()) if job.validate else None
    loss = position.epoch_loss / max(1, position.epoch_images)
    row = {
        "epoch": len(rows) + 1,
        "rung": job.rung,
        "train_loss": round(loss, 6),
        "val_loss": round(scores.loss, 6) if scores else "",
        "val_accuracy": round(scores.accuracy, 6) if scores else "",
        "lr": job.optimiser.param_groups[-1]["lr"],
        "seconds": round(clock.elapsed_s(), 2),
    }
    rows.append(row)
    if fabric.is_global_zero:
        run.write_summary(rows)
        run.event("epoch", **row)
        if checkpoint.scalars:
            checkpoint.scalars.write(row)
    progress.epoch(row)
    position.epoch, position.batch = position.epoch + 1, 0
    position.epoch_loss, position.epoch_images = 0.0, 0
    if math.isfinite(loss) and (scores is None or scores.better_than(position.best)):
        position.best = scores
        checkpoint.save_best(judged)
    if scores is not None:
        position.stale_epochs = 0 if scores.loss < position.best_loss else position.stale_epochs + 1
        position.best_loss = min(position.best_loss, scores.loss)
    position.done = not math.isfinite(loss) or 0 < job.settings.early_stop <= position.stale_epochs
    if not math.isfinite(loss) and fabric.is_global_zero:
        run.event("diverged", rung=job.rung, epoch=position.epoch)
        progress.say(f"{job.rung}: the loss is no longer a number; kept the best weights so far (try a lower train.lr)")
    if clock.budget_s is not None:
        fitting = position.epoch + max(0, int((clock.left_s() - job.reserve_s) / max(seconds, 1e-9) + 0.15))
        fitting = fabric.broadcast(fitting)
        if fitting < position.epochs:
            run.event("epochs_cut", rung=job.rung, planned=position.epochs, now=fitting)
            progress.say(f"{job.rung}: {fitting} epochs fit the time left, not {position.epochs}")
            position.epochs = fitting
    checkpoint.save()


class _Checkpointer:
    """Writes the state of one job; owns the time of the last write."""

    def __init__(
        self,
        run: Run,
        job: Job,
        ema: Ema | None,
        clock: Clock,
        fabric: Fabric,
        rows: list[dict[str, Any]],
        position: Position,
    ) -> None:
        self.run, self.job, self.ema, self.clock = run, job, ema, clock
        self.fabric, self.rows, self.position = fabric, rows, position
        self.saved = time.monotonic()
        wanted = job.settings.tensorboard and fabric.is_global_zero
        self.scalars = Scalars(run.folder / "tensorboard", done=len(rows)) if wanted else None

    def due(self) -> bool:
        """Return whether the time between checkpoints is over."""
        return time.monotonic() - self.saved >= self.job.settings.checkpoint_s

    def save(self) -> None:
        """Write a checkpoint from which `fit` continues bit for bit."""
        if self.fabric.is_global_zero:
            save_checkpoint(self.run.checkpoints_path, self._state())
        self.fabric.barrier()
        self.saved = time.monotonic()

    def save_best(self, module: nn.Module) -> None:
        """Write the weights of `module` as the best so far."""
        if self.fabric.is_global_zero:
            state = {"module": module.state_dict(), "rung": self.job.rung}
            path = save_checkpoint(self.run.checkpoints_path, state, name="best")
            self.position.best_file = path.name

    def _state(self) -> dict[str, Any]:
        position = dict(vars(self.position))
        best = self.position.best
        return {
            "rung": self.job.rung,
            "position": {**position, "best": [best.loss, best.accuracy] if best else None},
            "module": self.job.module.state_dict(),
            "ema": {"module": self.ema.module.state_dict(), "updates": self.ema.updates} if self.ema else None,
            "optimiser": self.job.optimiser.state_dict(),
            "rows": self.rows,
            "elapsed_s": self.clock.elapsed_s(),
        }


def _restore(state: dict[str, Any], job: Job, ema: Ema | None) -> tuple[Position, list[dict[str, Any]]]:
    job.module.load_state_dict(state["module"])
    job.optimiser.load_state_dict(state["optimiser"])
    if ema and state["ema"]:
        ema.module.load_state_dict(state["ema"]["module"])
        ema.updates = state["ema"]["updates"]
    saved = dict(state["position"])
    saved["best"] = Scores(*saved["best"]) if saved["best"] else None
    return Position(**saved), list(state["rows"])


def _load_best(run: Run, position: Position, module: nn.Module, ema: Ema | None) -> None:
    """Put the best weights into `module`; without any validated yet, the averaged or current ones stay."""
    state = read_checkpoint(run.checkpoints_path / position.best_file) if position.best_file else None
    if state is not None:
        module.load_state_dict(state["module"])
    elif ema and ema.updates:
        module.load_state_dict(copy.deepcopy(ema.module.state_dict()))


def _train_mode(module: nn.Module, *, frozen_bn: bool) -> None:
    module.train()
    if frozen_bn:
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()


def _largest(fabric: Fabric, value: int) -> int:
    """Return the largest value over all devices: all must leave the loop, or save, at the same step."""
    if fabric.world_size == 1:
        return int(value)
    everyone: Any = fabric.all_gather(torch.tensor(int(value)))
    return int(everyone.max())


def _mix(*numbers: int) -> int:
    """Return one well-spread seed below 2**63 from several numbers (a 64-bit FNV-1a hash)."""
    state = 0xCBF29CE484222325
    for number in numbers:
        for byte in number.to_bytes(8, "little"):
            state = ((state ^ byte) * 0x100000001B3) % 2**64
    return state % 2**63
