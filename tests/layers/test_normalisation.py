"""Normalisation: each layer is the parent it claims to be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.core.errors import ModelError
from fovea.layers import create
from fovea.layers.normalisation import SwitchableNorm2d


def lived_in(layer: nn.Module) -> nn.Module:
    """Give scale and shift values that are not those of a beginning."""
    generator = torch.Generator().manual_seed(1)
    layer.weight.data.uniform_(0.5, 2, generator=generator)
    layer.bias.data.normal_(generator=generator)
    return layer


def one_hot(position: int) -> SwitchableNorm2d:
    layer = lived_in(SwitchableNorm2d(6))
    for logits in (layer.mean_logits, layer.variance_logits):
        logits.data.fill_(-200.0)[position] = 200.0  # a softmax of exactly 0 and 1
    return layer


@pytest.mark.parametrize(("position", "parent"), [(0, "instance"), (1, "layer"), (2, "batch")])
def test_switchable_norm_with_one_weight_is_each_parent(position: int, parent: str) -> None:
    layer, other = one_hot(position), lived_in(create("norm", parent, channels=6))
    torch.manual_seed(0)
    for _ in range(3):  # while training, and the running statistics that it leaves
        x = 3 * torch.randn(4, 6, 5, 7) + torch.arange(6)[:, None, None]
        torch.testing.assert_close(layer(x), other(x), rtol=1e-4, atol=1e-5)
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(layer.eval()(x), other.eval()(x), rtol=1e-4, atol=1e-5)


def test_switchable_norm_keeps_the_statistics_of_batch_norm() -> None:
    layer, other = SwitchableNorm2d(3, momentum=0.3), nn.BatchNorm2d(3, momentum=0.3)
    for seed in range(3):
        x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
        layer(x), other(x)
    torch.testing.assert_close(layer.running_mean, other.running_mean)
    torch.testing.assert_close(layer.running_var, other.running_var)
    assert layer.num_batches_tracked == 3


def test_switchable_norm_begins_with_equal_thirds() -> None:
    x = torch.randn(4, 6, 5, 7)
    means = x.mean((2, 3), keepdim=True), x.mean((1, 2, 3), keepdim=True), x.mean((0, 2, 3), keepdim=True)
    variances = [x.var(dims, unbiased=False, keepdim=True) for dims in ((2, 3), (1, 2, 3), (0, 2, 3))]
    expected = (x - sum(means) / 3) / (sum(variances) / 3 + 1e-5).sqrt()
    torch.testing.assert_close(SwitchableNorm2d(6)(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("logits", ["mean_logits", "variance_logits"])
def test_the_mixture_is_learnt(logits: str) -> None:
    layer = SwitchableNorm2d(6)
    (layer(torch.randn(4, 6, 5, 7)) ** 3).sum().backward()
    assert getattr(layer, logits).grad.abs().min() > 0


@pytest.mark.parametrize(("groups", "parent"), [(1, "layer"), (8, "instance")])
def test_group_norm_lies_between_layer_and_instance_norm(groups: int, parent: str) -> None:
    x = torch.randn(2, 8, 5, 7)
    group, other = create("norm", "group", channels=8, groups=groups), create("norm", parent, channels=8)
    torch.testing.assert_close(group(x), other(x))


def test_layer_norm_over_channels_is_torchs_at_each_place() -> None:
    x = torch.randn(2, 8, 5, 7)
    expected = F.layer_norm(x.movedim(1, -1), (8,), eps=1e-6).movedim(-1, 1)
    torch.testing.assert_close(create("norm", "layer_channels", channels=8)(x), expected)


def test_local_response_norm_is_the_papers() -> None:
    x: Tensor = 50 * torch.randn(1, 7, 2, 2)
    sums = torch.stack([(x[:, max(0, c - 2) : c + 3] ** 2).sum(1) for c in range(7)], 1)
    torch.testing.assert_close(create("norm", "lrn")(x), x / (2 + 1e-4 * sums) ** 0.75)


def test_switchable_norm_of_a_batch_without_spread_stays_finite() -> None:
    layer = SwitchableNorm2d(3)
    out = layer(torch.full((1, 3, 1, 1), 7.0))
    assert torch.isfinite(out).all() and torch.isfinite(layer.running_var).all()


@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_of_a_single_place_is_refused_with_a_reason(training: bool) -> None:
    layer = create("norm", "instance", channels=3).train(training)
    assert layer(torch.randn(1, 3, 1, 2)).shape == (1, 3, 1, 2)
    with pytest.raises(ModelError, match="a map of 1 × 1 leaves nothing of it") as caught:
        layer(torch.randn(2, 3, 1, 1))
    assert "data.input_size" in caught.value.hint
