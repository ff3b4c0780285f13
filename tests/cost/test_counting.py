"""Counting: closed forms, a second and independent count over the graph, and what other counters get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fovea.core.errors import ModelError
from fovea.cost.counting import Count, count

Build = Callable[..., nn.Module]


class Net(nn.Module):
    """A network that is one function, with a layer to own."""

    def __init__(self, function: object, *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images, *self.layers)  # type: ignore[operator, no-any-return]


def total(net: nn.Module, *shape: int) -> dict[str, float]:
    return count(net.eval(), shape).total


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2), (3, 0, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_is_its_closed_form(groups: int, stride: int, padding: int, dilation: int, bias: bool) -> None:
    net = nn.Conv2d(8, 16, (3, 5), stride, padding, dilation, groups, bias)
    height, width = ((20 + 2 * padding - dilation * (side - 1) - 1) // stride + 1 for side in (3, 5))
    outputs = 2 * 16 * height * width
    found = total(net, 2, 8, 20, 20)
    assert found["macs"] == outputs * (8 // groups) * 3 * 5
    assert found["other_flops"] == (outputs if bias else 0)
    assert found["activations"] == outputs
    assert found["bytes_read"] == 4 * (2 * 8 * 20 * 20 + found["params"])
    assert found["bytes_written"] == 4 * outputs


def test_a_transposed_convolution_counts_its_inputs() -> None:
    found = total(nn.ConvTranspose2d(6, 4, 3, stride=2, bias=False), 1, 6, 10, 10)
    assert found["macs"] == 6 * 10 * 10 * 4 * 3 * 3


def test_a_linear_layer_and_functional_products_count_alike() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    assert total(linear, 4, 3, 8, 8)["macs"] == 4 * 192 * 5
    for function in (
        lambda images: images.flatten(1) @ torch.ones(192, 5),
        lambda images: torch.einsum("bi,io->bo", images.flatten(1), torch.ones(192, 5)),
        lambda images: functional.linear(images.flatten(1), torch.ones(5, 192)),
    ):
        assert total(Net(function), 4, 3, 8, 8)["macs"] == 4 * 192 * 5


@pytest.mark.parametrize("length", [1, 7])
def test_attention_counts_both_products_and_the_softmax_fused_or_not(length: int) -> None:
    def attend(images: Tensor, *, fused: bool) -> Tensor:
        query = images.contiguous().view(2, 3, 4, 16)  # (batch, heads, N, E)
        key = query.repeat(1, 1, 2, 1)[:, :, :length]
        if fused:
            return functional.scaled_dot_product_attention(query, key, key)
        return (query @ key.mT / 4).softmax(-1) @ key

    fused, plain = (total(Net(lambda x, fused=fused: attend(x, fused=fused)), 2, 3, 8, 8) for fused in (True, False))
    scores = 2 * 3 * 4 * length
    assert fused["macs"] == plain["macs"] == scores * (16 + 16)
    assert fused["other_flops"] == plain["other_flops"] == scores * 6


def test_pooling_and_normalisation_count_which_flop_counter_mode_takes_for_nothing() -> None:
    net = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)).eval()
    images = torch.randn(1, 8, 16, 16)
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        net(images)
    assert theirs.get_total_flops() == 0
    by_hand = 2 * 2048 + 2048 + 512 * 3 + 128 * 4 + 128  # scale and shift, ReLU, comparisons, means, mean
    assert total(net, *images.shape)["other_flops"] == by_hand


def test_rare_operators_by_hand() -> None:
    net = Net(lambda images: nn.functional.avg_pool3d(images[:, :, None].expand(1, 3, 4, 4, 4), 2))
    pooled = total(net, 1, 3, 4, 4)
    assert pooled["other_flops"] == 3 * 8 * 8  # each of 24 means: seven additions and a division
    smoothed = Net(lambda images: nn.functional.interpolate(images, size=4, mode="bicubic", antialias=True))
    assert total(smoothed, 1, 3, 8, 8)["other_flops"] == 3 * (8 * 4 * 15 + 4 * 4 * 15)  # eight taps, halving each side
    folded = Net(lambda images: nn.functional.fold(nn.functional.unfold(images, 3), images.shape[-2:], 3))
    assert total(folded, 1, 2, 5, 5)["other_flops"] == 2 * 9 * 3 * 3  # each element of the patches is added once
    assert total(Net(lambda images: torch.logaddexp(images, images)), 1, 3, 4, 4)["other_flops"] == 6 * 48


class Recurrent(nn.Module):
    """Reads the rows of a channel one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.cells(images[:, 0])[0]  # type: ignore[no-any-return]


