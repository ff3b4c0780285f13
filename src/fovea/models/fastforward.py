"""The fastest forward pass of a frozen network that this machine offers, found by measuring.

Candidates on a CPU: OpenVINO in float32 and bfloat16, and PyTorch with BatchNorm folded and channels-last in the same
two formats; on another device, PyTorch in float32 and half precision. A candidate counts only if its outputs agree
with the plain network's. Nothing here trains, and later changes of the network do not reach what was built here.

An image's output may differ in the last bits with the number of images beside it: kernels are chosen by shape. Who
needs equal bits must feed batches of equal size.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fovea.models.folding import fold

_SAMPLE = 8  # images that a candidate is measured on
_SIZE_OF_STACK_T = 24  # bytes, on 64 bits: a pointer, a size and flags, in an order that differs
_BUDGET_S = 2.0  # no further candidate is begun after this
_LOW_PRECISION_GAIN = 1.2  # a less exact candidate must be this much faster
_LARGEST_ERROR = {"fp32": 2e-3, "bf16": 0.1, "fp16": 0.1}  # |difference| / |output|, Euclidean

Run = Callable[[Tensor], Tensor]


@dataclass
class FastForward:
    """A frozen forward pass.

    Attributes:
        name: which candidate it is, such as "openvino-fp32".
        images_per_s: as measured; 0 where it was asked for by name and not measured.
    """

    name: str
    images_per_s: float
    _run: Run | None

    def __call__(self, batch: np.ndarray | Tensor) -> Tensor:
        """Return the outputs (B, …) for float32 images (B,3,H,W), in float32 or half precision, on the device."""
        if self._run is None:
            raise ValueError("this forward pass is closed")
        with torch.inference_mode():
            return self._run(torch.as_tensor(batch))

    def close(self) -> None:
        """Give back the memory that the network takes."""
        self._run = None


def fast_forward(
    module: nn.Module,
    *,
    example: Tensor,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    allow_low_precision: bool = True,
    prefer: str | None = None,
) -> FastForward:
    """Build the candidates for `module` and return the fastest that agrees with it.

    Args:
        module: a network or the first part of one, images (B,3,H,W) -> one tensor (B,…). It is copied.
        example: float32 images (B,3,H,W) to measure and compare on; real ones make the comparison meaningful.
        threads: arithmetic threads on the CPU; PyTorch's own number when None.
        allow_low_precision: let bfloat16 and float16 take part.
        prefer: a name found earlier: it is used again without measuring, if it still exists and agrees.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> fast_forward(net, example=torch.randn(2, 3, 8, 8))(torch.randn(5, 3, 8, 8)).shape
    torch.Size([5, 4, 6, 6])
    """
    device = torch.device(device)
    sample = example[:_SAMPLE].to(device)
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            expected = module(sample).float()
        frozen = fold(module, example=sample[:1]).to(memory_format=torch.channels_last)
    finally:
        module.train(was_training)
    threads = threads or torch.get_num_threads()
    builders = dict(_candidates(frozen, sample=sample, threads=threads, low_precision=allow_low_precision))
    if prefer in builders and (run := _agreeing(prefer, builders[prefer], sample, expected)):
        return FastForward(prefer, 0.0, run)
    started = time.monotonic()
    best: FastForward | None = None
    for name, build in builders.items():
        if best is not None and time.monotonic() - started > _BUDGET_S:
            break
        run = _agreeing(name, build, sample, expected)
        if run is None:
            continue
        found = FastForward(name, _images_per_s(run, sample), run)
        needed = 1.0 if best is None or name.endswith("fp32") else _LOW_PRECISION_GAIN
        if best is None or found.images_per_s > needed * best.images_per_s:
            best = found
    return best or FastForward("plain", 0.0, _plain(module, device))


def _candidates(
    frozen: nn.Module, *, sample: Tensor, threads: int, low_precision: bool
) -> Iterator[tuple[str, Callable[[], Run]]]:
    """Yield names and what builds them, the likely winners first."""
    if sample.device.type != "cpu":
        yield "eager-fp32", lambda: _eager(frozen, None, sample.device)
        if low_precision:
            yield "eager-fp16", lambda: _eager(frozen, torch.float16, sample.device)
            yield "eager-bf16", lambda: _eager(frozen, torch.bfloat16, sample.device)
        return
    has_bf16 = low_precision and _cpu_multiplies_bf16()
    if importlib.util.find_spec("openvino") is not None:
        converted = functools.cache(lambda: _convert(frozen, sample))
        yield "openvino-fp32", lambda: _openvino(converted(), "f32", threads)
        if has_bf16:
            yield "openvino-bf16", lambda: _openvino(converted(), "bf16", threads)
    yield "eager-fp32", lambda: _eager(frozen, None, sample.device)
    if has_bf16:
        yield "eager-bf16", lambda: _eager(frozen, torch.bfloat16, sample.device)


def _agreeing(name: str, build: Callable[[], Run], sample: Tensor, expected: Tensor) -> Run | None:
    """Build a candidate; None where it cannot be built or gives other outputs, also for another number of images."""
    try:
        run = build()
        with torch.inference_mode():
            outputs = [run(sample), run(sample[1:])] if len(sample) > 1 else [run(sample)]
    except Exception:  # an operation that a backend or a precision lacks; each has its own errors for it
        return None
    for output, wanted in zip(outputs, (expected, expected[1:]), strict=False):
        if output.shape != wanted.shape:
            return None
        error = (output.float() - wanted).norm() / wanted.norm().clamp_min(1e-12)
        if not error <= _LARGEST_ERROR[name.rpartition("-")[2]]:  # NaN is not below anything
            return None
    return run


def _images_per_s(run: Run, sample: Tensor) -> float:
    times = []
    with torch.inference_mode():
        for _ in range(2):
            start = time.perf_counter()
            run(sample)
            if sample.is_cuda:
                torch.cuda.synchronize(sample.device)
            times.append(time.perf_counter() - start)
    return len(sample) / min(times)


def _plain(module: nn.Module, device: torch.device) -> Run:
    frozen = copy.deepcopy(module).eval()
    return lambda batch: frozen(batch.to(device))


def _eager(frozen: nn.Module, dtype: torch.dtype | None, device: torch.device) -> Run:
    model = frozen if dtype is None else copy.deepcopy(frozen).to(dtype)

    def run(batch: Tensor) -> Tensor:
        moved = batch.to(device, dtype or torch.float32, non_blocking=True, memory_format=torch.channels_last)
        return model(moved)

    return run


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has bfloat16 arithmetic; emulated, it is slower than float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _convert(frozen: nn.Module, sample: Tensor) -> Any:
    """Return an OpenVINO model for any number of images of the sample's size.

    The converter is called directly: the `ovc` front door reports usage over the network.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's use of PyTorch's older tracing
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        images = torch.cat([sample, sample])[:2].contiguous()  # two, so that a batch of one is not taken for granted
        with torch.no_grad():
            decoder = TorchScriptPythonDecoder(
                frozen, example_input=images, trace_kwargs={"check_trace": False}, shared_memory=False
            )
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape([-1, *sample.shape[1:]])
    return model


