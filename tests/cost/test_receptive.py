"""Receptive fields, checked against what the gradient says: which pixels reach a position of the map at all."""

from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from fovea.cost.counting import count
from fovea.cost.extents import Field
from fovea.cost.receptive import Reach, Reaches
from fovea.layers import create
from fovea.layers.pooling import GatedPool2d, MixedPool2d, PowerAveragePool2d, SoftPool2d, StochasticPool2d


class Residual(nn.Module):
    """A sum, or a concatenation, of branches."""

    def __init__(self, *branches: nn.Module, join: str = "add") -> None:
        super().__init__()
        self.branches, self.join = nn.ModuleList(branches), join

    def forward(self, images: Tensor) -> Tensor:
        parts = [branch(images) for branch in self.branches]
        return torch.cat(parts, dim=1) if self.join == "cat" else sum(parts[1:], start=parts[0])


class Shuffle(nn.Module):
    """Channels in another order, and back and forth between the layouts of transformers and convolutions."""

    def forward(self, images: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        mixed = images.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(images.shape)
        tokens = mixed.flatten(2).transpose(1, 2)  # (B,C,H,W) -> (B,N,C)
        tokens = functional.linear(tokens, torch.ones(channels, channels, dtype=images.dtype))
        return tokens.transpose(1, 2).reshape(batch, channels, height, width)


class Gate(nn.Module):
    """Squeeze-and-excitation without its layers."""

    def forward(self, images: Tensor) -> Tensor:
        return images * images.mean((2, 3), keepdim=True).sigmoid()


def conv(kernel: int | tuple[int, int], *, stride: int = 1, padding: int = 0, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(4, 4, kernel, stride, padding, dilation)


LOCAL = {
    "plain": nn.Sequential(conv(3), conv(5, stride=2, padding=1), conv(3, padding=1)),
    "dilated": nn.Sequential(conv(3, padding=2, dilation=2), conv(3, stride=2), conv(5, padding=6, dilation=3)),
    "residual": nn.Sequential(
        conv(3, stride=2, padding=1), Residual(conv(3, padding=2, dilation=2), nn.Identity()), conv(3)
    ),
    "uneven branches": nn.Sequential(
        Residual(conv(1), nn.Sequential(conv(3, padding=1), conv(3, padding=1)), nn.AvgPool2d(3, 1, 1), join="cat"),
        nn.Conv2d(12, 4, 3, 2),
    ),
    "strided branches": Residual(conv(1, stride=4), nn.Sequential(conv(3, stride=2, padding=1), nn.AvgPool2d(2))),
    "asymmetric padding": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, stride=2), nn.ReflectionPad2d(2), conv(5)),
    "pooled": nn.Sequential(conv(3), nn.MaxPool2d(3, 2, 1), conv(3), nn.AvgPool2d(2)),
    "shared out": nn.Sequential(conv(2, stride=2), nn.AdaptiveAvgPool2d(4), conv(2)),
    "channels and layouts": nn.Sequential(conv(3), Shuffle(), conv(5, stride=2)),
    "across channels": nn.Sequential(conv(3), nn.LocalResponseNorm(3), conv(3)),
    "cut": nn.Sequential(conv(3, stride=2), nn.ZeroPad2d((-3, -2, -3, -2)), conv(3)),
}

for pooling in (SoftPool2d, MixedPool2d, GatedPool2d, StochasticPool2d, PowerAveragePool2d):
    for window in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}):
        LOCAL[f"{pooling.__name__}, {window}"] = nn.Sequential(conv(3), pooling(**window), conv(3))

FINER = {
    "transposed": nn.Sequential(conv(3, stride=2), nn.ConvTranspose2d(4, 4, 4, 2, 1), conv(3)),
    "upsampled": nn.Sequential(conv(4, stride=4), nn.UpsamplingNearest2d(scale_factor=2), conv(3)),
    "shuffled": nn.Sequential(conv(4, stride=4), nn.Conv2d(4, 16, 1), nn.PixelShuffle(2), conv(3)),
    "bilinear": nn.Sequential(conv(4, stride=4), nn.Upsample(scale_factor=2, mode="bilinear"), conv(3)),
    "bilinear by three": nn.Sequential(conv(4, stride=4), nn.Upsample(scale_factor=3, mode="bilinear"), conv(3)),
    "bilinear from corner to corner": nn.Sequential(conv(4, stride=4), nn.UpsamplingBilinear2d(size=46)),
    "bilinear to an odd size": nn.Sequential(conv(4, stride=4), nn.Upsample(size=27, mode="bilinear")),
    "bicubic": nn.Sequential(conv(4, stride=4), nn.Upsample(scale_factor=2, mode="bicubic")),
}


