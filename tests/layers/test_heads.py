"""Fully connected heads as convolutions and back: equal outputs, maps of scores on larger images."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.core.errors import ModelError
from fovea.layers import fully_connected, fully_convolutional, swap
from fovea.layers.heads import convolution_as_linear, linear_as_convolution


def images(side: int, width: int | None = None) -> Tensor:
    return torch.randn(2, 3, side, width or side, generator=torch.Generator().manual_seed(0))


def test_a_linear_layer_and_its_convolution_give_the_same_numbers_and_come_back() -> None:
    linear, x = nn.Linear(4 * 3 * 5, 6), torch.randn(2, 4, 3, 5)
    conv = linear_as_convolution(linear, size=(3, 5))
    torch.testing.assert_close(conv(x).flatten(1), linear(x.flatten(1)))
    back = convolution_as_linear(conv)
    assert torch.equal(back.weight, linear.weight) and torch.equal(back.bias, linear.bias)
    assert linear_as_convolution(nn.Linear(4, 6, bias=False)).bias is None


def test_what_is_no_linear_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="60 inputs are no map of 7 × 7"):
        linear_as_convolution(nn.Linear(60, 6), size=7)
    with pytest.raises(ValueError, match="needs padding 0"):
        convolution_as_linear(nn.Conv2d(3, 4, 3, padding=1))


class Flattening(nn.Module):
    """A head of VGG's kind, without padding, so that each place of the map is a window of the image exactly."""

    def __init__(self, flatten: str) -> None:
        super().__init__()
        self.flatten = flatten
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
        self.classifier = nn.Sequential(
            nn.Linear(6 * 5 * 5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.view(x.size(0), -1) if self.flatten == "view" else torch.flatten(x, 1)
        return self.classifier(F.dropout(x, training=self.training))


@pytest.mark.parametrize("flatten", ["view", "flatten"])
def test_each_place_of_the_map_is_what_the_classifier_says_of_that_window(flatten: str) -> None:
    net = Flattening(flatten).eval()
    converted = fully_convolutional(net, images(16))
    large = images(20, 22)
    scores = converted(large)
    assert scores.shape == (2, 4, 3, 4)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        window = large[:, :, 2 * row : 2 * row + 16, 2 * column : 2 * column + 16]
        torch.testing.assert_close(scores[:, :, row, column], net(window), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("library", "name", "side"),
    [
        ("torchvision", "alexnet", 224),
        ("torchvision", "resnet18", 64),
        ("torchvision", "densenet121", 64),  # pools and flattens with functions
        ("torchvision", "mnasnet0_5", 64),  # takes the mean
        ("torchvision", "mobilenet_v3_small", 64),  # two linear layers behind the pooling
        ("timm", "resnet10t", 64),
        ("timm", "mobilenetv3_small_050", 64),  # convolution between pooling and flattening
        ("timm", "convnext_atto", 64),  # normalisation there
    ],
)
def test_networks_of_the_libraries_give_the_same_numbers_and_maps_on_larger_images(
    library: str, name: str, side: int
) -> None:
    torch.manual_seed(0)
    make = timm.create_model if library == "timm" else lambda name, **kw: getattr(torchvision.models, name)(**kw)
    net = make(name, num_classes=5).eval()
    converted = fully_convolutional(net, images(side)[:1])
    with torch.no_grad():
        torch.testing.assert_close(converted(images(side)).flatten(1), net(images(side)), rtol=1e-4, atol=1e-5)
        assert converted(images(side + 64, side + 96)[:1]).shape == (1, 5, 3, 4)
    assert set(converted.state_dict()) == set(net.state_dict())


def test_a_pooled_head_averages_to_the_classifiers_answer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    converted = fully_convolutional(net, images(4))
    scores = converted(images(8))
    assert scores.shape == (2, 4, 5, 5)
    corners = scores[:, :, ::4, ::4].mean((2, 3))  # four windows that tile the image
    torch.testing.assert_close(corners, net(images(8)))


@pytest.mark.parametrize("pool", ["softpool", "power_average", "max"])
def test_any_pooling_of_the_whole_map_slides(pool: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    swap(net, global_pool=pool, say=lambda text: None)
    scores = fully_convolutional(net, images(4))(images(6))
    torch.testing.assert_close(scores[:, :, 1, 2], net(images(6)[:, :, 1:5, 2:6]))


def test_pooling_to_several_places_keeps_its_windows() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4))
    converted = fully_convolutional(net, images(8))
    torch.testing.assert_close(converted(images(8)).flatten(1), net(images(8)))
    assert converted(images(16)).shape == (2, 4, 3, 3)
    with pytest.raises(ModelError, match="pooled to 2 × 2, in windows of different sizes"):
        fully_convolutional(net, images(9))


def test_the_classifier_stays_as_it_is_and_takes_back_what_was_learnt() -> None:
    net = Flattening("flatten").train()
    before = copy.deepcopy(net.state_dict())
    converted = fully_convolutional(net, images(16))
    assert converted.training and net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    for parameter in converted.parameters():  # as a training would
        parameter.data += 0.01 * torch.randn_like(parameter)
    fully_connected(converted, into=net)
    net.eval(), converted.eval()
    torch.testing.assert_close(net(images(16)), converted(images(16)).flatten(1))


def test_another_network_cannot_take_it_back() -> None:
    converted = fully_convolutional(Flattening("flatten").eval(), images(16))
    with pytest.raises(ValueError, match=r"Sequential has no classifier\.0\.bias"):
        fully_connected(converted, into=nn.Sequential(nn.Linear(2, 2)))


class OverChannels(nn.Module):
    """Takes a mean that is no pooling of places."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean(1, keepdim=True).flatten(1))


def test_a_mean_over_channels_is_no_pooling() -> None:
    net = OverChannels()
    converted = fully_convolutional(net, images(4))
    torch.testing.assert_close(converted(images(6))[:, :, 1, 2], net(images(6)[:, :, 1:5, 2:6]))


class Unusual(nn.Module):
    """Does something with its vector that has no form on maps."""

    def __init__(self, *, sorts: bool) -> None:
        super().__init__()
        self.sorts, self.fc = sorts, nn.Linear(3 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        if not self.sorts and x.sum() > 1e9:
            return x
        x = x.flatten(1)
        return self.fc(torch.cumsum(x, 1) if self.sorts else x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1)), "Sequential has no fully connected head"),
        (nn.Linear(3, 4), "Linear has no fully connected head"),
        (nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 16)), nn.Linear(16, 2)), "passes its features through 1"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2)), "passes its features through 1"),
        (Unusual(sorts=True), "passes its features through .*cumsum"),
        (Unusual(sorts=False), "cannot be traced"),
        (timm.create_model("vit_tiny_patch16_224", depth=1, img_size=16), "flattens no map before its head"),
    ],
)
def test_heads_that_cannot_be_converted_are_refused(net: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        fully_convolutional(net, images(16 if hasattr(net, "patch_embed") else 4)[:1])
