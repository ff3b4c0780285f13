"""Pooling: windows lie where torch puts them, each layer reduces to a simpler one, and nothing overflows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.layers import POOLING, create
from fovea.layers.pooling import (
    DetailPreservingPool2d,
    GatedPool2d,
    LocalImportancePool2d,
    MixedPool2d,
    PowerAveragePool2d,
    SoftPool2d,
    StochasticPool2d,
)
from fovea.layers.windows import WindowPool2d

WINDOWED = [name for name in POOLING.names() if name not in ("global", "max", "average")]
GEOMETRIES = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (2, 3), "stride": (3, 1), "padding": (1, 0), "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},  # torch drops the last window here
]


def positive(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.1


def average(x: Tensor, **geometry: object) -> Tensor:
    options = dict(geometry)
    return F.avg_pool2d(x, options.pop("kernel_size"), count_include_pad=False, **options)  # type: ignore[arg-type]


def build(name: str, **options: object) -> nn.Module:
    return create("pool", name, **({"channels": 3} if name == "lip" else {}), **options)


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (5, 12)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_windows_lie_where_torch_puts_them(geometry: dict, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    seen = WindowPool2d(**geometry).windows(x)
    assert torch.equal(seen.largest(), F.max_pool2d(x, **geometry))
    torch.testing.assert_close(seen.mean(), average(x, **geometry))


def test_dilated_windows_lie_where_torch_puts_them() -> None:
    x, geometry = torch.randn(1, 2, 11, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}
    assert torch.equal(WindowPool2d(**geometry).windows(x).largest(), F.max_pool2d(x, **geometry))


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_pooling_gives_the_size_that_torch_gives_and_stays_between_minimum_and_maximum(
    name: str, geometry: dict
) -> None:
    x = positive(2, 3, 7, 9)
    out = build(name, **geometry).eval()(x)
    lowest, highest = -F.max_pool2d(-x, **geometry), F.max_pool2d(x, **geometry)
    assert out.shape == highest.shape
    assert (out >= lowest - 1e-5).all() and (out <= highest + 1e-5).all()


@pytest.mark.parametrize("name", sorted({*WINDOWED, "max", "average"} - {"gated"}))
def test_without_a_kernel_the_whole_map_is_one_window(name: str) -> None:
    x = positive(2, 3, 5, 7)
    whole, windowed = build(name, kernel_size=None).eval(), build(name, kernel_size=(5, 7)).eval()
    windowed.load_state_dict(whole.state_dict())
    torch.testing.assert_close(whole(x), windowed(x))
    assert whole(x).shape == (2, 3, 1, 1)


def test_softpool_is_the_papers_formula() -> None:
    x, pool = torch.randn(2, 3, 7, 9), SoftPool2d(kernel_size=3, stride=2)
    naive = F.avg_pool2d(x * x.exp(), 3, 2) / F.avg_pool2d(x.exp(), 3, 2)
    torch.testing.assert_close(pool(x), naive)


def test_softpool_of_a_known_window() -> None:
    x = torch.tensor([[[[0.0, math.log(3)], [0.0, 0.0]]]])  # weights 1/6, 3/6, 1/6, 1/6
    assert SoftPool2d(kernel_size=2)(x).item() == pytest.approx(math.log(3) / 2)


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_of_ten_thousand_do_not_overflow(name: str, dtype: torch.dtype) -> None:
    x = (1e4 * positive(2, 3, 9, 9)).to(dtype).requires_grad_()
    pool = build(name, kernel_size=3, stride=2, padding=1).to(dtype)
    out = pool(x)
    out.float().sum().backward()
    assert out.dtype == dtype
    assert torch.isfinite(out).all() and torch.isfinite(x.grad).all()
    assert all(torch.isfinite(weight.grad).all() for weight in pool.parameters() if weight.grad is not None)
    assert out.max() > 5e3


def test_lip_with_its_logits_of_ten_thousand_is_the_maximum() -> None:
    x = 1e4 * torch.randn(2, 3, 8, 8)
    pool = LocalImportancePool2d(3, kernel_size=2, logit=nn.Identity())
    torch.testing.assert_close(pool(x), F.max_pool2d(x, 2))


def test_lip_takes_one_image_of_one_place() -> None:
    x = torch.randn(1, 3, 1, 1)
    assert torch.equal(LocalImportancePool2d(3, kernel_size=None)(x), x)


class Times(nn.Module):
    """Logits that are the map times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_lip_reduces_to_average_softpool_and_maximum(geometry: dict) -> None:
    x = torch.randn(2, 3, 7, 9)
    zero, same, steep = (LocalImportancePool2d(3, logit=Times(factor), **geometry) for factor in (0.0, 1.0, 20.0))
    torch.testing.assert_close(zero(x), average(x, **geometry))
    torch.testing.assert_close(same(x), SoftPool2d(**geometry)(x))
    assert (steep(x) - F.max_pool2d(x, **geometry)).abs().mean() < 0.02


