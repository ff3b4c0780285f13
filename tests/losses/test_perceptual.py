"""The perceptual loss: L2 for a network that changes nothing, features in front of in-place layers, a frozen copy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fovea.losses.perceptual import Perceptual
from fovea.losses.regression import L2

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, TARGET = torch.rand(2, 3, 3, 8, 8, generator=GENERATOR)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Dropout(0.5))


def test_a_network_that_changes_nothing_gives_l2() -> None:
    torch.testing.assert_close(Perceptual(nn.Identity(), {"": 1.0})(IMAGES, TARGET), L2()(IMAGES, TARGET))


def test_layers_are_compared_before_an_in_place_layer_changes_them() -> None:
    seen = network()
    convolved = [seen[0](images) for images in (IMAGES, TARGET)]
    rectified = [features.relu() for features in convolved]
    before, after = (((one - two) ** 2).flatten(1).mean(1) for one, two in (convolved, rectified))
    each = Perceptual(seen, {"0": 2.0, "1": 0.5}, reduction="none")(IMAGES, TARGET)
    torch.testing.assert_close(each, 2 * before + 0.5 * after)
    assert not torch.allclose(before, after)


def test_the_network_is_a_frozen_copy() -> None:
    seen = network().train()
    loss = Perceptual(seen, {"3": 1.0})
    loss.train()
    first, second = (loss(IMAGES, TARGET).item() for _ in range(2))
    assert first == second  # neither dropout nor batch statistics
    images = IMAGES.clone().requires_grad_(True)
    loss(images, TARGET).backward()
    assert images.grad is not None and images.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in loss.parameters())
    assert seen.training and all(parameter.requires_grad for parameter in seen.parameters())
    assert int(seen[2].num_batches_tracked) == 0  # type: ignore[arg-type]


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match=r"Sequential has no layer '7'; network\.named_modules"):
        Perceptual(network(), {"7": 1.0})
    with pytest.raises(ValueError, match="did you mean 'layer1'"):
        Perceptual(nn.ModuleDict({"layer1": nn.ReLU()}), {"layer_1": 1.0})
    with pytest.raises(ValueError, match="layers is empty"):
        Perceptual(network(), {})
    with pytest.raises(ValueError, match=r"scores have shape \(3, 8, 8\), expected images \(B, C, H, W\)"):
        Perceptual(network(), {"0": 1.0})(IMAGES[0], TARGET[0])
