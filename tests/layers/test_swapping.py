"""Exchanging layers: geometry, weights and outputs are kept where they should be, and what is wrong is said."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.core.errors import ModelError, UnknownName
from fovea.layers import POOLING, create, recalibrate, swap
from fovea.layers.normalisation import NORMALISATION, SwitchableNorm2d
from fovea.layers.pooling import LocalImportancePool2d, MixedPool2d, SoftPool2d

quietly = partial(swap, say=lambda text: None)


def lived_in(model: nn.Module) -> nn.Module:
    """Give every BatchNorm the statistics and weights of a training."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 2)
            layer.bias.data.normal_(0, 0.1)
    return model.eval()


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8, eps=1e-3, momentum=0.2),
        nn.ReLU(),
        nn.MaxPool2d((3, 2), stride=2, padding=1, ceil_mode=True),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


IMAGES = torch.randn(2, 3, 21, 26, generator=torch.Generator().manual_seed(0))


def test_it_says_what_it_matched_and_returns_it(capsys: pytest.CaptureFixture[str]) -> None:
    net = small()
    swapped = swap(net, pool="softpool", act="mish")
    assert capsys.readouterr().out == "2 pooling layers -> softpool: 3 and 6\n2 activation layers -> mish: 2 and 5\n"
    assert swapped.names == {"pool": ("3", "6"), "act": ("2", "5")}
    assert [type(net[index]) for index in (2, 3, 5, 6)] == [nn.Mish, SoftPool2d, nn.Mish, SoftPool2d]
    assert isinstance(net[7], nn.AdaptiveAvgPool2d)  # pooling of the whole map is a kind of its own


def test_the_geometry_is_kept() -> None:
    net = small()
    quietly(net, pool="softpool")
    pool = net[3]
    assert (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) == ((3, 2), (2, 2), (1, 1), True)
    assert net[:7](IMAGES).shape == small()[:7](IMAGES).shape


@pytest.mark.parametrize("name", sorted(set(POOLING.names()) - {"global"}))
def test_every_pooling_can_stand_in_the_trunk(name: str) -> None:
    net = small()
    quietly(net, pool=name, example=IMAGES)
    assert net(IMAGES).shape == (2, 5)


@pytest.mark.parametrize("name", sorted(set(POOLING.names()) - {"global", "gated"}))
def test_every_pooling_can_stand_before_the_head(name: str) -> None:
    net = small()
    assert quietly(net, global_pool=name, example=IMAGES).names == {"global_pool": ("7",)}
    assert net(IMAGES).shape == (2, 5)


@pytest.mark.parametrize("name", NORMALISATION.names())
def test_every_normalisation_can_take_the_place(name: str) -> None:
    net = lived_in(small())
    before = net[1]
    quietly(net, norm=name)
    if hasattr(net[1], "weight"):
        assert torch.equal(net[1].weight, before.weight) and torch.equal(net[1].bias, before.bias)
        assert net[1].eps == 1e-3
    assert net(IMAGES).shape == (2, 5)


def test_running_statistics_go_along_where_both_have_them() -> None:
    net = lived_in(small())
    before = net[1]
    quietly(net, norm="switchable")
    assert isinstance(net[1], SwitchableNorm2d) and net[1].momentum == 0.2 and not net[1].training
    assert torch.equal(net[1].running_mean, before.running_mean)
    net[1].mean_logits.data = net[1].variance_logits.data = torch.tensor([-200.0, -200.0, 200.0])  # batch alone
    torch.testing.assert_close(net[1](IMAGES.repeat(1, 3, 1, 1)[:, :8]), before(IMAGES.repeat(1, 3, 1, 1)[:, :8]))


@pytest.mark.parametrize("choices", [{"pool": "max"}, {"norm": "batch"}, {"act": "relu"}, {"global_pool": "average"}])
def test_what_is_already_there_stays_and_counts(choices: dict[str, str]) -> None:
    net = timm.create_model("resnet18")
    before = list(net.modules())
    swapped = quietly(net, **choices)
    assert sum(map(len, swapped.names.values())) >= 1
    assert all(one is other for one, other in zip(before, net.modules(), strict=True))


