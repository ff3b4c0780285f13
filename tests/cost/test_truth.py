"""The published and hand-checked figures: parameters, MACs, activations and receptive fields of known networks.

Exact numbers are those of the networks' definitions, rounded ones those that their papers or libraries state. Receptive
fields: Araujo et al., Distill 2019, whose networks are TensorFlow's: the catalogue's sees as far. The cheap ones run
always, the others with the slow tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fovea.cost.counting import Count, count
from fovea.cost.formulas import BATCH_NORMS
from fovea.cost.receptive import Reaches

Build = Callable[..., nn.Module]

slow = pytest.mark.slow
VISION = "torchvision/"

EXACT = [  # name, parameters, MACs at 224 px
    (VISION + "alexnet", 61_100_840, 714_188_480),
    (VISION + "vgg16", 138_357_544, 15_470_264_320),
    (VISION + "resnet50", 25_557_032, 4_089_184_256),
    pytest.param(VISION + "resnet101", 44_549_160, 7_801_405_440, marks=slow),
    pytest.param(VISION + "resnet152", 60_192_808, 11_513_626_624, marks=slow),
    pytest.param(VISION + "resnext50_32x4d", 25_028_904, 4_230_479_872, marks=slow),
    (VISION + "squeezenet1_0", 1_248_424, 818_924_576),
    (VISION + "squeezenet1_1", 1_235_496, 349_151_936),
    ("mobilenetv1_100", 4_231_976, 568_740_352),
    ("nin", 7_595_176, 1_100_188_800),
]

STATED = [  # name, options, side, parameters, GMACs, each to the digits that are stated
    pytest.param(VISION + "densenet121", {}, 224, "7978856", "2.834", marks=slow),
    (VISION + "mobilenet_v2", {}, 224, "3504872", "0.301"),
    pytest.param(VISION + "mobilenet_v3_large", {}, 224, "5483032", "0.217", marks=slow),
    pytest.param(VISION + "mobilenet_v3_small", {}, 224, "2542856", "0.057", marks=slow),
    (VISION + "shufflenet_v2_x1_0", {}, 224, "2278604", "0.145"),
    (VISION + "googlenet", {"aux_logits": False, "init_weights": False}, 224, "6624904", "1.498"),
    pytest.param(VISION + "inception_v3", {"init_weights": False}, 299, "27161264", "5.713", marks=slow),
]

# timm's tables are fvcore's counts, in which BatchNorm stands with two FLOPs an element among the MACs.
STATED_WITH_NORMS = [
    ("inception_v4", 299, "42.68M", "12.28"),
    ("inception_resnet_v2", 299, "55.84M", "13.18"),
    ("legacy_xception", 299, "22.86M", "8.40"),
    ("legacy_seresnet50", 224, "28.09M", "3.88"),
    ("legacy_senet154", 224, "115.09M", "20.77"),
]

ACTIVATIONS = [(VISION + "resnet50", 11.11), (VISION + "vgg16", 13.56), (VISION + "mobilenet_v2", 6.68)]  # millions

FIELDS = [  # name, side of the images, receptive field
    (VISION + "alexnet", 224, 195),
    (VISION + "vgg16", 224, 212),
    (VISION + "resnet50", 224, 427),
    pytest.param(VISION + "resnet101", 224, 971, marks=slow),
    pytest.param(VISION + "resnet152", 224, 1451, marks=slow),
    ("mobilenetv1_100", 224, 315),
    ("inception_v2", 224, 699),
    pytest.param("inception_v3", 299, 1311, marks=slow),
    pytest.param("inception_v4", 299, 2071, marks=slow),
    pytest.param("inception_resnet_v2", 299, 3039, marks=slow),
]
V1_FIELDS = [
    ("resnet50", 483),
    pytest.param("resnet101", 1027, marks=slow),
    pytest.param("resnet152", 1507, marks=slow),
]


def stated(value: float, text: str, unit: float) -> bool:
    """Whether a value, rounded to the digits of the text, is what the text says."""
    number = text.removesuffix("M")
    digits = len(number.partition(".")[2])
    return f"{value / unit:.{digits}f}" == number


@pytest.mark.parametrize(("name", "params", "macs"), EXACT)
def test_parameters_and_macs_are_exact(name: str, params: int, macs: int, on_meta: Build) -> None:
    found = count(on_meta(name), (1, 3, 224, 224), strict=True).total
    assert (found["params"], found["trainable"]) == (params, params)
    assert (found["macs"], found["flops"]) == (macs, 2 * macs)
    assert found["other_flops"] > 0


@pytest.mark.parametrize(("name", "options", "side", "params", "gmacs"), STATED)
def test_stated_figures_are_met_to_their_last_digit(
    name: str, options: dict[str, Any], side: int, params: str, gmacs: str, on_meta: Build
) -> None:
    found = count(on_meta(name, **options), (1, 3, side, side), strict=True).total
    assert stated(found["params"], params, 1e6 if params.endswith("M") else 1)
    assert stated(found["macs"], gmacs, 1e9)


def with_norms(found: Count) -> int:
    """MACs, and BatchNorm's FLOPs as if they were."""
    norms = sum(one.work.other_flops for one in found.operations if one.name in BATCH_NORMS)
    return int(found.total["macs"]) + norms