@contextlib.contextmanager
def _same_signal_stack() -> Iterator[None]:
    """Keep the stack on which this thread handles signals.

    OpenVINO gives the thread that compiles one of its own, and puts back what was before when the model is freed. Of
    two models that are freed in the order in which they were made, the second puts back what the first has freed; the
    next signal (Ctrl-C, a worker of a loader that ends) then kills the process.
    """
    if os.name != "posix":
        yield
        return
    libc, stack = ctypes.CDLL(None), ctypes.create_string_buffer(_SIZE_OF_STACK_T)
    known = libc.sigaltstack(None, stack) == 0
    try:
        yield
    finally:
        if known:
            libc.sigaltstack(stack, None)


def _openvino(model: Any, precision: str, threads: int) -> Run:
    """Compile with OpenVINO. Each thread works on its own share of a batch, which beats all of them on one image."""
    import openvino as ov

    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,  # other programs may sit on the cores it would be pinned to
    }
    with _same_signal_stack():
        compiled = ov.Core().compile_model(model, "CPU", settings)
    queue = ov.AsyncInferQueue(compiled, threads)

    def run(batch: Tensor) -> Tensor:
        inputs = np.ascontiguousarray(batch.numpy(), dtype=np.float32)
        share = -(-len(inputs) // threads)
        starts = range(0, len(inputs), share)
        outputs: dict[int, np.ndarray] = {}

        def collect(request: Any, start: int) -> None:
            outputs[start] = request.get_output_tensor(0).data.astype(np.float32)  # a copy: the request is used again

        queue.set_callback(collect)
        for start in starts:
            queue.start_async([inputs[start : start + share]], start)
        queue.wait_all()
        return torch.from_numpy(np.concatenate([outputs[start] for start in starts]))

    return run
