"""The weights a network begins with: known variances, signals that survive depth, codes as good as they can be."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from fovea.core.errors import UnknownName
from fovea.layers import initialise, pretrain_layerwise


def test_only_convolutions_and_linear_layers_are_touched_and_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2), nn.Linear(4, 2))
    norm = copy.deepcopy(net[1].state_dict())
    assert initialise(net, "zero") == ("0", "3", "4")
    assert all(net[index].weight.abs().sum() == net[index].bias.abs().sum() == 0 for index in (0, 3, 4))
    assert all(torch.equal(norm[name], value) for name, value in net[1].state_dict().items())
    with pytest.raises(UnknownName, match="unknown initialisation 'xaver'"):
        initialise(net, "xaver")


@pytest.mark.parametrize(
    ("rule", "deviation"),
    [("random", 0.01), ("xavier", math.sqrt(2 / (9 * 64 + 9 * 128))), ("kaiming", math.sqrt(2 / (9 * 64)))],
)
def test_the_deviation_is_the_papers(rule: str, deviation: float) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 128, 3)
    initialise(conv, rule)
    assert conv.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(conv.weight.mean().item()) < deviation / 50
    assert conv.bias.abs().sum() == 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose2d(256, 64, 4, stride=2, padding=1),
        nn.Conv2d(256, 256, 3, padding=1, groups=64),
        nn.ConvTranspose2d(256, 256, 2, stride=2, groups=4),
        nn.Conv2d(256, 64, 3, stride=2, dilation=2, padding=2),
    ],
    ids=["transposed", "grouped", "transposed in groups", "dilated"],
)
def test_kaiming_keeps_the_variance_whatever_the_layer(layer: nn.Module) -> None:
    torch.manual_seed(0)
    initialise(layer, "kaiming")
    found = layer(torch.randn(8, 256, 16, 16).relu())[..., 2:-2, 2:-2]  # edges see padding
    assert found.var().item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("rule", "low", "high"), [("kaiming", 0.3, 3.0), ("xavier", 0.0, 0.05), ("random", 0.0, 1e-9)])
def test_kaiming_alone_carries_a_signal_through_twenty_relu_layers(rule: str, low: float, high: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(step for _ in range(20) for step in (nn.Linear(128, 128), nn.ReLU())))
    initialise(net, rule)
    x = torch.randn(64, 128)
    assert low <= (net(x).square().mean() / x.square().mean()).sqrt().item() <= high


def test_a_linear_code_reaches_the_error_of_principal_components() -> None:
    torch.manual_seed(0)
    data = torch.randn(256, 8) @ torch.randn(8, 8)
    data -= data.mean(0)
    net = nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 2))
    batches = [data] * 8
    (learnt,) = pretrain_layerwise(net, batches, epochs=100, lr=1e-2, activation=lambda x: x)
    spectrum = torch.linalg.svdvals(data) ** 2 / data.numel()
    best = spectrum[3:].sum().item()  # Baldi & Hornik 1989: no linear code of 3 does better
    assert best <= learnt.after * 1.0001
    assert learnt.after == pytest.approx(best, rel=0.02)
    assert learnt.spread == pytest.approx(spectrum.sum().item(), rel=1e-3)
    assert learnt.layer == "0"


def test_noise_makes_it_harder_to_give_back_what_was_clean() -> None:
    torch.manual_seed(0)
    data = torch.randn(256, 8)

    def error(noise: float) -> float:
        net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
        return pretrain_layerwise(net, [data] * 8, epochs=40, lr=1e-2, activation=lambda x: x, noise=noise)[0].after

    assert error(0.0) < 0.01
    assert error(1.0) == pytest.approx(0.5, rel=0.1)  # half signal, half noise: the best answer is half of what comes


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=2, dilation=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 9, 5),
        nn.ReLU(),
        nn.Linear(5, 2),
    )


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_every_layer_but_the_last_learns_to_give_back_its_input(noise: float) -> None:
    net = small().train()
    head, statistics = copy.deepcopy(net[-1].state_dict()), copy.deepcopy(net[1].state_dict())
    batches = [torch.rand(8, 3, 14, 14) for _ in range(4)]
    learnt = pretrain_layerwise(net, batches, epochs=15, lr=5e-3, noise=noise)
    assert [each.layer for each in learnt] == ["0", "3", "6"]
    assert all(each.after < 0.8 * each.before for each in learnt)
    assert all(torch.equal(head[name], value) for name, value in net[-1].state_dict().items())
    assert all(torch.equal(statistics[name], value) for name, value in net[1].state_dict().items())
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_what_cannot_be_pretrained_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        pretrain_layerwise(small(), [])
    with pytest.raises(ValueError, match="Sequential runs 1 layers with weights"):
        pretrain_layerwise(nn.Sequential(nn.Linear(3, 2)), [torch.zeros(1, 3)])
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 4, 1))
    with pytest.raises(ValueError, match="not as 'same'"):
        pretrain_layerwise(net, [torch.zeros(1, 3, 4, 4)])
