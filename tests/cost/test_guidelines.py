"""What makes a network slow: each guideline is named with its layers where it is broken, and silent where it holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fovea.core.findings import Finding
from fovea.cost.counting import count
from fovea.cost.guidelines import foldable, judge, noisy, why_slow
from fovea.cost.latency import Measured, Prediction

Build = Callable[..., nn.Module]


def found_in(net: nn.Module, *shape: int) -> dict[str, Finding]:
    return {finding.code: finding for finding in judge(count(net.eval(), shape))}


def test_a_plain_network_breaks_none() -> None:
    assert found_in(nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 1)), 1, 16, 32, 32) == {}


def test_unequal_widths_are_named_worst_first() -> None:
    net = nn.Sequential(nn.Conv2d(16, 64, 1), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 8, 1))
    finding = found_in(net, 1, 16, 32, 32)["unequal-widths"]
    assert finding.evidence["layers"] == ["2", "0"]
    places = 32 * 32
    by_hand = [4 * places * (64 + 8 - 2 * (64 * 8) ** 0.5), 4 * places * (64 + 16 - 2 * (64 * 16) ** 0.5)]
    assert finding.evidence["bytes"] == [int(value) for value in by_hand]
    assert finding.message.startswith("G1: 2 1×1 convolutions of unequal widths")


def test_groups_are_named_with_their_shares() -> None:
    net = nn.Sequential(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16))
    finding = found_in(net, 1, 16, 32, 32)["many-groups"]
    assert finding.evidence["layers"] == ["1"]
    assert finding.message.startswith("G2: 1 depthwise convolution does 36 % of the MACs and moves 50 % of the bytes")


def test_many_branches_are_named(on_meta: Build) -> None:
    net = on_meta("torchvision/googlenet", aux_logits=False, init_weights=False)
    finding = found_in(net, 1, 3, 224, 224)["fragmented"]
    assert finding.message.startswith("G3: 9 places where 3 or more feature maps, at most 4, are put together")
    assert {"inception3a", "inception5b"} <= set(finding.evidence["layers"])
    assert "fragmented" not in found_in(on_meta("torchvision/squeezenet1_1"), 1, 3, 224, 224)  # joins two


def test_element_wise_operators_are_named_by_what_they_move() -> None:
    net = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Hardswish())
    finding = found_in(net, 1, 16, 32, 32)["element-wise"]
    assert "native_batch_norm, relu and hardswish" in finding.message and "75 % of the bytes" in finding.message
    assert set(finding.evidence["layers"]) == {"1", "2", "3"}


def test_batchnorms_that_can_be_folded_are_counted(on_meta: Build) -> None:
    net = on_meta("torchvision/resnet18")
    finding = foldable(net, count(net, (1, 3, 64, 64)))
    assert finding is not None and len(finding.evidence["layers"]) == 20
    assert finding.message.startswith("20 BatchNorms could be part of the convolution before")

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(images)  # type: ignore[no-any-return]

    assert foldable(Shared(), count(Shared().eval(), (1, 3, 4, 4))) is None


@pytest.mark.parametrize(
    ("prediction", "reason"),
    [
        (Prediction(3.0, 2.0, 1.0, 0.5), "arithmetic is what limits it"),
        (Prediction(3.0, 1.0, 2.0, 0.5), "moving data is what limits it"),
        (Prediction(3.0, 0.5, 0.1, 2.0), "starting operators is what limits it"),
        (Prediction(0.4, 0.3, 0.1, 0.1), "what this machine can do at best explains 40 % of that time"),
    ],
)
def test_where_time_goes_is_told_in_words(prediction: Prediction, reason: str) -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1))
    seconds = {"0": 0.2, "1": 0.7, "2": 0.1}
    finding = why_slow(seconds, prediction, count(net.eval(), (1, 4, 8, 8)))
    assert finding.message == "half of the time goes into 1 of 3 layers, which does 0 % of the MACs: 1 (ReLU)"
    assert finding.fix.startswith(reason)


def test_time_that_other_programs_had_is_not_the_networks() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    told = {"0": 0.5, "1": 0.5}, Prediction(0.2, 0.2, 0.1, 0.1), count(net.eval(), (1, 4, 8, 8))
    assert why_slow(*told).evidence["explained"] == pytest.approx(0.2)
    busy = why_slow(*told, running=0.25)
    assert busy.evidence["explained"] == pytest.approx(0.8) and busy.fix.startswith("arithmetic is what limits it")


def test_a_busy_machine_is_told_of() -> None:
    assert noisy(Measured(1.0, {}, 0.99, 20)) is None
    finding = noisy(Measured(1.0, {}, 0.6, 20))
    assert finding is not None and finding.severity == "warning" and "for 40 % of the time" in finding.message


def test_judging_runs_on_networks_without_data(on_meta: Build) -> None:
    net = on_meta("mobilenetv3_small_050")
    assert {"many-groups", "element-wise"} <= found_in(net, 1, 3, 96, 96).keys()
    assert all(parameter.device == torch.device("meta") for parameter in net.parameters())


def test_a_network_that_moves_nothing_has_no_findings() -> None:
    assert judge(count(nn.Identity(), (1, 3, 8, 8))) == []