def test_layers_of_recurrent_decoders_and_segmentation_have_formulas() -> None:
    gates = 3 * 4
    assert count(Recurrent(), (1, 3, 8, 8), strict=True).total["macs"] == 8 * (gates * 8 + gates * 4)
    for function, flops in (
        (lambda images: functional.glu(images, -1), 3 * 8 * 4 * 5),
        (functional.celu, 192 * 4),
        (functional.softshrink, 192 * 2),
        (functional.hardshrink, 192 * 2),
        (lambda images: functional.pairwise_distance(images, images), 192 * (1 + 1 + 2)),
        (lambda images: functional.max_unpool2d(*functional.max_pool2d(images, 2, return_indices=True), 2), 48 * 3),
        (lambda images: torch.rot90(images, 1, (2, 3)), 0),
    ):
        assert count(Net(function), (1, 3, 8, 8), strict=True).total["other_flops"] == flops


@pytest.mark.filterwarnings("ignore")  # torch calls both ways old; networks made by them are still about
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.jit.script, "the network is TorchScript"),
        (lambda net: torch.ao.quantization.quantize_dynamic(net, {nn.Linear}), "1 is quantised"),
        (lambda net: net.bfloat16(), r"weights of torch\.bfloat16, and costs are those of float32"),
    ],
)
def test_what_cannot_be_followed_without_data_is_refused_with_the_reason(
    change: Callable[[nn.Module], nn.Module], message: str
) -> None:
    net = change(nn.Sequential(nn.Flatten(), nn.Linear(48, 8)).eval())
    with pytest.raises(ModelError, match=message) as error:
        count(net, (1, 3, 4, 4))
    assert error.value.hint.startswith("count ")


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, -8, 8), (3, 8, 8)])
def test_a_shape_that_is_not_one_of_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected images, channels, height and width, each from 1 on"):
        count(nn.Conv2d(3, 4, 3), shape)


def test_where_flop_counter_mode_has_formulas_it_agrees(on_meta: Build) -> None:
    net = on_meta("vit_tiny_patch16_224", depth=2)
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        net(torch.empty(1, 3, 224, 224, device="meta"))
    assert count(net, (1, 3, 224, 224)).total["flops"] == theirs.get_total_flops()


def graph_count(net: nn.Module, *shape: int) -> int:
    """MACs by an independent walk: over the graph of torch.fx, module by module, from their attributes."""
    traced = torch.fx.symbolic_trace(net)
    torch.fx.passes.shape_prop.ShapeProp(traced).propagate(torch.empty(*shape, device="meta"))
    macs = 0
    for node in traced.graph.nodes:
        module = traced.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            window = math.prod(module.kernel_size) * module.in_channels // module.groups
            macs += math.prod(node.meta["tensor_meta"].shape) * window
        elif isinstance(module, nn.Linear):
            macs += math.prod(node.meta["tensor_meta"].shape) * module.in_features
    return macs


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "convnext_tiny"])
def test_the_count_by_operators_is_the_count_over_the_graph(name: str, on_meta: Build) -> None:
    net = on_meta(f"torchvision/{name}")
    shape = (2, 3, 96, 96)
    assert count(net, shape).total["macs"] == graph_count(net, *shape) > 0


def test_operators_add_up_to_layers_and_layers_to_the_total(on_meta: Build) -> None:
    found = count(on_meta("torchvision/vit_b_16"), (1, 3, 224, 224), strict=True)
    for name, value in found.total.items():
        if name != "arithmetic_intensity":
            assert sum(layer.as_dict()[name] for layer in found.layers) == value
    assert found.total["params"] == 86_567_656
    tokens, width = 197, 768
    in_blocks = 12 * (tokens * 12 * width**2 + 2 * tokens**2 * width)
    assert found.total["macs"] == 196 * width * 3 * 16 * 16 + in_blocks + width * 1000


def named(found: Count) -> dict[str, dict[str, object]]:
    return {layer.name: layer.as_dict() for layer in found.layers}


def test_functions_belong_to_the_module_that_calls_them(on_meta: Build) -> None:
    layers = named(count(on_meta("torchvision/resnet18"), (1, 3, 64, 64)))
    block = layers["layer2.0"]
    assert block["kind"] == "BasicBlock" and block["params"] == 0
    assert block["operators"] == {"aten.add": 1} and block["other_flops"] == 128 * 8 * 8
    assert layers["layer1.0.relu"]["calls"] == 2
    assert layers["layer1.0.relu"]["operators"] == {"aten.relu": 2}
    assert layers["conv1"]["output"] == (1, 64, 32, 32)


