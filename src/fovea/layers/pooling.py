"""Pooling: one number for a window of a map, ten ways. Regions given by boxes are for `roi`.

Every layer takes keyword arguments under torch's names (`kernel_size`, `stride`, `padding`, `dilation`, `ceil_mode`,
see `windows.WindowPool2d`); `kernel_size=None` pools the whole map. All map (B,C,H,W) to (B,C,H',W'). In the formulas a
is what lies in a window and N how many places it has; padding is never one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.core.registry import Registry
from fovea.layers.windows import Geometry, Size, WindowPool2d, Windows, precise

POOLING: Registry[Callable[..., nn.Module]] = Registry("pooling layer")


@POOLING.register("max", summary="max a, the strongest response (Riesenhuber & Poggio 1999)")
def max_pool(
    *,
    kernel_size: Size | None,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> nn.Module:
    """Return torch's max pooling: the strongest response of each window, wherever in it.

    Shape: (B,C,H,W) -> (B,C,H',W').

    Source: Riesenhuber & Poggio 1999, "Hierarchical models of object recognition in cortex".

    >>> max_pool(kernel_size=2)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()
    6.0
    """
    if kernel_size is None:
        return nn.AdaptiveMaxPool2d(1)
    return nn.MaxPool2d(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)


@POOLING.register("average", summary="Σa / N, the mean response (LeCun 1998, §II.B)")
def average_pool(
    *, kernel_size: Size | None, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
) -> nn.Module:
    """Return torch's average pooling, with padding left out of the mean (torch counts it in unless told).

    Shape: (B,C,H,W) -> (B,C,H',W').

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B.

    >>> average_pool(kernel_size=2)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()
    3.0
    """
    if kernel_size is None:
        return nn.AdaptiveAvgPool2d(1)
    return nn.AvgPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=False)


@POOLING.register("global", summary="any of these over the whole map; by default the mean (Lin 2014, §3.2)")
def global_pool(*, pool: str = "average", channels: int | None = None, flatten: bool = False) -> nn.Module:
    """Return a layer that pools a whole map of any size.

    Args:
        pool: another entry. The mean is the paper's; `power_average` over the whole map is known as GeM.
        channels: for an entry that asks for them.
        flatten: whether to drop the two axes.

    Shape: (B,C,H,W) -> (B,C,1,1), or (B,C) with `flatten`.

    Source: Lin, Chen & Yan 2014, "Network in network", section 3.2.

    >>> global_pool(flatten=True)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).tolist()
    [[3.0]]
    """
    build = POOLING[pool].build
    layer = build(kernel_size=None) if channels is None else build(channels, kernel_size=None)
    return nn.Sequential(layer, nn.Flatten()) if flatten else layer


@POOLING.register("mixed", summary="α max a + (1 − α) mean a, α learnt (Lee 2016, §3.1)")
class MixedPool2d(WindowPool2d):
    """Maximum and mean in a learnt proportion, α max a + (1 − α) mean a, with one α for the layer.

    α is the sigmoid of the parameter `logit`, so it stays between 0 (average) and 1 (max).

    Args:
        alpha: where learning begins, between 0 and 1.

    Shape: (B,C,H,W) -> (B,C,H',W').

    Source: Lee, Gallagher & Tu 2016, "Generalizing pooling functions in convolutional neural networks", section 3.1.

    >>> MixedPool2d(alpha=0.25, kernel_size=2)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()  # 6 / 4 + 3 · 3 / 4
    3.75
    """

    def __init__(self, *, alpha: float = 0.5, **geometry: Unpack[Geometry]) -> None:
        super().__init__(**geometry)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}; it lies between 0 ('average' is that) and 1 ('max' is that)")
        self.logit = nn.Parameter(torch.tensor(math.log(alpha / (1 - alpha))))

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Mix the maximum and the mean."""
        alpha = torch.sigmoid(self.logit)
        return alpha * seen.largest() + (1 - alpha) * seen.mean()