def reach_of(net: nn.Module, side: int) -> Reach:
    reaches = Reaches()
    count(net.eval(), (1, _channels(net), side, side), also=[reaches])
    assert reaches.last is not None
    return reaches.last


def _channels(net: nn.Module) -> int:
    return next(layer.in_channels for layer in net.modules() if isinstance(layer, nn.Conv2d))


def positive(net: nn.Module) -> nn.Module:
    """A copy in which nothing cancels out: every weight is positive, and where a maximum was taken a mean is."""
    twin = copy.deepcopy(net).double().eval()
    for name, layer in [*twin.named_modules()]:
        if isinstance(layer, nn.MaxPool2d):
            parent, _, own = name.rpartition(".")
            window = (layer.kernel_size, layer.stride, layer.padding)
            setattr(twin.get_submodule(parent), own, nn.AvgPool2d(*window, ceil_mode=layer.ceil_mode))
    for parameter in twin.parameters():
        parameter.data = parameter.data.abs() + 0.1
    return twin


def seen_by(net: nn.Module, side: int, position: int) -> tuple[int, int]:
    """Return the first and the last row and column that reach the map's (position, position), by the gradient."""
    images = torch.ones(1, _channels(net), side, side, dtype=torch.double, requires_grad=True)
    net(images)[0, :, position, position].sum().backward()
    assert images.grad is not None
    reached = images.grad.abs().sum((0, 1)) > 0
    rows, columns = (torch.nonzero(reached.any(axis)).flatten() for axis in (1, 0))
    assert (int(rows[0]), int(rows[-1])) == (int(columns[0]), int(columns[-1]))
    return int(rows[0]), int(rows[-1])


@pytest.mark.parametrize("name", LOCAL)
def test_the_gradient_reaches_exactly_as_far_as_the_field(name: str) -> None:
    net, side = LOCAL[name], 64
    found = reach_of(net, side)
    assert (found.gap, found.whole) == ("", False)
    twin = positive(net)
    position = twin(torch.ones(1, 4, side, side, dtype=torch.double)).shape[-1] // 2
    first, last = seen_by(twin, side, position)
    assert (first, last - first + 1) == (position * found.stride_px - found.padding_px, found.size_px)


@pytest.mark.parametrize("name", FINER)
def test_on_maps_finer_than_their_input_the_field_is_the_union_over_neighbours(name: str) -> None:
    net, side = FINER[name], 64
    found = reach_of(net, side)
    twin = positive(net)
    middle = twin(torch.ones(1, 4, side, side, dtype=torch.double)).shape[-1] // 2
    spans = []
    for position in range(middle, middle + 4):
        first, last = seen_by(twin, side, position)
        start = position * found.stride_px - found.padding_px
        assert start <= first and last < start + found.local_px
        spans.append(last - first + 1)
    assert found.size_px is not None and max(spans) <= found.size_px < max(spans) + 4  # a position of the coarser map


def test_a_real_network_sees_what_the_gradient_says() -> None:
    net, side = torchvision.models.squeezenet1_1().features, 320
    found = reach_of(net, side)
    position = 10
    first, last = seen_by(positive(net), side, position)
    assert (first, last - first + 1) == (position * found.stride_px - found.padding_px, found.size_px)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "position"), [("resnet18", 544, 8), ("googlenet", 1024, 16)])