@slow
@pytest.mark.parametrize(("name", "side", "params", "gmacs"), STATED_WITH_NORMS)
def test_figures_of_timms_tables_are_met_once_norms_are_added(
    name: str, side: int, params: str, gmacs: str, on_meta: Build
) -> None:
    found = count(on_meta(name), (1, 3, side, side), strict=True)
    assert stated(found.total["params"], params, 1e6)
    assert stated(with_norms(found), gmacs, 1e9)
    assert not stated(found.total["macs"], gmacs, 1e9)


@pytest.mark.parametrize(("name", "millions"), ACTIVATIONS)
def test_activations_are_those_of_timms_tables(name: str, millions: float, on_meta: Build) -> None:
    assert round(count(on_meta(name), (1, 3, 224, 224)).total["activations"] / 1e6, 2) == millions


def test_nin_as_caffe_has_it() -> None:
    def block(channels_in: int, channels: int, mixed: int, out: int, *, kernel: int, stride: int, padding: int) -> list:
        convolutions = [
            nn.Conv2d(channels_in, channels, kernel, stride, padding),
            nn.Conv2d(channels, mixed, 1),
            nn.Conv2d(mixed, out, 1),
        ]
        return [layer for convolution in convolutions for layer in (convolution, nn.ReLU())]

    net = nn.Sequential(
        *block(3, 96, 96, 96, kernel=11, stride=4, padding=0),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *block(96, 256, 256, 256, kernel=5, stride=1, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *block(256, 384, 384, 384, kernel=3, stride=1, padding=1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *block(384, 1024, 1024, 1000, kernel=3, stride=1, padding=1),
        nn.AdaptiveAvgPool2d(1),
    )
    found = count(net.eval(), (1, 3, 224, 224)).total
    assert (found["params"], found["macs"]) == (7_595_176, 1_100_188_800)


def test_lenet5() -> None:
    convolutions = [nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
    head = [nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)]
    assert count(nn.Sequential(*convolutions, *head), (1, 1, 32, 32)).total["params"] == 61_706


def test_lenet5_as_our_catalogue_has_it(on_meta: Build) -> None:
    assert count(on_meta("lenet5"), (1, 1, 32, 32)).total["params"] == 61_706


def test_shufflenet_v1_as_our_catalogue_has_it(on_meta: Build) -> None:
    found = count(on_meta("shufflenet_v1_1x"), (1, 3, 224, 224))
    assert stated(found.total["params"], "1.9M", 1e6)
    # 0.138 as its authors state it; the layers give 0.1375
    assert found.total["macs"] / 1e9 == pytest.approx(0.138, rel=0.005)


def as_v1(net: nn.Module) -> nn.Module:
    """Move the stride of each bottleneck from the 3×3 to the 1×1 convolution: torchvision's ResNets are v1.5."""
    for block in net.modules():
        if type(block).__name__ == "Bottleneck":
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    return net


def test_resnet_50_v1_does_less_than_v15(on_meta: Build) -> None:
    assert count(as_v1(on_meta(VISION + "resnet50")), (1, 3, 224, 224)).total["macs"] == 3_857_973_248


def field_px(net: nn.Module, side: int) -> int | None:
    reaches = Reaches()
    count(net, (1, 3, side, side), also=[reaches])
    assert reaches.last is not None
    return reaches.last.size_px


@pytest.mark.parametrize(("name", "side", "size_px"), FIELDS)
def test_receptive_fields_are_those_of_the_paper(name: str, side: int, size_px: int, on_meta: Build) -> None:
    assert field_px(on_meta(name), side) == size_px


@pytest.mark.parametrize(("name", "size_px"), V1_FIELDS)
def test_receptive_fields_of_resnet_v1(name: str, size_px: int, on_meta: Build) -> None:
    assert field_px(as_v1(on_meta(VISION + name)), 224) == size_px


def test_the_size_of_the_image_changes_no_receptive_field(on_meta: Build) -> None:
    net = on_meta(VISION + "resnet18")
    assert {field_px(net, side) for side in (64, 160, 257)} == {435}


def test_the_mode_and_the_device_of_the_network_stay(on_meta: Build) -> None:
    net = on_meta("resnet10t").train()
    count(net, (2, 3, 64, 64))
    assert net.training and next(net.parameters()).device == torch.device("meta")
