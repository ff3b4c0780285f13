"""fovea's own networks have the sizes of their papers, and timm knows them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from fovea.models.nets import NETS
from fovea.models.nets.inception_resnet_v1 import _block_c
from fovea.models.nets.net import Net


def _meta(name: str) -> Net:
    with torch.device("meta"):
        return timm.create_model(name).eval()


def _parameters(modules: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters(recurse=False))


def _norm_channels(model: nn.Module) -> int:
    return sum(module.num_features for module in model.modules() if isinstance(module, _BatchNorm))


def _macs(model: nn.Module, size: int) -> int:
    """Count with torch's own counter, which calls two FLOPs what is one multiply-accumulate."""
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, size, size, device="meta"))
    return counter.get_total_flops() // 2


def _shapes(model: Net, size: int) -> list[tuple[int, ...]]:
    maps = model.forward_intermediates(torch.zeros(1, 3, size, size, device="meta"), intermediates_only=True)
    return [tuple(found.shape[1:]) for found in maps]


# --- LeNet-5 ---------------------------------------------------------------------------------------------------------


def test_lenet5_has_the_papers_layers() -> None:
    model = _meta("lenet5")
    assert _parameters(model.modules()) == 61_706
    assert _shapes(model, 32) == [(6, 28, 28), (16, 10, 10), (120, 1, 1)]
    assert [type(module).__name__ for module in model.modules()].count("Tanh") == 4


def test_lenet5_takes_grey_colour_and_any_size() -> None:
    torch.manual_seed(0)
    model = timm.create_model("lenet5").eval()
    grey = torch.randn(2, 1, 40, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(grey.expand(2, 3, 40, 32)), model(grey))
        digit = torch.randn(2, 1, 28, 28)
        framed = nn.functional.pad(digit, (2, 2, 2, 2), mode="replicate")
        assert torch.equal(model(digit), model(framed))
        assert not torch.equal(model(torch.randn(1, 3, 64, 64)), model(torch.randn(1, 3, 64, 64)))


def test_lenet5_can_have_kernels_for_colour() -> None:
    model = timm.create_model("lenet5", in_chans=3)
    assert _parameters(model.modules()) == 61_706 + 2 * 6 * 25
    with torch.no_grad():
        swapped = torch.randn(1, 3, 32, 32)
        assert not torch.equal(model(swapped), model(swapped.flip(1)))


# --- Network in Network ----------------------------------------------------------------------------------------------


def test_nin_has_the_size_of_the_caffe_model() -> None:
    model = _meta("nin")
    assert _parameters(model.modules()) == 7_595_176
    assert _macs(model, 224) == 1_100_188_800


def test_nins_classifier_may_come_before_or_behind_the_pooling() -> None:
    torch.manual_seed(0)
    model = timm.create_model("nin", num_classes=5).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        pooled = model.forward_head(model.forward_features(images), pre_logits=True)
        weight, bias = model.head.fc.weight.flatten(1), model.head.fc.bias
        torch.testing.assert_close(nn.functional.linear(pooled, weight, bias), model(images))


# --- Inception -------------------------------------------------------------------------------------------------------


def test_inception_v2_has_the_size_of_the_authors_network() -> None:
    """TF-slim's test says 10,173,112 variables without the classifier.

    They are weights, and of each BatchNorm shift, mean and variance but no scale. Its first convolution has a bias in
    the place of a BatchNorm.
    """
    model = _meta("inception_v2")
    convolutions = _parameters(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert convolutions + 64 + 3 * (_norm_channels(model) - 64) == 10_173_112


def test_inception_v2_has_the_shapes_of_figure_5() -> None:
    assert _shapes(_meta("inception_v2"), 224) == [
        (64, 112, 112),
        (192, 56, 56),
        (320, 28, 28),
        (576, 14, 14),
        (1024, 7, 7),
    ]


def test_inception_resnet_v1_has_the_size_of_facenet() -> None:
    """The network of FaceNet in Keras has 22,779,312 weights to train.

    It has one more block C, 128 outputs without bias but with a BatchNorm, and no scales in any BatchNorm.
    """
    model = _meta("inception_resnet_v1")
    trunk = _parameters(model.stages.modules()) - _norm_channels(model)
    with torch.device("meta"):
        sixth = _block_c()
    sixth_block = _parameters(sixth.modules()) - _norm_channels(sixth)
    assert trunk + sixth_block + 1792 * 128 + 128 == 22_779_312


def test_inception_resnet_v1_has_the_shapes_of_its_figures() -> None:
    shapes = _shapes(_meta("inception_resnet_v1"), 299)
    assert shapes == [(64, 147, 147), (192, 71, 71), (256, 35, 35), (896, 17, 17), (1792, 8, 8)]


# --- ShuffleNet v1 ---------------------------------------------------------------------------------------------------


STATED = {  # name: millions of multiply-accumulates and of parameters, as the authors state them
    "0_5x": (38, 0.7),
    "0_5x_g8": (40, 1.0),
    "1x": (138, 1.9),
    "1x_g8": (138, 2.4),
    "1_5x": (292, 3.4),
    "1_5x_g8": (290, 4.3),
    "2x": (524, 5.4),
    "2x_g8": (522, 6.5),
}
FAST = {"1x", "1_5x_g8"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in STATED]
)
def test_shufflenet_v1_has_the_size_that_the_authors_state(name: str) -> None:
    model = _meta(f"shufflenet_v1_{name}")
    macs, parameters = STATED[name]
    assert abs(_macs(model, 224) / 1e6 - macs) < 1
    assert abs((_parameters(model.modules()) - 1000) / 1e6 - parameters) < 0.05  # theirs has no bias in the classifier


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "macs"), [("_g1", 143), ("_g2", 140), ("", 137), ("_g4", 133), ("_g8", 137)])
def test_shufflenet_v1_costs_what_table_1_says(suffix: str, macs: int) -> None:
    assert abs(_macs(_meta(f"shufflenet_v1_1x{suffix}"), 224) / 1e6 - macs) < 1.5


