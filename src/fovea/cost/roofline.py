"""What this machine can do at best: arithmetic of each kind, memory bandwidth, and what starting an operator takes.

Measured with PyTorch itself and kept in fovea's cache, for each processor, number of threads and version of PyTorch.
Other programs can only make a machine look slower than it is, so it is measured a few times, on different occasions,
and the best of each counts. What a network makes of it is `latency`'s work.

Source: Williams, Waterman, Patterson, "Roofline", CACM 2009.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fovea.core.files import cache_root, digest, write_json

_VERSION = "1"  # of the measurement; raised when it changes
_REPEATS = 7
_OCCASIONS = 3  # after so many measurements the ceilings are taken as known
_MEMORY_SIZES = (2**18, 2**22, 2**26)  # bytes: within a core's cache, within the processor's, beyond


@dataclass(frozen=True)
class Machine:
    """The ceilings of a machine, at the number of threads that PyTorch uses.

    Attributes:
        name: processor, threads and PyTorch, as people say it.
        matmul: FLOPs a second of a large matrix product.
        convolution: of a large dense convolution.
        grouped: of a convolution in groups of four channels.
        depthwise: of a depthwise convolution.
        elementwise: FLOPs a second of element-wise functions, in cache.
        bandwidth: (bytes touched, bytes a second) of reading and writing so much at a time, smallest first.
        start_s: seconds that starting an operator takes.
        start_convolution_s: the same for a convolution.
        occasions: how many measurements this is the best of.
    """

    name: str
    matmul: float
    convolution: float
    grouped: float
    depthwise: float
    elementwise: float
    bandwidth: tuple[tuple[int, float], ...]
    start_s: float
    start_convolution_s: float
    occasions: int = 1

    def bytes_per_s(self, touched: int) -> float:
        """Return the bandwidth at which so many bytes are read and written: small amounts stay in a cache."""
        return next((rate for size, rate in self.bandwidth if touched <= size), self.bandwidth[-1][1])

    def best_of(self, other: Machine) -> Machine:
        """Return the same machine with the better of each ceiling."""
        pairs = zip(self.bandwidth, other.bandwidth, strict=True)
        return Machine(
            name=self.name,
            matmul=max(self.matmul, other.matmul),
            convolution=max(self.convolution, other.convolution),
            grouped=max(self.grouped, other.grouped),
            depthwise=max(self.depthwise, other.depthwise),
            elementwise=max(self.elementwise, other.elementwise),
            bandwidth=tuple((size, max(rate, again)) for (size, rate), (_, again) in pairs),
            start_s=min(self.start_s, other.start_s),
            start_convolution_s=min(self.start_convolution_s, other.start_convolution_s),
            occasions=self.occasions + other.occasions,
        )


def this_machine() -> Machine:
    """Return the ceilings of this machine, from the cache once they are known; measuring takes a second."""
    path = cache_root() / "cost" / f"roofline-{digest(_VERSION, *_identity())}.json"
    known = _read(path)
    if known is not None and known.occasions >= _OCCASIONS:
        return known
    machine = measure()
    machine = machine if known is None else known.best_of(machine)
    write_json(path, asdict(machine))
    return machine


def _read(path: Path) -> Machine | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Machine(**{**values, "bandwidth": tuple(map(tuple, values["bandwidth"]))})
    except (OSError, ValueError, TypeError, KeyError):  # absent, or cut short
        return None


@torch.no_grad()
def measure() -> Machine:
    """Measure the ceilings, best of several: whatever else runs can only make them look lower."""
    threads = torch.get_num_threads()
    processor, *_ = _identity()
    square = torch.randn(1024, 1024)
    small = torch.randn(1, 8, 1, 1)
    relu, tiny = nn.ReLU(), nn.Conv2d(8, 8, 1).eval()
    return Machine(
        name=f"{processor}, {threads} thread{'s' if threads > 1 else ''}, PyTorch {torch.__version__}",
        matmul=2 * 1024**3 / _best_s(lambda: square @ square),
        convolution=_convolution_flops(channels=128, groups=1),
        grouped=_convolution_flops(channels=128, groups=32),
        depthwise=_convolution_flops(channels=128, groups=128),
        elementwise=_elementwise_flops(),
        bandwidth=tuple((size, _bandwidth(size)) for size in _MEMORY_SIZES),
        start_s=_best_s(lambda: relu(small), calls=200),
        start_convolution_s=_best_s(lambda: tiny(small), calls=100),
    )


def _convolution_flops(*, channels: int, groups: int) -> float:
    images = torch.randn(2, channels, 56, 56).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels // groups, 3, 3).contiguous(memory_format=torch.channels_last)
    taken_s = _best_s(lambda: functional.conv2d(images, weight, padding=1, groups=groups))
    return 2 * images.numel() * weight[0].numel() / taken_s


def _elementwise_flops() -> float:
    values = torch.randn(2**18)
    return 5 * values.numel() / _best_s(lambda: functional.gelu(values), calls=4)  # 5 FLOPs an element: `formulas`


def _bandwidth(size: int) -> float:
    """Return bytes read and written a second by copying, `size` bytes being touched in all."""
    source = torch.randn(size // 8)
    target = torch.empty_like(source)
    return size / _best_s(lambda: target.copy_(source), calls=max(1, 2**22 // size))


def _best_s(work: Callable[[], Tensor], *, calls: int = 1) -> float:
    """Return the seconds of one call of `work`, the best of several rounds of `calls`, after one to warm up."""
    work()
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        best = min(best, (time.perf_counter() - began) / calls)
    return best


def _identity() -> tuple[str, ...]:
    """Return what the ceilings depend on: the processor, the threads, PyTorch and its instruction set."""
    threads = str(torch.get_num_threads())
    return _processor(), threads, torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.node()


def _processor() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
