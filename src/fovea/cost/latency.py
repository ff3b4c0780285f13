"""How long a pass takes: predicted from the machine's ceilings, and measured, in all and for each layer.

The prediction gives each operator the time that its arithmetic or its bytes take at best, whichever is more, and what
starting it takes. So it also tells what an operator is bound by. Measured as fovea predicts: float32, channels-last,
without gradients, with the threads that PyTorch uses.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from fovea.cost.counting import Operation
from fovea.cost.roofline import Machine
from fovea.cost.watching import Place

Bound = Literal["compute", "memory", "overhead"]

_WARM_UP, _LEAST, _MOST = 2, 5, 50
_BUDGET_S = 2.0


@dataclass(frozen=True)
class Prediction:
    """The time of some operators in seconds, by what takes it; `memory_s` and `compute_s` overlap and do not add up."""

    seconds: float = 0.0
    compute_s: float = 0.0
    memory_s: float = 0.0
    start_s: float = 0.0

    def __add__(self, other: Prediction) -> Prediction:
        return Prediction(
            self.seconds + other.seconds,
            self.compute_s + other.compute_s,
            self.memory_s + other.memory_s,
            self.start_s + other.start_s,
        )

    @property
    def bound(self) -> Bound:
        """What takes the most of it."""
        parts: dict[Bound, float] = {"compute": self.compute_s, "memory": self.memory_s, "overhead": self.start_s}
        return max(parts, key=lambda name: parts[name])


def predict(operations: Sequence[Operation], machine: Machine) -> Prediction:
    """Return how long some operators should take on a machine."""
    return sum((_predicted(one, machine) for one in operations), start=Prediction())


def _predicted(one: Operation, machine: Machine) -> Prediction:
    is_convolution = one.name == "aten.convolution"
    start_s = machine.start_convolution_s if is_convolution else machine.start_s
    if one.is_view:
        return Prediction(start_s, 0.0, 0.0, start_s)
    rate = machine.matmul
    if is_convolution:
        channels = one.shapes[0][1][1]  # of the weight: in each group
        rate = machine.convolution if one.groups == 1 else machine.depthwise if channels == 1 else machine.grouped
    compute_s = 2 * one.work.macs / rate + one.work.other_flops / machine.elementwise
    memory_s = one.bytes / machine.bytes_per_s(one.bytes)
    return Prediction(max(compute_s, memory_s) + start_s, compute_s, memory_s, start_s)


@dataclass(frozen=True)
class Measured:
    """Seconds, as medians over repeats.

    Attributes:
        seconds: of the whole pass.
        by_layer: module path → seconds in its own operators, PyTorch's bookkeeping around them not included.
        running: share of the time in which this program had a processor: 1 on a machine that does nothing else.
        repeats: of the whole pass.
    """

    seconds: float
    by_layer: dict[str, float]
    running: float
    repeats: int


def measure(model: nn.Module, shape: Sequence[int], *, budget_s: float = _BUDGET_S) -> Measured:
    """Time a copy of `model` on random images (B,3,H,W).

    Args:
        budget_s: about how long to go on, after some passes to warm up; at least five passes are timed.
    """
    network = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)
    images = torch.randn(*shape).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            network(images)
        began_s = time.thread_time()
        whole = _repeated(network, images, budget_s=budget_s * 2 / 3)
        ran_s = time.thread_time() - began_s
    with torch.no_grad():
        rounds = _layer_times(network, images, budget_s=budget_s / 3)
    names = rounds[0].keys()
    by_layer = {name: statistics.median(times[name] for times in rounds) for name in names}
    return Measured(statistics.median(whole), by_layer, min(1.0, ran_s / sum(whole)), len(whole))


def _repeated(network: nn.Module, images: Tensor, *, budget_s: float) -> list[float]:
    times: list[float] = []
    while len(times) < _LEAST or (sum(times) < budget_s and len(times) < _MOST):
        began = time.perf_counter()
        network(images)
        times.append(time.perf_counter() - began)
    return times


def _layer_times(network: nn.Module, images: Tensor, *, budget_s: float) -> list[dict[str, float]]:
    rounds: list[dict[str, float]] = []
    place, began = Place(), time.perf_counter()
    with place.followed(network):
        while len(rounds) < _LEAST or (time.perf_counter() - began < budget_s and len(rounds) < _MOST):
            with _Stopwatch(place) as stopwatch:
                network(images)
            rounds.append(stopwatch.seconds)
    return rounds


class _Stopwatch(TorchDispatchMode):
    """Times every operator where it runs, and adds up the times of each module."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.seconds: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        began = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        self.seconds[self.place.path] += time.perf_counter() - began
        return result
