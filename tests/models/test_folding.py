"""Folding BatchNorm into convolutions and back: the same outputs each way."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from fovea.models.folding import fold, pairs, unfold


def _lived_in(model: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics and weights as after a real training, negative and dead scales included."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(-1, 2)
            layer.weight.data[0] = 0.0
            layer.bias.data.normal_(0, 0.1)
    return model.eval()


def _difference(one: nn.Module, other: nn.Module) -> float:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        left, right = one(images), other(images)
    return float((left - right).abs().max() / left.abs().max())


@pytest.mark.parametrize(
    ("name", "folds"), [("mobilenetv2_100", 52), ("resnet18", 20), ("efficientnet_b0", 49), ("convnext_atto", 0)]
)
def test_a_folded_network_gives_the_same_outputs_and_comes_back(name: str, folds: int) -> None:
    model = _lived_in(timm.create_model(name))
    example = torch.zeros(1, 3, 64, 64)
    assert len(list(pairs(model, example=example))) == folds
    folded = fold(model, example=example)
    assert _difference(model, folded) < 1e-5
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)] or folds == 0

    generator = torch.Generator().manual_seed(2)
    for parameter in folded.parameters():  # as a training would
        parameter.data += 0.003 * torch.randn(parameter.shape, generator=generator)
    assert _difference(model, folded) > 1e-3
    unfold(folded, model, example=example)
    assert _difference(model, folded) < 1e-5


class _Shared(nn.Module):
    """A convolution whose output also goes round its BatchNorm: folding it would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.conv(images)
        return hidden + self.norm(hidden)


def test_a_convolution_with_two_readers_is_left_alone() -> None:
    model = _lived_in(_Shared())
    folded = fold(model, example=torch.randn(1, 3, 8, 8))
    assert _difference(model, folded) == 0.0
    assert isinstance(folded.norm, nn.BatchNorm2d)


def test_folding_leaves_the_original_untouched() -> None:
    model = _lived_in(timm.create_model("resnet10t"))
    before = copy.deepcopy(model.state_dict())
    model.train()
    fold(model, example=torch.zeros(1, 3, 32, 32))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
