"""Peak memory: predicted by hand on small networks, and within a tenth of what the allocator tells on real ones."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fovea.core.errors import ModelError
from fovea.cost.memory import Ledger, Peak, measure_peak, predict_peak
from fovea.cost.watching import watch

MAP = 4 * 2 * 8 * 16 * 16  # bytes of two images of 8 × 16 × 16
SHAPE = (2, 8, 16, 16)


def test_a_chain_holds_a_map_and_the_one_before_it() -> None:
    chain = nn.Sequential(nn.Sigmoid(), nn.Sigmoid(), nn.Sigmoid())
    assert predict_peak(chain, SHAPE).inference == 3 * MAP  # the images, what goes in and what comes out
    assert predict_peak(nn.Sequential(nn.ReLU(inplace=True)), SHAPE).inference == MAP


def test_training_keeps_what_the_backward_pass_needs() -> None:
    class Scaled(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.scale, self.depth = nn.Parameter(torch.ones(1)), depth

        def forward(self, images: Tensor) -> Tensor:
            images = images * self.scale
            for _ in range(self.depth):
                images = images.sigmoid()
            return images

    shallow, deep = (predict_peak(Scaled(depth), SHAPE) for depth in (2, 12))
    assert deep.inference == shallow.inference
    assert deep.training is not None and shallow.training is not None
    assert deep.training - shallow.training == 10 * MAP  # each sigmoid's result


def test_training_holds_gradients_and_two_moments_for_each_weight() -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(2048, 4096, bias=False))
    weights = 4 * 2048 * 4096
    found = predict_peak(wide, SHAPE)
    assert found.inference == pytest.approx(weights, rel=0.01)
    assert found.training == pytest.approx((1 + 1 + 2 + 2) * weights, rel=0.01)  # AdamW's step works on two copies


def test_a_convolution_holds_a_copy_of_its_weights_while_it_runs() -> None:
    weights = 4 * 8 * 2048 * 9
    found = predict_peak(nn.Conv2d(8, 2048, 3, bias=False), (1, 8, 3, 3))
    assert found.inference == 2 * weights + 4 * 8 * 3 * 3 + 4 * 2048


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_the_backward_pass_of_a_depthwise_convolution_pads_its_channels(kernel: int) -> None:
    net = nn.Conv2d(576, 576, kernel, padding=kernel // 2, groups=576, bias=False)
    check_within_a_tenth(predict_peak(net, (2, 576, 7, 7)), measure_peak(net, (2, 576, 7, 7)))


def test_frozen_weights_have_neither() -> None:
    frozen = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 1024)).requires_grad_(False)
    frozen[0].requires_grad_(True)
    weights = 4 * 8 * 14 * 14 * 1024
    found = predict_peak(frozen, SHAPE)
    assert found.training is not None and found.training < 1.2 * weights


class Decides(nn.Conv2d):
    """Puts out classes, which have no gradient."""

    def __init__(self) -> None:
        super().__init__(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).argmax(1)


class Detached(Decides):
    """Puts out what has left the graph."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, x).detach()


@torch.library.custom_op("fovea_tests::halved", mutates_args=())
def halved(x: Tensor) -> Tensor:
    return x / 2


@halved.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class WithoutGradients(Decides):
    """Has an operator of somebody's own without a backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = halved(nn.Conv2d.forward(self, x))
        return found


def test_what_cannot_be_trained_has_no_peak() -> None:
    one_value = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8))  # no spread over a single value
    nothing = nn.Sequential(nn.ReLU())
    for net in (one_value, nothing, Decides(), Detached(), WithoutGradients()):
        assert predict_peak(net, (1, 8, 4, 4)).training is None
        assert measure_peak(net, (1, 8, 4, 4)).training is None


def test_the_ledger_lets_go_of_what_is_gone() -> None:
    ledger, net = Ledger(), nn.Identity()
    with watch(net, ledger):
        kept = torch.zeros(1000)
        for _ in range(5):
            torch.zeros(2000)
        view = kept[:10]
    assert (ledger.live, ledger.peak) == (4000, 12000)
    del kept
    assert ledger.live == 4000  # the view holds its memory
    del view
    assert ledger.live == 0


def check_within_a_tenth(predicted: Peak, measured: Peak) -> None:
    assert predicted.training is not None
    assert predicted.inference == pytest.approx(measured.inference, rel=0.1)
    assert predicted.training == pytest.approx(measured.training, rel=0.1)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("squeezenet1_1", (2, 3, 96, 96)),
        pytest.param("shufflenet_v2_x0_5", (2, 3, 96, 96), marks=pytest.mark.slow),
    ],
)
def test_predictions_are_within_a_tenth_of_the_measured(name: str, shape: tuple[int, ...]) -> None:
    net = torchvision.models.get_model(name, weights=None).eval()
    check_within_a_tenth(predict_peak(net, shape), measure_peak(net, shape))
    assert not net.training and next(net.parameters()).grad is None


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "name",
    ["alexnet", "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_0", "shufflenet_v2_x1_0",
     "densenet121", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t"],
)  # fmt: skip
def test_predictions_are_within_a_tenth_over_the_catalogue(name: str, threads: int) -> None:
    net = torchvision.models.get_model(name, weights=None).eval()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check_within_a_tenth(predict_peak(net, (2, 3, 224, 224)), measure_peak(net, (2, 3, 224, 224)))
    finally:
        torch.set_num_threads(before)


def test_images_that_do_not_fit_are_explained() -> None:
    with pytest.raises(ModelError, match="does not run on an input of 1 × 4 × 8 × 8"):
        predict_peak(nn.Conv2d(3, 3, 1), (1, 4, 8, 8))
