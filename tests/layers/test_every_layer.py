"""What holds for every layer of every family: gradients, half precision, memory formats, weights."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.models import create_feature_extractor
from torch import Tensor, nn

from fovea.core.errors import UnknownName
from fovea.layers import FAMILIES, create
from fovea.layers.families import options_of

CHANNELS = 4
KNOWN = {"channels": CHANNELS, "in_channels": CHANNELS, "out_channels": 6, "kernel_size": 3, "query_size": 5}
EXTRA = {  # smaller than the defaults, for so few channels
    ("attention", "self"): {"heads": 2},
    ("attention", "global_context"): {"reduction": 2},
    ("attention", "soft"): {"feature_size": CHANNELS, "hidden": 3},
    ("attention", "hard"): {"feature_size": CHANNELS, "hidden": 3},
    ("roi", "roi_pool"): {"output_size": 2},
    ("roi", "roi_align"): {"output_size": 2},
    ("roi", "deformable_roi"): {"output_size": 2},
    ("pool", "softpool"): {"stride": 2, "padding": 1},
}
ENTRIES = [(family, entry.name) for family, registry in FAMILIES.items() for entry in registry]
ON_MAPS = [pair for pair in ENTRIES if pair[0] != "roi" and pair[1] not in ("soft", "hard")]
ROUNDED = {"roi_pool", "hard"}  # their outputs jump, so neither gradients nor half precision are comparable


def sample(family: str, name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a small layer, evaluating, with weights that are not those of a beginning, and inputs of an odd size."""
    torch.manual_seed(3)
    options = {
        key: KNOWN[key]
        for key, required in options_of(FAMILIES[family][name].build).items()
        if required & (key in KNOWN)
    }
    layer = create(family, name, **options | EXTRA.get((family, name), {})).eval()
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    if family == "roi":
        boxes = torch.tensor([[0, 0.3, 0.4, 4.1, 3.2], [1, 1.2, 0.1, 5.3, 4.4]])
        return layer, (torch.rand(2, CHANNELS, 5, 7), boxes)
    if name in ("soft", "hard"):
        return layer, (torch.randn(2, 5), torch.randn(2, 7, CHANNELS))
    return layer, (torch.rand(2, CHANNELS, 5, 7),)


def first(answer: Tensor | tuple[Tensor, ...]) -> Tensor:
    return answer if isinstance(answer, Tensor) else answer[0]


@pytest.mark.parametrize(("family", "name"), [pair for pair in ENTRIES if pair[1] not in ROUNDED])
def test_gradients_are_those_of_finite_differences(family: str, name: str) -> None:
    layer, inputs = sample(family, name)
    layer = layer.double()
    leaves = [given.double() for given in inputs]
    leaves[0] = leaves[0][:, :, :3, :4].contiguous() if leaves[0].ndim == 4 and family != "roi" else leaves[0]
    differentiable = [leaves[0].requires_grad_(), *(weight for weight in layer.parameters())]

    def run(*_: Tensor) -> Tensor:
        return first(layer(*leaves))

    assert torch.autograd.gradcheck(run, differentiable, fast_mode=True)


@pytest.mark.parametrize(("family", "name"), [pair for pair in ENTRIES if pair[1] not in ROUNDED])
def test_half_precision_is_close(family: str, name: str) -> None:
    layer, inputs = sample(family, name)
    expected = first(layer(*inputs))
    half = copy.deepcopy(layer).bfloat16()
    given = inputs if family != "roi" else inputs[:1]
    all_half = first(half(*(x.bfloat16() for x in given), *inputs[len(given) :]))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = first(layer(*inputs))
    assert all_half.dtype == torch.bfloat16
    for got in (all_half, mixed):
        assert torch.isfinite(got).all()
        assert (got.float() - expected).abs().max() < 0.04 * expected.abs().max().clamp_min(1)


@pytest.mark.parametrize(("family", "name"), ON_MAPS)
def test_the_memory_format_makes_no_difference(family: str, name: str) -> None:
    layer, (x,) = sample(family, name)
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "name"), ON_MAPS)
def test_each_image_is_treated_alone_when_evaluating(family: str, name: str) -> None:
    layer, (x,) = sample(family, name)
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "name"), ON_MAPS)
def test_a_layer_comes_back_from_its_weights(family: str, name: str) -> None:
    layer, (x,) = sample(family, name)
    other, _ = sample(family, name)
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


@pytest.mark.parametrize(("family", "name"), ON_MAPS)
def test_timm_can_trace_a_network_that_has_it(family: str, name: str) -> None:
    layer, (x,) = sample(family, name)
    traced = create_feature_extractor(nn.Sequential(layer, nn.Identity()).eval(), {"1": "out"})
    torch.testing.assert_close(traced(x)["out"], layer(x))


def test_unknown_families_and_entries_suggest() -> None:
    with pytest.raises(UnknownName, match="unknown family of layers 'pools'") as error:
        create("pools", "max")
    assert "did you mean 'pool'?" in error.value.hint
    with pytest.raises(UnknownName, match="unknown pooling layer 'softpol'") as error:
        create("pool", "softpol")
    assert "did you mean 'softpool'?" in error.value.hint
