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

# Two epochs over augmented images already gain more than the last stages on cached activations do in the same time.
WHOLE_EPOCHS = 2
MOST_EPOCHS, MOST_SCRATCH_EPOCHS = 20, 60
TAIL_EPOCHS, LEAST_VIEWS, MOST_VIEWS = 5, 3, 12
MOST_CUTS = 3  # each costs seconds to measure
WORTH_MEASURING_S = 25.0  # measuring the steps of further training takes about half of this
# A real step also decodes, augments, updates the optimiser and validates; measured on the grocery photos.
STEP_OVERHEAD = 1.3


def measure_step_s(module: nn.Module, inputs: torch.Tensor, *, steps: int = 5, most_s: float = 0.5) -> float:
    """Return the seconds that one training step on `inputs` takes (forward, backward), after one to warm up.

    Runs on a copy: no weight, statistic or gradient of `module` changes.

    Args:
        steps: that are measured; the quickest counts, since on a busy machine a single one may take many times as long.
        most_s: after which no further one is begun.
    """
    trial = copy.deepcopy(module).train()
    times = []
    for _ in range(1 + steps):
        began = time.perf_counter()
        trial(inputs).float().square().mean().backward()
        if inputs.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        if sum(times[1:]) > most_s:
            break
    return min(times[1:])


def plan_epochs(*, left_s: float, images: int, image_s: float, from_scratch: bool) -> int:
    """Return how many epochs of the whole network fit the time left, up to the number that is worth it.

    Args:
        left_s: seconds for training; infinite without a budget.
        images: training images drawn in an epoch.
        image_s: measured seconds per image.
        from_scratch: random weights need more epochs.

    >>> plan_epochs(left_s=500, images=1000, image_s=0.05, from_scratch=False)
    10
    """
    most = MOST_SCRATCH_EPOCHS if from_scratch else MOST_EPOCHS
    return most if math.isinf(left_s) else min(most, int(left_s / (images * image_s)))


def tail_cuts(chain: Chain) -> list[int]:
    """Return the places to cut worth considering, deepest training first: where activations are small enough to keep.

    A cut is allowed where the activations of an image take no more room than its pixels as float32 would, after 40 %
    of the network's arithmetic, so that the frozen part saves more than it costs to keep, and before 80 % of it:
    training only the very last layers gains nothing over a linear head. A small network may have no such place; then
    any behind the 40 % will do.
    """
    costs = [unit.cost for unit in chain.units]
    total = sum(cost.forward_ms for cost in costs)
    last = chain.feature_unit if chain.feature_unit is not None else len(costs) - 1
    shares, spent = {}, 0.0
    for number, cost in enumerate(costs[: last - 1], start=1):
        spent += cost.forward_ms
        if spent >= 0.4 * total and cost.output_bytes <= 200_000:
            shares[number] = spent / total
    cuts = [number for number, share in shares.items() if share <= 0.8] or list(shares)
    if len(cuts) <= MOST_CUTS:
        return cuts
    return [cuts[place * (len(cuts) - 1) // (MOST_CUTS - 1)] for place in range(MOST_CUTS)]


def plan_tail(
    *,
    left_s: float,
    images: int,
    drawn: int | None = None,
    prefix_s: dict[int, float],
    suffix_s: dict[int, float],
    epochs: int = TAIL_EPOCHS,
) -> dict[str, Any] | None:
    """Choose the cut and the number of cached views, or None when too few views fit at any cut.

    The deepest cut (the most stages trained) that allows at least `LEAST_VIEWS` views wins; what time is then left
    goes into more views.

    Args:
        left_s: seconds for computing views and training.
        images: training images.
        drawn: how many of them an epoch draws, which the sampler decides; each once when None.
        prefix_s: seconds per image of the frozen part, by cut.
        suffix_s: seconds per image of one training step of the rest, by cut.
        epochs: passes over the images.

    >>> plan_tail(left_s=100, images=1000, prefix_s={5: 0.01, 6: 0.012}, suffix_s={5: 0.01, 6: 0.005})
    {'cut': 5, 'views': 5, 'epochs': 5}
    """
    if math.isinf(left_s):
        return {"cut": min(prefix_s), "views": MOST_VIEWS, "epochs": 2 * epochs}
    drawn = images if drawn is None else drawn
    for cut in sorted(prefix_s):
        views = int((left_s - epochs * drawn * suffix_s[cut]) / (images * prefix_s[cut]))
        if views >= LEAST_VIEWS:
            return {"cut": cut, "views": min(views, MOST_VIEWS), "epochs": epochs}
    return None
