"""Convolutions: each is the plain one under the right weights, and dilation rates leave no holes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.layers import create, dilation_fault

X = torch.randn(2, 4, 7, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("rates", "fault"),
    [
        ((1, 2, 5), None),
        ((1, 2, 3), None),
        ((1,), None),
        ((1, 2, 9), "the distance M₂ is 5, the kernel 3"),
        ((2, 4, 8), "the distance M₂ is 4, the kernel 3"),
        ((1, 4, 2), "the distance M₂ is 6, the kernel 3"),
        ((2, 2, 2), "along a side only 7 of 13 places are seen"),
        ((5, 1), "along a side only 9 of 13 places are seen"),
    ],
)
def test_the_hybrid_rule(rates: tuple[int, ...], fault: str | None) -> None:
    assert dilation_fault(rates) == fault


def seen_by(rates: tuple[int, ...]) -> torch.Tensor:
    """Return which places of a line influence the middle of what the layers give, by their gradient."""
    x = torch.zeros(1, 1, 1, 2 * sum(rates) + 1, requires_grad=True)
    y = x
    for rate in rates:
        y = F.conv2d(y, torch.ones(1, 1, 1, 3), padding=(0, rate), dilation=rate)
    y[..., sum(rates)].sum().backward()
    return x.grad.flatten() > 0


def test_rates_without_fault_see_every_place_in_truth() -> None:
    passed = [rates for rates in itertools.product(range(1, 6), repeat=3) if dilation_fault(rates) is None]
    assert len(passed) > 20
    assert [rates for rates in passed if not seen_by(rates).all()] == []
    assert not seen_by((1, 2, 9)).all() and not seen_by((2, 2, 2)).all()


def test_rates_with_holes_are_refused_and_others_built() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 9\) leave holes .* M₂ is 5"):
        create("conv", "hybrid_dilated", in_channels=4, out_channels=6, rates=(1, 2, 9))
    layer = create("conv", "hybrid_dilated", in_channels=4, out_channels=6, rates=(1, 2, 5))
    assert [step.dilation[0] for step in layer if isinstance(step, nn.Conv2d)] == [1, 2, 5]
    assert layer(X).shape == (2, 6, 7, 9)


@pytest.mark.parametrize("rates", [(), (1, 0), (-1,)])
def test_rates_that_are_none_are_refused(rates: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="whole number from 1 on"):
        dilation_fault(rates)


def test_a_dilated_kernel_is_a_larger_one_with_zeros() -> None:
    layer = create("conv", "dilated", in_channels=4, out_channels=6, dilation=2)
    kernel = torch.zeros(6, 4, 5, 5)
    kernel[:, :, ::2, ::2] = layer.weight.detach()
    torch.testing.assert_close(layer(X), F.conv2d(X, kernel, layer.bias, padding=2))


@pytest.mark.parametrize("geometry", [{}, {"stride": 2}, {"dilation": 2}, {"kernel_size": 1, "padding": 1}])
@pytest.mark.parametrize(("name", "factor"), [("deformable", 1.0), ("deformable_v2", 0.5)])
def test_deformable_convolutions_begin_as_the_plain_one(name: str, factor: float, geometry: dict) -> None:
    layer = create("conv", name, in_channels=4, out_channels=6, bias=False, **geometry)
    conv = layer.conv
    plain = F.conv2d(X, conv.weight, None, conv.stride, conv.padding, conv.dilation)
    torch.testing.assert_close(layer(X), factor * plain)


def test_an_open_mask_makes_version_two_the_plain_convolution() -> None:
    layer = create("conv", "deformable_v2", in_channels=4, out_channels=6)
    layer.guide.bias.data[-9:] = 100.0
    torch.testing.assert_close(layer(X), F.conv2d(X, layer.conv.weight, layer.conv.bias, padding=1))


def test_offsets_move_what_a_tap_reads_and_are_learnt() -> None:
    layer = create("conv", "deformable", in_channels=4, out_channels=4, kernel_size=1, bias=False)
    layer.conv.weight.data = torch.eye(4)[:, :, None, None]
    layer.guide.bias.data = torch.tensor([0.0, 1.0])  # one place to the right
    torch.testing.assert_close(layer(X)[..., :-1], X[..., 1:])
    layer(X).square().sum().backward()
    assert layer.guide.weight.grad.abs().sum() > 0


def test_a_depthwise_separable_convolution_is_a_plain_one_with_a_factorised_kernel() -> None:
    layer = create("conv", "depthwise_separable", in_channels=4, out_channels=6, stride=2)
    depthwise, pointwise = layer
    kernel = pointwise.weight * depthwise.weight[:, 0]  # (6,4,1,1) * (4,3,3) -> (6,4,3,3)
    torch.testing.assert_close(layer(X), F.conv2d(X, kernel, pointwise.bias, stride=2, padding=1))
    assert sum(weight.numel() for weight in layer.parameters()) == 4 * 9 + 4 * 6 + 6


def test_a_spatially_separable_convolution_is_a_plain_one_with_an_outer_product() -> None:
    layer = create("conv", "spatially_separable", in_channels=1, out_channels=1, stride=2)
    kernel = layer[0].weight * layer[1].weight  # (1,1,3,1) * (1,1,1,3)
    torch.testing.assert_close(layer(X[:, :1]), F.conv2d(X[:, :1], kernel, layer[1].bias, stride=2, padding=1))


def test_groups_are_plain_convolutions_side_by_side_and_shuffled() -> None:
    layer = create("conv", "group_shuffle", in_channels=4, out_channels=6, groups=2, kernel_size=3)
    conv = layer[0]
    halves = [
        F.conv2d(X[:, 2 * g : 2 * g + 2], conv.weight[3 * g : 3 * g + 3], conv.bias[3 * g : 3 * g + 3], padding=1)
        for g in (0, 1)
    ]
    shuffled = torch.stack(halves, 2).flatten(1, 2)  # channel c of both groups side by side
    torch.testing.assert_close(layer(X), shuffled)


def test_one_group_is_no_shuffle() -> None:
    layer = create("conv", "group_shuffle", in_channels=4, out_channels=6, groups=1)
    torch.testing.assert_close(layer(X), layer[0](X))


@pytest.mark.parametrize(
    "geometry", [{}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "stride": 3}]
)
def test_the_transposed_convolution_is_the_adjoint(geometry: dict) -> None:
    layer = create("conv", "transposed", in_channels=4, out_channels=6, bias=False, **geometry)
    grown = layer(X)
    y = torch.randn_like(grown)
    back = F.conv2d(y, layer.weight, None, layer.stride, layer.padding)
    torch.testing.assert_close((grown * y).sum(), (X * back).sum(), rtol=1e-4, atol=1e-3)  # ⟨Aᵀx, y⟩ = ⟨x, Ay⟩


def test_the_transposed_convolution_doubles_by_default() -> None:
    assert create("conv", "transposed", in_channels=4, out_channels=6)(X).shape == (2, 6, 14, 18)


def test_the_pointwise_convolution_is_a_linear_layer_at_each_place() -> None:
    layer = create("conv", "pointwise", in_channels=4, out_channels=6)
    expected = F.linear(X.movedim(1, -1), layer.weight[:, :, 0, 0], layer.bias).movedim(-1, 1)
    torch.testing.assert_close(layer(X), expected)


@pytest.mark.parametrize(
    "name", ["dilated", "deformable", "deformable_v2", "depthwise_separable", "spatially_separable"]
)
def test_the_size_is_kept_at_stride_one(name: str) -> None:
    assert create("conv", name, in_channels=4, out_channels=6, kernel_size=5)(X).shape == (2, 6, 7, 9)