@POOLING.register("gated", summary="as mixed, with α = σ(ω·a) from the window itself (Lee 2016, §3.1)")
class GatedPool2d(WindowPool2d):
    """Maximum and mean in a proportion that each window decides, α = σ(ω·a), with one learnt ω for the layer.

    ω (the parameter `mask`) has a weight for each place, so the layer needs a kernel. It begins at 0, as `mixed` does.

    Shape: (B,C,H,W) -> (B,C,H',W').

    Raises:
        ValueError: there is no kernel.

    Source: Lee, Gallagher & Tu 2016, section 3.1 ("gated max-average pooling").

    >>> GatedPool2d(kernel_size=2)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()  # (6 + 3) / 2
    4.5
    """

    def __init__(self, **geometry: Unpack[Geometry]) -> None:
        super().__init__(**geometry)
        if self.kernel_size is None:
            raise ValueError("gated pooling learns a weight for each place of its window: it needs a kernel_size")
        self.mask = nn.Parameter(torch.zeros(math.prod(self.kernel_size)))  # (N,)

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Mix the maximum and the mean as each window says."""
        gate = torch.sigmoid((seen.values * self.mask[:, None, None]).sum(2))
        return gate * seen.largest() + (1 - gate) * seen.mean()


@POOLING.register("stochastic", summary="one of a, drawn with p = a / Σa; evaluating, Σpa (Zeiler & Fergus 2013, §3)")
class StochasticPool2d(WindowPool2d):
    """One place of each window, drawn with probability p = a / Σa; when evaluating, its expectation Σpa.

    Made for what a ReLU lets through: negative numbers count as 0, and a window of zeros gives 0. The gradient goes to
    the place that was drawn. Draws come from torch's global generator.

    Shape: (B,C,H,W) -> (B,C,H',W').

    Source: Zeiler & Fergus 2013, "Stochastic pooling for regularization of deep convolutional neural networks",
    section 3.

    >>> pool = StochasticPool2d(kernel_size=2).eval()
    >>> pool(torch.tensor([[[[1.0, 2.0], [0.0, 1.0]]]])).item()  # 1/4 · 1 + 2/4 · 2 + 0 + 1/4 · 1
    1.5
    """

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Draw, or take the expectation."""
        values = seen.values.clamp_min(0)
        total = values.sum(2, keepdim=True)
        if not self.training:
            return (values / total.where(total > 0, 1) * values).sum(2)
        chances = values.detach().where(total > 0, 1).movedim(2, -1)  # (B,C,N,H',W') -> (B,C,H',W',N)
        drawn = torch.multinomial(chances.flatten(0, -2), 1).view(chances.shape[:-1])
        return values.gather(2, drawn.unsqueeze(2)).squeeze(2)


