"""Peak memory of one forward pass and of one step of training: predicted without running either, and measured.

Predicted: the same Python code runs on tensors without data, and a ledger follows the storages that its operators make
from their first use until nobody holds them: activations saved for the backward pass, gradients and the optimiser's
state included. Of what operators need only within themselves, the copy of a convolution's weights is counted, the rest
not seen. Measured: what PyTorch's allocator hands out.

Memory is that of tensors: weights, buffers, images and all that is made from them; Python and the libraries add theirs.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_leaves

from fovea.cost.watching import Call, faked, watch

_MEMORY_EVENT = "[memory]"
_CONVOLUTIONS = ("aten.convolution", "aten.convolution_backward")
_VECTOR = {"AVX512": 16}  # float32 values that the processor takes at once; 8 where it has AVX2 only
_MOMENTS = 2  # that AdamW keeps of each weight
_STEP_COPIES = 2  # of a weight that AdamW makes while it changes it


@dataclass(frozen=True)
class Peak:
    """Peak memory in bytes.

    Attributes:
        inference: of a forward pass without gradients.
        training: of steps with AdamW, fovea's default, in float32; None where such a step is not possible (BatchNorm
            over a single value, nothing trainable).
    """

    inference: int
    training: int | None


class Ledger:
    """Observes a run and adds up the storages that are alive.

    Attributes:
        peak: the most that was alive at once, in bytes.
    """

    def __init__(self) -> None:
        self.live = self.peak = 0
        self._entries: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def begins(self, images: Tensor) -> None:
        """The input is alive from the start."""
        self.holds([images])

    def saw(self, call: Call) -> None:
        """Enter what the operator made, and what it needed meanwhile."""
        self.holds(call.outputs)
        if call.name in _CONVOLUTIONS:
            self.peak = max(self.peak, self.live + _reordered_bytes(call))

    def holds(self, tensors: Iterable[Tensor]) -> None:
        """Enter the storages of tensors, each once, until they are gone."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._entries:
                self._entries[key] = weakref.ref(storage, self._leaver(key, size))
                self.live += size
        self.peak = max(self.peak, self.live)

    def _leaver(self, key: int, size: int) -> Callable[[object], None]:
        def leave(_: object) -> None:
            del self._entries[key]
            self.live -= size

        return leave


def predict_peak(model: nn.Module, shape: Sequence[int]) -> Peak:
    """Return the peak memory of `model` on images (B,3,H,W), without running it; it may lie on "meta".

    Raises:
        ModelError: the network does not take such images.
    """
    return Peak(_predicted_inference(model, shape), _predicted_training(model, shape))


def measure_peak(model: nn.Module, shape: Sequence[int]) -> Peak:
    """Return the peak memory of copies of `model` on random images (B,3,H,W), as the CPU's allocator tells it."""
    images = torch.randn(*shape).contiguous(memory_format=torch.channels_last)
    network = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)
    held = _bytes_of([*network.parameters(), *network.buffers(), images])
    with _allocations() as watched, torch.no_grad():
        network(images)
    inference = held + _most_allocated(watched)
    trainable = [parameter for parameter in network.train().parameters() if parameter.requires_grad]
    if not trainable:
        return Peak(inference, None)
    optimiser = AdamW(trainable)
    try:
        with _allocations() as watched:
            for _ in range(2):  # the optimiser's state is there from the second step on
                optimiser.zero_grad(set_to_none=True)
                _differentiate(network, images)
                optimiser.step()
    except ValueError:
        return Peak(inference, None)
    return Peak(inference, held + _most_allocated(watched))


def _predicted_inference(model: nn.Module, shape: Sequence[int]) -> int:
    ledger = Ledger()
    with faked(model, shape) as (twin, images), torch.no_grad(), watch(twin.eval(), ledger):
        ledger.holds([*twin.parameters(), *twin.buffers(), images])
        twin(images)
    return ledger.peak


def _predicted_training(model: nn.Module, shape: Sequence[int]) -> int | None:
    """AdamW itself is not run, which would take as long as the rest: what it holds and needs is entered for it."""
    ledger = Ledger()
    with faked(model, shape) as (twin, images), watch(twin.train(), ledger):
        ledger.holds([*twin.parameters(), *twin.buffers(), images])
        trainable = [parameter for parameter in twin.parameters() if parameter.requires_grad]
        moments = [torch.zeros_like(parameter) for parameter in trainable for _ in range(_MOMENTS)]
        if not moments:
            return None
        try:
            _differentiate(twin, images)
        except ValueError:  # BatchNorm refuses to judge the spread of one value; not all that runs has gradients
            return None
        largest = max(trainable, key=torch.Tensor.numel)
        ledger.holds([torch.empty_like(largest) for _ in range(_STEP_COPIES)])
    return ledger.peak


def _reordered_bytes(call: Call) -> int:
    """Return the size of a convolution's weights in oneDNN's layout.

    The backward pass pads the channels of each group to whole vectors: the 5 × 5 weights of a depthwise convolution
    become 256 times as many with AVX-512 (as seen with oneDNN in PyTorch 2.15, also with ONEDNN_MAX_CPU_ISA=AVX2). For
    depthwise ones of 3 × 3 it has a layout without gaps, and grouped ones of 1 × 1 are matrix products.
    """
    weight, groups = call.arguments["weight"], call.arguments["groups"]
    plain: int = weight.nbytes
    channels, others, *kernel = weight.shape
    channels //= groups
    is_depthwise = channels == others == 1
    if call.name == "aten.convolution" or groups == 1 or math.prod(kernel) == 1 or (is_depthwise and kernel == [3, 3]):
        return plain
    vector = _VECTOR.get(torch.backends.cpu.get_cpu_capability(), 8)
    padded = math.prod(math.ceil(each / vector) * vector for each in (channels, others))
    return plain * padded // (channels * others)


def _differentiate(network: nn.Module, images: Tensor) -> None:
    """Compute gradients of some loss: which one it is makes no difference to memory.

    Raises:
        ValueError: there is nothing to compute gradients of, or an operator has none.
    """
    outputs = [leaf for leaf in tree_leaves(network(images)) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if not outputs:
        raise ValueError("no output has a gradient")
    loss = torch.stack([output.square().mean() for output in outputs]).sum()
    try:
        loss.backward()
    except RuntimeError as error:
        if "backward" not in str(error):  # such as too little memory, which is another matter
            raise
        raise ValueError(str(error)) from error


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _allocations() -> profile:
    """PyTorch's profiler, kept from writing about itself to standard error."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when the first profile of the process begins
    return profile(activities=[ProfilerActivity.CPU], profile_memory=True)


def _most_allocated(watched: profile) -> int:
    """Return the highest sum of what was allocated and freed so far, in bytes."""
    assert watched.profiler is not None and watched.profiler.kineto_results is not None
    events = [event for event in watched.profiler.kineto_results.events() if event.name() == _MEMORY_EVENT]
    in_order: list[Any] = sorted(events, key=lambda event: event.start_ns())  # its stub lacks nbytes
    return max(itertools.accumulate(event.nbytes() for event in in_order), default=0)
