"""What the time that is left can pay for: measured speeds in, a plan out. The arithmetic is pure; only measuring runs.

Plans are plain values, so that they can be kept in plan.json and read back by a resumed run.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch
from torch import nn

from fovea.models.chain import Chain

# Fewer passes than this over augmented images gain little over a linear head; more than this gain little over this.
LEAST_EPOCHS, MOST_EPOCHS = 3, 30
# Without a budget nothing limits the epochs; these are what fine-tuning and training from scratch need in practice.
UNLIMITED_EPOCHS, SCRATCH_EPOCHS = 12, 60
TAIL_EPOCHS = 6


def sizes_to_try(input_size: int, *, flexible: bool) -> list[int]:
    """Return training sizes from the judged size downwards, in steps of 32 pixels, never below 96 or half.

    >>> sizes_to_try(224, flexible=True)
    [224, 192, 160, 128]
    """
    if not flexible:
        return [input_size]
    smaller = range(input_size - 32, max(96, input_size // 2) - 1, -32)
    return [input_size, *smaller]


def measure_step_s(module: nn.Module, inputs: torch.Tensor, *, steps: int = 2) -> float:
    """Return the seconds that one training step on `inputs` takes (forward, backward), after one to warm up.

    Runs on a copy: no weight, statistic or gradient of `module` changes.
    """
    trial = copy.deepcopy(module).train()
    times = []
    for _ in range(1 + steps):
        began = time.perf_counter()
        trial(inputs).float().square().mean().backward()
        if inputs.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def plan_network(
    *, left_s: float, images: int, image_s: dict[int, float], least_epochs: int = LEAST_EPOCHS
) -> dict[str, Any] | None:
    """Choose the training size and the epochs for the whole network, or None when too few epochs fit.

    The largest size at which `WANTED_EPOCHS` fit wins, else the smallest size with at least `least_epochs`.

    Args:
        left_s: seconds for training; infinite without a budget.
        images: training images.
        image_s: measured seconds per image by training size.

    >>> plan_network(left_s=500, images=1000, image_s={224: 0.1, 160: 0.05, 128: 0.03})
    {'size': 160, 'epochs': 10}
    """
    if math.isinf(left_s):
        return {"size": max(image_s), "epochs": UNLIMITED_EPOCHS}
    fitting = {size: int(left_s / (images * seconds)) for size, seconds in image_s.items()}
    for size in sorted(fitting, reverse=True):
        if fitting[size] >= WANTED_EPOCHS:
            return {"size": size, "epochs": min(MOST_EPOCHS, fitting[size])}
    smallest = min(fitting)
    return {"size": smallest, "epochs": fitting[smallest]} if fitting[smallest] >= least_epochs else None


WANTED_EPOCHS = 8


def tail_cuts(chain: Chain) -> list[int]:
    """Return the places to cut worth considering, deepest training first: where activations are small enough to keep.

    A cut is allowed where the activations of an image take no more room than its pixels as float32 would, and in the
    second half of the network's arithmetic, so that the frozen part saves more than it costs to keep.
    """
    costs = [unit.cost for unit in chain.units]
    total = sum(cost.forward_ms for cost in costs)
    last = chain.feature_unit if chain.feature_unit is not None else len(costs) - 1
    cuts, spent = [], 0.0
    for number, cost in enumerate(costs[: last - 1], start=1):
        spent += cost.forward_ms
        if spent >= 0.4 * total and cost.output_bytes <= 200_000:
            cuts.append(number)
    return cuts


def plan_tail(
    *, left_s: float, images: int, prefix_s: dict[int, float], suffix_s: dict[int, float], epochs: int = TAIL_EPOCHS
) -> dict[str, Any] | None:
    """Choose the cut and the number of cached views, or None when not even two views at any cut fit.

    The deepest cut (the most stages trained) that allows at least `_LEAST_VIEWS` views wins; what time is then left
    goes into views, each of which is trained on about as often as the others.

    Args:
        left_s: seconds for computing views and training.
        images: training images.
        prefix_s: seconds per image of the frozen part, by cut.
        suffix_s: seconds per image of one training step of the rest, by cut.
        epochs: passes over the images.

    >>> plan_tail(left_s=100, images=1000, prefix_s={5: 0.01, 6: 0.012}, suffix_s={5: 0.01, 6: 0.005})
    {'cut': 5, 'views': 4, 'epochs': 6}
    """
    if math.isinf(left_s):
        return {"cut": min(prefix_s), "views": 2 * epochs, "epochs": 2 * epochs}
    for cut in sorted(prefix_s):
        views = int((left_s / images - epochs * suffix_s[cut]) / prefix_s[cut])
        if views >= _LEAST_VIEWS:
            return {"cut": cut, "views": min(views, 2 * epochs), "epochs": epochs}
    return None


_LEAST_VIEWS = 3