def test_lip_begins_as_the_average_and_its_importance_is_learnt() -> None:
    x, pool = torch.randn(2, 3, 8, 8), LocalImportancePool2d(3, kernel_size=2)
    torch.testing.assert_close(pool(x), F.avg_pool2d(x, 2))
    pool(x).square().sum().backward()
    assert pool.logit.norm.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_mixed_pooling_between_maximum_and_average(geometry: dict) -> None:
    x, pool = torch.randn(2, 3, 7, 9), MixedPool2d(alpha=0.25, **geometry)
    highest, mean = F.max_pool2d(x, **geometry), average(x, **geometry)
    torch.testing.assert_close(pool(x), 0.25 * highest + 0.75 * mean)
    for logit, oracle in ((-100.0, mean), (100.0, highest)):  # α = 0 and α = 1
        pool.logit.data.fill_(logit)
        torch.testing.assert_close(pool(x), oracle)


def test_gated_pooling_decides_for_each_window() -> None:
    x = positive(1, 1, 2, 4)
    x[..., 2:] *= -1
    pool = GatedPool2d(kernel_size=2)
    torch.testing.assert_close(pool(x), (F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)) / 2)  # ω = 0: as mixed at a half
    pool.mask.data.fill_(1e3)  # σ(ω·a) is 1 where a is positive, 0 where it is negative
    torch.testing.assert_close(pool(x)[..., 0], F.max_pool2d(x, 2)[..., 0])
    torch.testing.assert_close(pool(x)[..., 1], F.avg_pool2d(x, 2)[..., 1])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_power_average_is_the_average_at_one_and_the_maximum_far_out(geometry: dict) -> None:
    x = positive(2, 3, 7, 9)
    torch.testing.assert_close(PowerAveragePool2d(p=1.0, **geometry)(x), average(x, **geometry))
    torch.testing.assert_close(
        PowerAveragePool2d(p=2000.0, **geometry)(x), F.max_pool2d(x, **geometry), rtol=2e-3, atol=0
    )


def test_power_average_of_a_known_window_and_towards_zero() -> None:
    x = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])
    assert PowerAveragePool2d(p=2.0, kernel_size=2)(x).item() == pytest.approx(math.sqrt(85 / 4))
    assert PowerAveragePool2d(p=1e-3, kernel_size=2)(x).item() == pytest.approx(64**0.25, rel=2e-3)  # geometric mean
    torch.testing.assert_close(PowerAveragePool2d(p=3.0, kernel_size=2)(x) * 4 ** (1 / 3), nn.LPPool2d(3.0, 2)(x))


def test_power_average_of_what_has_no_power() -> None:
    x = torch.tensor([[[[-3.0, 0.0], [0.0, -1.0]], [[-3.0, 0.0], [5.0, 0.0]]]], requires_grad=True)
    pool = PowerAveragePool2d(p=3.0, kernel_size=2)
    out = pool(x)
    assert out.flatten().tolist() == pytest.approx([1e-6, 5 / 4 ** (1 / 3)], rel=1e-4)
    out.sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(pool.log_p.grad)


@pytest.mark.parametrize("p", [0.0, -1.0, math.inf, math.nan])
def test_a_power_that_is_none_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="a power mean needs 0 < p < ∞"):
        PowerAveragePool2d(p=p, kernel_size=2)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_detail_preserving_pooling_is_the_average_at_lambda_zero(geometry: dict) -> None:
    x, pool = torch.randn(2, 3, 7, 9), DetailPreservingPool2d(**geometry)
    pool.log_lambda.data.fill_(-math.inf)
    torch.testing.assert_close(pool(x), average(x, **geometry))