def test_the_trunk_of_a_timm_resnet_has_one_max_pooling() -> None:
    net = timm.create_model("resnet18")
    assert quietly(net, pool="softpool").names == {"pool": ("maxpool",)}
    assert len(quietly(net, norm="group").names["norm"]) == 20


def test_a_replacement_that_needs_channels_measures_them() -> None:
    net = timm.create_model("resnet10t").train()
    with pytest.raises(ValueError, match="what replaces maxpool must know its channels: pass example="):
        quietly(net, pool="lip")
    quietly(net, pool="lip", example=torch.zeros(1, 3, 32, 32))
    assert isinstance(net.maxpool, LocalImportancePool2d) and net.maxpool.logit.conv.in_channels == 64
    assert net.training and net.layer1.training  # the look at the example left no trace
    assert all(layer.num_batches_tracked == 0 for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))


def test_a_layer_that_sees_different_widths_cannot_get_one_of_fixed_width() -> None:
    net = torchvision.models.resnet50(num_classes=3)
    with pytest.raises(ValueError, match=r"layer1.0.relu sees maps of 64 and 256 channels"):
        quietly(net, act="maxout", where="layer1.0.relu", example=torch.zeros(1, 3, 32, 32))


def test_where_is_a_glob_or_a_function() -> None:
    net = timm.create_model("resnet18")
    assert quietly(net, act="swish", where="layer2.*.act1").names["act"] == ("layer2.0.act1", "layer2.1.act1")
    wide = quietly(net, norm="group", where=lambda name, layer: layer.num_features > 256).names["norm"]
    assert len(wide) == 5 and all(name.startswith("layer4") for name in wide)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules()) == 15


def test_timms_normalisation_with_an_activation_inside_keeps_it() -> None:
    net = lived_in(timm.create_model("mobilenetv2_035", num_classes=3))
    images = torch.randn(1, 3, 64, 64)
    expected = net(images)
    swapped = quietly(net, norm="batch")  # torch's plain one in place of timm's
    assert swapped.names["norm"][0] == "bn1" and type(net.bn1.norm) is nn.BatchNorm2d
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)
    quietly(net, norm="group", act="hard_swish")
    assert isinstance(net.bn1.norm, nn.GroupNorm) and isinstance(net.bn1.act, nn.Hardswish)


def test_normalisation_and_activation_can_go_in_one_call() -> None:
    net = timm.create_model("mobilenetv2_035", num_classes=3)
    quietly(net, norm="group", act="hard_swish")
    kinds = {type(layer) for layer in net.modules()}
    assert not kinds & {nn.ReLU6, nn.BatchNorm2d} and {nn.GroupNorm, nn.Hardswish} <= kinds
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_squeeze_and_excitation_stays_whole() -> None:
    net = torchvision.models.mobilenet_v3_small(num_classes=3)
    gate = copy.deepcopy(net.features[1].block[1])
    names = quietly(net, act="mish", global_pool="max").names
    assert names["global_pool"] == ("avgpool",)
    assert [type(layer) for layer in net.features[1].block[1].modules()] == [type(layer) for layer in gate.modules()]
    assert not any("fc1" in name or "scale_activation" in name for name in names["act"])


@pytest.mark.parametrize("name", ["se", "global_context", "coordinate", "cbam", "selective_kernel"])
def test_what_weighs_a_map_stays_whole(name: str) -> None:
    gate = create("attention", name, channels=16)
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), gate)
    named = quietly(net, norm="instance", act="mish").names
    inside = {each for kind in named.values() for each in kind if each.startswith("3.")}
    of_its_kernels = {f"3.paths.{path}.bn" for path in (0, 1)} | {f"3.paths.{path}.bn.act" for path in (0, 1)}
    assert inside <= (of_its_kernels if name == "selective_kernel" else set())
    assert net.train()(torch.randn(2, 3, 5, 5)).shape == (2, 16, 5, 5)