def test_shufflenet_v1_comes_in_five_widths_with_five_numbers_of_groups() -> None:
    assert len([name for name in NETS.names() if name.startswith("shufflenet_v1_")]) == 25


def test_groups_see_each_other_through_the_shuffle() -> None:
    """One channel of the input reaches all groups of a unit's output, which without shuffling it does not."""
    torch.manual_seed(0)
    unit = timm.create_model("shufflenet_v1_1x").stages[3][1].eval()
    image = torch.randn(1, 480, 4, 4, requires_grad=True)
    unit.expand.bn.act = nn.Identity()
    unit.act = nn.Identity()

    def reached() -> list[bool]:
        groups = unit.project(unit.depthwise(unit.shuffle(unit.expand(image)))).unflatten(1, (3, 160))
        gradients = [
            torch.autograd.grad(groups[0, group].sum(), image, retain_graph=True)[0][0, 0] for group in range(3)
        ]
        return [bool(gradient.abs().sum() > 0) for gradient in gradients]

    assert reached() == [True, True, True]
    unit.shuffle = nn.Identity()
    assert reached() == [True, False, False]


# --- all of them -----------------------------------------------------------------------------------------------------

EACH = ["lenet5", "nin", "inception_v2", "inception_resnet_v1", "shufflenet_v1_0_25x"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith("inception") else ()) for name in EACH]
)
def test_timms_tools_work_on_our_networks(name: str) -> None:
    assert name in timm.list_models()
    size = 96 if name.startswith("inception") else 64
    images = torch.randn(2, 3, size, size)
    model = timm.create_model(name, num_classes=7).eval()
    with torch.no_grad():
        features = model.forward_features(images)
        assert features.shape[1] == model.num_features
        assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
        assert torch.equal(model.forward_head(features), model(images))
        model.reset_classifier(4)
        assert model(images).shape == (2, 4)
        assert model.get_classifier() is model.get_submodule(model.pretrained_cfg["classifier"])
        assert isinstance(model.get_submodule(model.pretrained_cfg["first_conv"]), nn.Conv2d)
        model.reset_classifier(0)
        assert model(images).shape == (2, model.head_hidden_size)

        backbone = timm.create_model(name, features_only=True).eval()
        maps: list[Tensor] = backbone(images)
        assert [found.shape[1] for found in maps] == backbone.feature_info.channels()
        assert len(maps) == len(model.feature_info)
        assert len(timm.create_model(name, features_only=True, out_indices=(0, 1))(images)) == 2


def test_drop_rate_reaches_the_dropout() -> None:
    for name in EACH:
        with torch.device("meta"):
            model = timm.create_model(name, drop_rate=0.3)
        assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3]


def test_only_what_can_be_asked_for_is_accepted() -> None:
    with pytest.raises(TypeError, match="no_such_argument"):
        timm.create_model("nin", no_such_argument=1)
    model = _meta("nin")
    with pytest.raises(ValueError, match="checkpointing"):
        model.set_grad_checkpointing()
    with pytest.raises(ValueError, match="NCHW"):
        model.forward_intermediates(torch.zeros(1, 3, 64, 64), output_fmt="NLC")
    last = model.forward_intermediates(torch.zeros(1, 3, 64, 64, device="meta"), indices=[-2], intermediates_only=True)
    assert [found.shape[1] for found in last] == [384]


@pytest.mark.parametrize(
    ("name", "smallest"), [("nin", 48), ("inception_v2", 32), ("inception_resnet_v1", 75), ("shufflenet_v1_1x", 32)]
)
def test_images_of_the_smallest_size_that_is_promised_and_odd_ones(name: str, smallest: int) -> None:
    model = _meta(name)
    for height, width in ((smallest, smallest), (131, 97)):
        assert model(torch.zeros(1, 3, height, width, device="meta")).shape == (1, 1000)