def test_frozen_shared_and_idle_parameters() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.idle = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(3))
            self.other.weight = self.one.weight
            self.idle.weight.requires_grad = False

        def forward(self, images: Tensor) -> Tensor:
            return self.other(self.one(images))  # type: ignore[no-any-return]

    found = count(Tied(), (1, 3, 4, 4))
    assert (found.total["params"], found.total["trainable"]) == (18, 9)
    assert found.total["macs"] == 2 * 9 * 16
    layers = named(found)
    assert (layers["one"]["params"], layers["other"]["params"], layers["idle"]["calls"]) == (9, 0, 0)


def test_an_operator_without_a_formula_is_a_named_gap_and_with_strict_an_error() -> None:
    net = Net(lambda images: torch.fft.fft(torch.fft.fft(images)).real + 1)
    found = count(net, (1, 3, 4, 4))
    assert found.unknown == {"aten._fft_r2c": 1, "aten._fft_c2c": 1}
    assert found.total["bytes"] > 0
    with pytest.raises(ModelError, match=r"aten\._fft_r2c in the network has no formula"):
        count(net, (1, 3, 4, 4), strict=True)


def test_views_cost_nothing_and_copies_cost_bytes() -> None:
    view = total(Net(lambda images: images.permute(0, 2, 3, 1).flatten(1, 2)[:, ::2]), 1, 8, 8, 8)
    assert (view["bytes"], view["other_flops"], view["macs"]) == (0, 0, 0)
    copied = total(Net(lambda images: torch.cat([images, images], dim=1)), 1, 8, 8, 8)
    assert (copied["bytes_read"], copied["bytes_written"], copied["other_flops"]) == (2 * 2048, 2 * 2048, 0)


def test_an_expanded_tensor_is_read_no_larger_than_it_is() -> None:
    found = total(Net(lambda images: images + torch.ones(1, 1, 1, 1).expand(1, 8, 8, 8)), 1, 8, 8, 8)
    assert found["bytes_read"] == 4 + 2048
    assert found["bytes_written"] == 2048 + 4


def test_a_compiled_network_counts_once() -> None:
    net = torchvision.models.squeezenet1_1().eval()
    assert count(torch.compile(net), (1, 3, 64, 64)).total == count(net, (1, 3, 64, 64)).total


def test_twice_the_images_are_twice_the_macs_and_the_same_parameters(on_meta: Build) -> None:
    net = on_meta("torchvision/alexnet")
    one, two = (count(net, (batch, 3, 224, 224)).total for batch in (1, 2))
    assert (two["macs"], two["params"]) == (2 * one["macs"], one["params"])
    assert two["arithmetic_intensity"] > one["arithmetic_intensity"]  # weights are read once


def test_a_deformable_convolution_counts_its_products_and_its_samples() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torchvision.ops.DeformConv2d(4, 6, 3, padding=1, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(images, torch.zeros(1, 18, 8, 8))  # type: ignore[no-any-return]

    found = count(Deformed(), (1, 4, 8, 8), strict=True).total
    assert (found["macs"], found["other_flops"]) == (6 * 64 * 4 * 9, 7 * 4 * 64 * 9 + 6 * 64)  # and a bias of 0


def test_an_lstm_counts_the_products_of_every_step() -> None:
    net = Net(lambda images, lstm: lstm(images.mean(1))[0], nn.LSTM(16, 32, batch_first=True))
    found = count(net.eval(), (2, 3, 10, 16), strict=True).total
    assert found["macs"] == 2 * 10 * 4 * 32 * (16 + 32)


def test_a_network_that_looks_at_values_is_explained() -> None:
    with pytest.raises(ModelError, match="depends on the values of the images"):
        count(Net(lambda images: images if images.sum() > 0 else -images), (1, 3, 4, 4))


def test_images_that_do_not_fit_are_explained(on_meta: Build) -> None:
    with pytest.raises(ModelError, match="does not run on an input of 1 × 3 × 96 × 96"):
        count(on_meta("vit_tiny_patch16_224"), (1, 3, 96, 96))


def test_a_shape_that_depends_on_values_is_explained() -> None:
    with pytest.raises(ModelError, match="depends on the values of the images"):
        count(Net(lambda images: images[images > 0]), (1, 3, 4, 4))


@pytest.mark.parametrize(
    ("net", "hint"),
    [
        (nn.Conv2d(3, 4, 1), "as many channels as its first layer takes"),
        (Net(lambda images: images.reshape(1, 7)), "choose another --size"),
        (Net(lambda images: images.no_such_thing()), None),
        (Net(lambda images: torch.zeros(3, device="meta").copy_(torch.as_tensor([1.0]).numpy())), "torch.randn"),
    ],
)
def test_the_hint_fits_the_reason(net: nn.Module, hint: str | None) -> None:
    with pytest.raises(ModelError if hint else AttributeError) as caught:
        count(net, (1, 4, 8, 8))
    assert hint is None or hint in caught.value.hint