def test_a_layer_under_two_names_becomes_one_layer_under_two_names() -> None:
    net = small()
    net[5] = net[2]
    assert quietly(net, act="prelu").names["act"] == ("2", "5")
    assert net[2] is net[5] and isinstance(net[5], nn.PReLU)


def test_a_function_with_options_builds_too() -> None:
    net = small()
    swapped = quietly(net, pool=partial(MixedPool2d, alpha=0.9), norm=partial(NORMALISATION["group"].build, groups=2))
    assert torch.sigmoid(net[3].logit).item() == pytest.approx(0.9) and net[1].num_groups == 2
    assert str(swapped).startswith("2 pooling layers -> MixedPool2d: 3 and 6")


def test_the_type_of_the_network_is_kept() -> None:
    net = small().to(torch.bfloat16)
    quietly(net, norm="group", pool="mixed")
    assert net[1].weight.dtype == net[3].logit.dtype == torch.bfloat16
    assert net(IMAGES.bfloat16()).dtype == torch.bfloat16


class Functional(nn.Module):
    """Pools in its forward, with a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.act(self.conv(x)), 2)


def test_nothing_to_match_is_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(ModelError, match="Functional has no pooling layer") as error:
        quietly(Functional(), pool="softpool")
    assert "1 activation layer (act)" in error.value.hint
    assert "such as F.max_pool2d, is no layer and cannot be exchanged" in error.value.hint
    with pytest.raises(ModelError, match=r"Sequential has no pooling layer that matches 'layer3\.\*'") as error:
        quietly(small(), pool="softpool", where="layer3.*")
    assert "2 pooling layers (3 and 6)" in error.value.hint


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.MaxPool2d(2, return_indices=True), "it gives indices too"),
        (nn.AvgPool2d(2, divisor_override=1), "it divides by a number of its own"),
        (timm.layers.pool2d_same.MaxPool2dSame(3, 2), "its padding depends on the size of the map"),
    ],
)
def test_what_only_looks_like_pooling_is_left_with_the_reason(layer: nn.Module, reason: str) -> None:
    with pytest.raises(ModelError, match="no pooling layer") as error:
        quietly(nn.Sequential(layer), pool="softpool")
    assert f"0 stays: {reason}" in error.value.hint
    swapped = quietly(nn.Sequential(layer, nn.MaxPool2d(2)), pool="softpool")
    assert swapped.names == {"pool": ("1",)} and swapped.left == {"0": reason}
    assert str(swapped).endswith(f"left alone: 0, {reason}")


def test_adaptive_pooling_to_more_than_one_place_is_left() -> None:
    with torch.device("meta"):  # its weights would take seconds to draw
        net = torchvision.models.vgg11()
    with pytest.raises(ModelError, match="no global pooling layer") as error:
        quietly(net, global_pool="max")
    assert "avgpool stays: its output is (7, 7), not one place" in error.value.hint


def test_a_dilated_pooling_needs_one_that_can_be() -> None:
    net = nn.Sequential(nn.MaxPool2d(3, dilation=2))
    with pytest.raises(ValueError, match="0 is dilated"):
        quietly(net, pool="average")
    quietly(net, pool="softpool")
    assert net[0].dilation == (2, 2)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "nothing to exchange: name at least one of pool, global_pool, norm and act"),
        ({"pool": "global"}, "'global' takes no kernel_size"),
        ({"global_pool": "gated"}, "needs a kernel_size"),
    ],
)
def test_what_makes_no_sense_is_refused(choices: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quietly(small(), **choices)


def test_an_unknown_name_suggests() -> None:
    with pytest.raises(UnknownName, match="unknown activation 'mich'") as error:
        quietly(small(), act="mich")
    assert "did you mean 'mish'?" in error.value.hint


def test_the_layer_itself_cannot_be_exchanged_in_place() -> None:
    with pytest.raises(ValueError, match=r"put it into nn\.Sequential"):
        quietly(nn.MaxPool2d(2), pool="softpool")


def test_a_failure_leaves_the_network_as_it_was() -> None:
    net = small()
    before = list(net.modules())
    with pytest.raises(ValueError, match="needs a kernel_size"):
        quietly(net, norm="group", global_pool="gated")
    assert all(one is other for one, other in zip(before, net.modules(), strict=True))


def test_recalibration_gives_the_mean_of_the_batches_statistics_and_leaves_all_else() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Dropout(0.9), nn.BatchNorm2d(8, momentum=0.3), nn.ReLU(), nn.MaxPool2d(2)
    )
    net.train()
    net[1].eval()
    weights = copy.deepcopy(dict(net.named_parameters()))
    batches = [torch.randn(4, 3, 9, 9) + shift for shift in range(3)]
    assert recalibrate(net, iter(batches)) == ("2",)
    maps = [net[0](batch) for batch in batches]
    torch.testing.assert_close(net[2].running_mean, torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0))
    torch.testing.assert_close(net[2].running_var, torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0))
    assert net[2].num_batches_tracked == 3 and net[2].momentum == 0.3
    assert [module.training for module in net] == [True, False, True, True, True]
    assert all(torch.equal(weights[name], value) for name, value in net.named_parameters())


def test_recalibration_brings_back_the_scale_after_a_swap() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.BatchNorm2d(8))
    batches = [(torch.randn(8, 3, 16, 16), torch.zeros(8)) for _ in range(4)]
    recalibrate(net, batches)
    quietly(net, pool="average")

    def off() -> float:
        out = net.eval()(batches[0][0]).detach()
        return float((out.mean((0, 2, 3)).abs() + (out.std((0, 2, 3)) - 1).abs()).max())

    assert off() > 0.5  # means lie lower than maxima
    recalibrate(net, batches)
    assert off() < 0.2


def test_swap_recalibrates_on_the_batches_that_it_is_given() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.BatchNorm2d(8))
    twin = copy.deepcopy(net)
    batches = [(torch.randn(8, 3, 16, 16), torch.zeros(8)) for _ in range(4)]
    swapped = quietly(net, pool="average", batches=iter(batches))
    assert swapped.recalibrated == ("2",) and str(swapped).endswith("\n1 BatchNorm estimated anew")
    quietly(twin, pool="average")
    recalibrate(twin, batches)
    assert torch.equal(net[2].running_mean, twin[2].running_mean)
    assert torch.equal(net[2].running_var, twin[2].running_var)


def test_batches_that_do_not_fit_leave_the_network_as_it_was() -> None:
    net = lived_in(small())
    modules, state = list(net.modules()), copy.deepcopy(net.state_dict())
    with pytest.raises(RuntimeError):
        quietly(net, pool="softpool", norm="switchable", batches=[torch.zeros(2, 4, 9, 9)])
    assert all(one is other for one, other in zip(modules, net.modules(), strict=True))
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


def test_recalibration_of_switchable_norm() -> None:
    net = nn.Sequential(create("norm", "switchable", channels=3))
    batches = [torch.randn(4, 3, 5, 5) for _ in range(3)]
    assert recalibrate(net, batches) == ("0",)
    torch.testing.assert_close(net[0].running_mean, torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0))


def test_recalibration_that_fails_puts_the_statistics_back() -> None:
    net = lived_in(small())
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate(net, [])
    with pytest.raises(RuntimeError):
        recalibrate(net, [IMAGES, torch.zeros(2, 4, 9, 9)])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net[1].momentum == 0.2 and not net[1].training


def test_without_batch_norm_there_is_nothing_to_recalibrate() -> None:
    assert recalibrate(nn.Sequential(nn.Conv2d(3, 4, 1)), iter([])) == ()