@POOLING.register("power_average", summary="(Σaᵖ / N)^(1/p), p learnt; over the whole map GeM (Gulcehre 2014)")
class PowerAveragePool2d(WindowPool2d):
    """The power mean (Σaᵖ / N)^(1/p) with one learnt p > 0: p = 1 is the average, p → ∞ the maximum.

    The parameter is `log_p`, so p never reaches 0, where the formula ends; towards 0 it is the geometric mean. All is
    computed on logarithms, where aᵖ cannot overflow. Negative numbers have no power mean: what is below `smallest`
    counts as `smallest` and gets no gradient, as in GeM.

    Args:
        p: where learning begins.

    Shape: (B,C,H,W) -> (B,C,H',W').

    Sources: Gulcehre et al. 2014, "Learned-norm pooling for deep feedforward and recurrent neural networks";
    over the whole map Radenović et al. 2018, "Fine-tuning CNN image retrieval with no human annotation", section 3.2.

    >>> pool = PowerAveragePool2d(p=2.0, kernel_size=2)
    >>> round(pool(torch.tensor([[[[1.0, 2.0], [2.0, 4.0]]]])).item(), 4)  # √(25 / 4)
    2.5
    """

    smallest = 1e-6

    def __init__(self, *, p: float = 3.0, **geometry: Unpack[Geometry]) -> None:
        super().__init__(**geometry)
        if not 0 < p < math.inf:
            raise ValueError(f"p is {p}; a power mean needs 0 < p < ∞ ('max' is the limit)")
        self.log_p = nn.Parameter(torch.tensor(math.log(p)))

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Take the power mean."""
        p = precise(self.log_p).exp()
        powers = seen.barred(p * seen.values.clamp_min(self.smallest).log())  # log aᵖ
        count = torch.as_tensor(seen.count(), dtype=powers.dtype, device=powers.device)
        return ((torch.logsumexp(powers, 2) - count.log()) / p).exp()


@POOLING.register(
    "detail_preserving", summary="mean weighted by α + d^λ, d the distance from a smoothed map (Saeedan 2018)"
)
class DetailPreservingPool2d(WindowPool2d):
    """A mean that favours what differs from its surroundings: weights α + √(d² + ε²)^λ with learnt α and λ.

    d is a less the map that is downscaled by means and then smoothed by the binomial (1,2,1); λ = 0 is the average. The
    parameters are `log_alpha` and `log_lambda`, one each for the layer, so that both numbers stay positive; learning
    begins at α = λ = 1.

    Args:
        symmetric: whether what is darker counts like what is brighter; if not, d = max(0, d).

    Shape: (B,C,H,W) -> (B,C,H',W').

    Source: Saeedan et al. 2018, "Detail-preserving pooling in deep networks", after Weber et al. 2016.

    >>> pool = DetailPreservingPool2d(kernel_size=2)  # the mean is 3: weights are about 1 + 2, 1 + 1, 1 + 0, 1 + 3
    >>> round(pool(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item(), 2)
    3.4
    """

    epsilon = 1e-3

    def __init__(self, *, symmetric: bool = True, **geometry: Unpack[Geometry]) -> None:
        super().__init__(**geometry)
        self.symmetric = symmetric
        self.log_alpha, self.log_lambda = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.0))

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Take the mean weighted by detail."""
        detail = seen.values - _smoothed(seen.mean()).unsqueeze(2)
        if not self.symmetric:
            detail = detail.clamp_min(0)
        magnitude = (detail**2 + self.epsilon**2).sqrt()
        reward = precise(self.log_lambda).exp() * magnitude.log()
        return seen.weighted_mean(torch.logaddexp(precise(self.log_alpha), reward))


def _smoothed(x: Tensor) -> Tensor:
    """Return maps (B,C,H,W) under the binomial filter (1,2,1) / 4 along both axes; the border is repeated."""
    tap = x.new_tensor([0.25, 0.5, 0.25])
    padded = F.pad(x.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")  # (B,C,H,W) -> (B*C,1,H+2,W+2)
    return F.conv2d(padded, torch.outer(tap, tap)[None, None]).view_as(x)


@POOLING.register("lip", summary="Σ a e^G / Σ e^G, G a small network on the map (Gao 2019)")
class LocalImportancePool2d(WindowPool2d):
    """A mean weighted by learnt importance, Σ a e^G / Σ e^G, where G is a network from the map to logits of its shape.

    By default G is the paper's projection, 12 σ(norm(conv(x))); its scale begins at 0, so learning begins with the
    average. G(x) = x is SoftPool.

    Args:
        channels: of the map.
        logit: another G, (B,C,H,W) -> (B,C,H,W).

    Shape: (B,C,H,W) -> (B,C,H',W').

    Source: Gao, Wang & Wu 2019, "LIP: local importance-based pooling".

    >>> LocalImportancePool2d(1, kernel_size=2)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()
    3.0
    """

    def __init__(self, channels: int, *, logit: nn.Module | None = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(**geometry)
        self.logit = ImportanceLogit(channels) if logit is None else logit

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Take the mean weighted by importance."""
        return seen.weighted_by(self.logit(x))


class ImportanceLogit(nn.Module):
    """LIP's projection: 12 times the sigmoid of a normalised 1×1 convolution, (B,C,H,W) -> (B,C,H,W)."""

    largest = 12.0

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.norm = nn.GroupNorm(channels, channels)  # one channel a group: instance normalisation
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the importance of each place."""
        norm = self.norm  # called as a function, since the layer refuses one image of one place
        normalised = torch.group_norm(self.conv(x), norm.num_groups, norm.weight, norm.bias, norm.eps)
        return self.largest * torch.sigmoid(normalised)


@POOLING.register("softpool", summary="Σ a eᵃ / Σ eᵃ, a soft maximum without parameters (Stergiou 2021)")
class SoftPool2d(WindowPool2d):
    """The softmax-weighted mean Σ a eᵃ / Σ eᵃ: near the average for small activations, near the maximum for large ones.

    Shape: (B,C,H,W) -> (B,C,H',W').

    Source: Stergiou, Poppe & Kalliatakis 2021, "Refining activation downsampling with SoftPool".

    >>> SoftPool2d(kernel_size=2)(torch.tensor([[[[0.0, 1e4], [0.0, 0.0]]]])).item()
    10000.0
    """

    def pool(self, seen: Windows, x: Tensor) -> Tensor:
        """Take the mean weighted by itself."""
        return seen.weighted_by_itself()