def test_larger_networks_see_what_the_gradient_says(name: str, side: int, position: int) -> None:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    net = torchvision.models.get_model(name, weights=None, **options).eval()
    whole = reach_of(net, side)
    for ending in ("avgpool", "fc", "dropout"):
        setattr(net, ending, nn.Identity())
    maps: list[Tensor] = []
    twin = positive(net)
    last_block = twin.layer4 if name == "resnet18" else twin.inception5b
    last_block.register_forward_hook(lambda module, inputs, output: maps.append(output))
    images = torch.ones(1, 3, side, side, dtype=torch.double, requires_grad=True)
    twin(images)
    maps[0][0, :, position, position].sum().backward()
    assert images.grad is not None
    rows = torch.nonzero(images.grad.abs().sum((0, 1, 3))).flatten()
    start = position * whole.stride_px - whole.padding_px
    assert (int(rows[0]), int(rows[-1] - rows[0]) + 1) == (start, whole.size_px)


@pytest.mark.parametrize(
    ("ending", "local"),
    [
        (Gate(), 3),
        (nn.Sequential(Gate(), conv(3)), 5),
        (nn.GroupNorm(2, 4), 3),
        (Residual(nn.Identity(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Upsample(size=30))), 3),
    ],
)
def test_gates_and_norms_over_the_map_see_the_whole_image(ending: nn.Module, local: int) -> None:
    found = reach_of(nn.Sequential(conv(3), ending), 32)
    assert (found.size_px, found.whole, found.local_px) == (None, True, local)
    assert found.gap == ""


def test_a_transformer_sees_the_whole_image_and_locally_one_patch() -> None:
    with torch.device("meta"):
        found = reach_of(timm.create_model("vit_tiny_patch16_224", depth=1), 224)
    assert (found.size_px, found.whole, found.local_px, found.stride_px) == (None, True, 16, 16)


def test_attention_within_windows_is_a_gap_and_not_a_guess() -> None:
    with torch.device("meta"):
        found = reach_of(timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1)), 224)
    assert found.size_px is None and found.gap == "positions are mixed within windows"


def test_an_operator_without_a_rule_is_a_named_gap() -> None:
    class Flipped(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + images.flip(3)

    found = reach_of(nn.Sequential(conv(3), Flipped(), conv(3)), 16)
    assert (found.size_px, found.gap) == (None, "aten.flip has no rule")


def test_taps_that_move_are_a_gap_with_its_reason() -> None:
    found = reach_of(nn.Sequential(conv(3), create("conv", "deformable", in_channels=4, out_channels=4)), 16)
    assert (found.size_px, found.gap) == (None, "taps are moved by offsets that depend on the image")


def test_places_that_an_operator_without_a_rule_has_lost_are_a_gap_too() -> None:
    class Windowed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))

    found = reach_of(nn.Sequential(conv(3), Windowed(), conv(3)), 16)
    assert (found.size_px, found.gap) == (None, "aten.unfold has no rule")


def test_every_layer_knows_what_it_sees() -> None:
    reaches = Reaches()
    net = torchvision.models.alexnet().eval()
    count(net, (1, 3, 224, 224), also=[reaches])
    sizes = [reaches.by_layer[f"features.{layer}"].size_px for layer in (0, 2, 3, 5, 6, 8, 10, 12)]
    assert sizes == [11, 19, 51, 67, 99, 131, 163, 195]
    assert "classifier.1" not in reaches.by_layer


def test_a_convolution_over_the_whole_map_is_a_linear_layer() -> None:
    net = nn.Sequential(conv(3), conv(30), nn.Conv2d(4, 2, 1))
    assert reach_of(net, 32).size_px == 3
    assert reach_of(net, 40).size_px == 32


@pytest.mark.parametrize("shape", [(1, 5, 12), (1, 4, 3, 5), (1, 60), (1, 1, 4, 15)])
def test_any_other_shape_of_the_same_elements_is_followed_or_blurred(shape: tuple[int, ...]) -> None:
    """Parts that fit no dimension of the new shape once kept the walk from ending."""
    found = Field.of_image((1, 3, 4, 5)).viewed(shape)
    assert [math.prod(atom.size for atom in dim) for dim in found.dims] == list(shape)


def test_tokens_in_grids_that_cut_across_rows_end_in_an_answer() -> None:
    class Regrouped(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.reshape(1, 4, 3, 4)

    assert count(nn.Sequential(nn.Conv2d(3, 3, 1), Regrouped()), (1, 3, 4, 4), also=[Reaches()]).total["macs"] == 144
