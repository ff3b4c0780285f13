"""The fast frozen pass agrees with the plain network, whatever was chosen, and whatever the batch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fovea.models import fastforward
from fovea.models.catalogue import build
from fovea.models.chain import as_chain
from fovea.models.fastforward import fast_forward

BACKENDS = ["eager-fp32", "eager-bf16", "openvino-fp32", "openvino-bf16"]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """MobileNet with "same" padding and statistics unlike a fresh network's."""
    torch.manual_seed(0)
    model = build("timm", "mobilenetv2_035", classes=5, model_args={"pad_type": "same"})
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model


def _error(output: Tensor, expected: Tensor) -> float:
    return float((output.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend_agrees(network: nn.Module, backend: str) -> None:
    if backend.startswith("openvino") and importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    if backend.endswith("bf16") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no bfloat16 arithmetic")
    example = torch.randn(4, 3, 64, 64)
    chain = as_chain(network, example[:1])
    assert chain is not None
    for part in (network, chain.prefix(8)):  # logits (B,5) and a map (B,C,H,W)
        forward = fast_forward(part, example=example, threads=2, prefer=backend)
        assert forward.name == backend
        for count in (1, 4, 7):
            images = torch.randn(count, 3, 64, 64)
            with torch.no_grad():
                expected = part(images)
            output = forward(images.numpy())
            assert output.shape == expected.shape
            assert _error(output, expected) < (1e-4 if backend.endswith("fp32") else 0.1)
        forward.close()


def test_the_same_batch_gives_the_same_bits(network: nn.Module) -> None:
    images = torch.randn(5, 3, 64, 64)
    first = fast_forward(network, example=images, threads=1)
    again = fast_forward(network, example=images, threads=1, prefer=first.name)
    assert torch.equal(first(images), again(images))
    assert torch.equal(first(images), first(images.to(memory_format=torch.channels_last)))
    assert first.images_per_s > 0


def test_low_precision_can_be_forbidden(network: nn.Module) -> None:
    forward = fast_forward(network, example=torch.randn(2, 3, 32, 32), allow_low_precision=False, prefer="eager-bf16")
    assert forward.name.endswith("fp32")
    assert forward(np.zeros((1, 3, 32, 32), np.float32)).dtype == torch.float32


def test_later_training_does_not_reach_it_and_the_network_is_left_alone(network: nn.Module) -> None:
    model = build("timm", "resnet10t", classes=3, model_args={}).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(2, 3, 32, 32)
    for backend in ("eager-fp32", "openvino-fp32"):
        forward = fast_forward(model, example=images, prefer=backend)
        outputs = forward(images).clone()
        assert model.training
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)
        assert torch.equal(forward(images), outputs)
        model.load_state_dict(before)


def test_a_candidate_that_disagrees_is_rejected(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: object, precision: str, threads: int) -> fastforward.Run:
        return lambda batch: torch.full((len(batch), 5), float("nan"))

    monkeypatch.setattr(fastforward, "_openvino", wrong)
    forward = fast_forward(network, example=torch.randn(2, 3, 32, 32), prefer="openvino-fp32")
    assert forward.name.startswith("eager")


def test_without_openvino(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastforward.importlib.util, "find_spec", lambda name: None)
    assert fast_forward(network, example=torch.randn(2, 3, 32, 32)).name.startswith("eager")


class _Odd(nn.Module):
    """An operation that no converter knows."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x.mean(1))


def test_what_cannot_be_converted_runs_anyway() -> None:
    images = torch.randn(2, 3, 8, 8)
    forward = fast_forward(_Odd(), example=images)
    assert torch.allclose(forward(images), _Odd()(images), atol=1e-5)


def test_a_closed_pass_says_so(network: nn.Module) -> None:
    forward = fast_forward(network, example=torch.randn(1, 3, 32, 32), prefer="eager-fp32")
    forward.close()
    with pytest.raises(ValueError, match="closed"):
        forward(torch.zeros(1, 3, 32, 32))


_SIGNAL_AFTER_TWO = """
import os, signal, torch
from fovea.models.catalogue import build
from fovea.models.fastforward import fast_forward
model, images = build("timm", "resnet10t", classes=3, model_args={}), torch.randn(2, 3, 32, 32)
first, second = (fast_forward(model, example=images, prefer="openvino-fp32") for _ in range(2))
print(first.name, second.name, flush=True)
first.close()
second.close()
signal.signal(signal.SIGUSR1, lambda *_: print("heard", flush=True))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(os.name != "posix", reason="other systems have no stack for signals")
def test_a_signal_is_survived_once_models_are_freed_in_the_order_they_were_made() -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    command = [sys.executable, "-W", "ignore", "-c", _SIGNAL_AFTER_TWO]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "openvino-fp32 openvino-fp32\nheard\n"), done.stderr