def test_detail_preserving_pooling_is_the_papers_formula() -> None:
    x, pool = torch.randn(1, 2, 6, 8), DetailPreservingPool2d(kernel_size=2)
    pool.log_alpha.data.fill_(math.log(0.3))
    pool.log_lambda.data.fill_(math.log(1.7))
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16
    mean = F.pad(F.avg_pool2d(x, 2), (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(mean, binomial.expand(2, 1, 3, 3), groups=2)
    distance = x - smooth.repeat_interleave(2, -1).repeat_interleave(2, -2)
    weight = 0.3 + (distance**2 + 1e-6).sqrt() ** 1.7
    torch.testing.assert_close(pool(x), F.avg_pool2d(weight * x, 2) / F.avg_pool2d(weight, 2))


def test_asymmetric_detail_lifts_what_is_brighter_only() -> None:
    x = torch.zeros(1, 1, 2, 4)
    x[..., 0, 0], x[..., 0, 3] = 4.0, -4.0
    both, bright = (DetailPreservingPool2d(kernel_size=2, symmetric=flag) for flag in (True, False))
    assert both(x)[..., 0].item() == pytest.approx(-both(x)[..., 1].item())
    assert bright(x)[..., 1].item() > both(x)[..., 1].item()  # the dark place counts for less


def test_stochastic_pooling_draws_by_activation_and_evaluates_to_the_mean_of_its_draws() -> None:
    torch.manual_seed(0)
    x = torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])
    pool = StochasticPool2d(kernel_size=2)
    draws = pool(x.expand(60_000, -1, -1, -1)).flatten()
    shares = [(draws == value).float().mean().item() for value in (1.0, 2.0, 3.0, -4.0)]
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0], abs=0.01)
    expected = pool.eval()(x).item()
    assert expected == pytest.approx((1 + 4 + 9) / 6)
    assert draws.mean().item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("training", [True, False])
def test_stochastic_pooling_of_nothing_gives_nothing(training: bool) -> None:
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    out = StochasticPool2d(kernel_size=3, stride=2, padding=1).train(training)(x - torch.eye(4))
    out.sum().backward()
    assert out.abs().sum() == 0 and torch.isfinite(x.grad).all()


def test_stochastic_pooling_sends_the_gradient_to_what_was_drawn() -> None:
    torch.manual_seed(1)
    x = positive(1, 2, 6, 6).requires_grad_()
    out = StochasticPool2d(kernel_size=2)(x)
    out.sum().backward()
    assert x.grad.sum() == out.numel() and set(x.grad.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gated", {"kernel_size": None}, "needs a kernel_size"),
        ("mixed", {"kernel_size": 2, "alpha": 1.0}, "'max' is that"),
        ("softpool", {"kernel_size": 3, "padding": 2}, "at most half"),
        ("softpool", {"kernel_size": 0}, "kernel_size is \\(0, 0\\); it is a number of places from 1 on"),
        ("lip", {"channels": 3, "kernel_size": 2, "stride": (2, 0)}, "stride is \\(2, 0\\)"),
        ("softpool", {}, "kernel_size"),
        ("lip", {"kernel_size": 2}, "channels"),
        ("softpool", {"kernel_size": 2, "strides": 2}, "strides"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create("pool", name, **options)


@pytest.mark.parametrize("x", [torch.zeros(4, 9, 9), torch.zeros(1, 4, 9, 9, dtype=torch.int64)])
def test_what_is_no_map_is_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"pooling takes maps \(B,C,H,W\) of floating-point numbers, not torch\."):
        SoftPool2d(kernel_size=2)(x)


def test_a_map_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a map of 2 places .* smaller than the window, 3"):
        SoftPool2d(kernel_size=3)(torch.zeros(1, 1, 2, 5))


def test_global_pooling_takes_any_of_them() -> None:
    x = positive(2, 3, 4, 5)
    torch.testing.assert_close(create("pool", "global", flatten=True)(x), x.mean((2, 3)))
    gem = create("pool", "global", pool="power_average")(x)
    torch.testing.assert_close(gem, x.pow(3).mean((2, 3), keepdim=True) ** (1 / 3))
    assert create("pool", "global", pool="lip", channels=3)(x).shape == (2, 3, 1, 1)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_means_computed_place_by_place_have_the_gradients_of_windows_laid_out(geometry: dict) -> None:
    values, logits = (torch.randn(1, 2, 5, 6, dtype=torch.double, requires_grad=True) for _ in range(2))

    def by_map(values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return WindowPool2d(**geometry).windows(values).weighted_by(logits)

    def by_itself(values: torch.Tensor) -> torch.Tensor:
        return WindowPool2d(**geometry).windows(values).weighted_by_itself()

    seen, other = (WindowPool2d(**geometry).windows(each) for each in (values, logits))
    torch.testing.assert_close(by_map(values, logits), seen.weighted_mean(other.values))
    torch.testing.assert_close(by_itself(values), seen.weighted_mean(seen.values))
    for function, inputs in ((by_map, (values, logits)), (by_itself, (values,))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
    assert torch.autograd.gradcheck(by_map, (values.detach(), logits))


def test_softpool_compiles_without_a_break() -> None:
    pool, x = SoftPool2d(kernel_size=3, stride=2, padding=1), torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(torch.compile(pool, fullgraph=True, backend="eager")(x), pool(x))
