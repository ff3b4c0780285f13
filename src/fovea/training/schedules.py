"""Courses of the learning rate, each a pure function of the step: nothing to save, nothing to restore.

A schedule maps (step, total steps, settings) to a factor of the peak rate. Steps count optimiser updates from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fovea.core.recipe import TrainRecipe
from fovea.core.registry import Registry

Course = Callable[[float, TrainRecipe, int], float]

SCHEDULES: Registry[Course] = Registry("schedule")


@SCHEDULES.register("cosine", summary="half a cosine from the peak to zero (Loshchilov & Hutter 2017, §3)")
def _cosine(progress: float, settings: TrainRecipe, epochs: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


@SCHEDULES.register("one_cycle", summary="up to the peak and down to near zero in cosines (Smith 2018)")
def _one_cycle(progress: float, settings: TrainRecipe, epochs: int) -> float:
    low, rise = 0.04, 0.25
    if progress < rise:
        return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * progress / rise))
    return 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


@SCHEDULES.register("step", summary="multiplied by step_gamma at each of step_epochs")
def _step(progress: float, settings: TrainRecipe, epochs: int) -> float:
    marks = settings.step_epochs or (math.ceil(epochs / 3), math.ceil(2 * epochs / 3))
    return settings.step_gamma ** sum(progress * epochs >= mark for mark in marks)


@SCHEDULES.register("constant", summary="the peak rate throughout")
def _constant(progress: float, settings: TrainRecipe, epochs: int) -> float:
    return 1.0


def lr_factor(step: int, *, steps_per_epoch: int, epochs: int, settings: TrainRecipe) -> float:
    """Return the factor of the peak learning rate for update `step`.

    The first `settings.warmup` share of all steps rises linearly (Goyal 2017, §2.2); `one_cycle` has its own rise.

    >>> lr_factor(50, steps_per_epoch=10, epochs=10, settings=TrainRecipe(warmup=0.0))
    0.5
    """
    total = max(1, steps_per_epoch * epochs)
    course = SCHEDULES[settings.schedule].build
    warmup_steps = 0 if settings.schedule == "one_cycle" else round(settings.warmup * total)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if settings.schedule == "step":  # its epochs are meant on the whole training's axis
        return course(step / total, settings, epochs)
    return course((step - warmup_steps) / max(1, total - warmup_steps), settings, epochs)
