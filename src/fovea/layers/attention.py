"""Attention: weights that depend on the input. Wraps timm and torch; Bahdanau's, hard and residual they have not.

Most are built from `channels` and map (B,C,H,W) to the same shape, to stand behind any layer of a network. `soft` and
`hard` read a set of features at the request of a query, as a decoder does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import GlobalContext, NonLocalAttn, SelectiveKernel, SEModule
from timm.layers.cbam import CbamModule, ChannelAttn, SpatialAttn
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.core.registry import Registry

ATTENTION: Registry[Callable[..., nn.Module]] = Registry("attention layer")


@ATTENTION.register("se", summary="x · σ(W₂ relu(W₁ mean x)), a factor for each channel (Hu 2018, §3)")
def squeeze_excite(channels: int, *, reduction: int = 16) -> nn.Module:
    """Return squeeze-and-excitation: each channel times σ(W₂ relu(W₁ z)), z the means of all channels over the map.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Hu, Shen & Sun 2018, "Squeeze-and-excitation networks", section 3.

    >>> squeeze_excite(32)(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """
    return SEModule(channels, rd_channels=_reduced(channels, reduction))


@ATTENTION.register("cbam", summary="a factor for each channel, then one for each place (Woo 2018, §3)")
def cbam(channels: int, *, reduction: int = 16, kernel_size: int = 7) -> nn.Module:
    """Return CBAM: its channel part, then its spatial part.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Woo et al. 2018, "CBAM: convolutional block attention module", section 3.

    >>> cbam(32)(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """
    return CbamModule(channels, rd_channels=_reduced(channels, reduction), spatial_kernel_size=kernel_size)


@ATTENTION.register("cbam_channel", summary="x · σ(MLP(mean x) + MLP(max x)) (Woo 2018, §3)")
def cbam_channel(channels: int, *, reduction: int = 16) -> nn.Module:
    """Return CBAM's channel part: as squeeze-and-excitation, with the maxima beside the means.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Woo et al. 2018, section 3, "Channel attention module".

    >>> cbam_channel(32)(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """
    return ChannelAttn(channels, rd_channels=_reduced(channels, reduction))


@ATTENTION.register("cbam_spatial", summary="x · σ(conv₇ₓ₇[mean, max over channels]) (Woo 2018, §3)")
def cbam_spatial(*, kernel_size: int = 7) -> nn.Module:
    """Return CBAM's spatial part: one factor for each place, from the mean and the maximum over its channels.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Woo et al. 2018, section 3, "Spatial attention module". timm normalises what the convolution gives.

    >>> cbam_spatial()(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """
    return SpatialAttn(kernel_size)


@ATTENTION.register("non_local", summary="x + W softmax(θφᵀ)g, every place reads every other (Wang 2018, §3)")
def non_local(channels: int, *, reduction: int = 2) -> nn.Module:
    """Return a non-local block (embedded Gaussian): x + W softmax(θ(x)φ(x)ᵀ)g(x). It begins as the identity.

    Time and memory grow with the square of H·W: for small maps.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Wang et al. 2018, "Non-local neural networks", sections 3.2 and 3.3; timm scales θφᵀ by 1 / √C.

    >>> x = torch.rand(2, 32, 5, 5)
    >>> torch.allclose(non_local(32).eval()(x), x)
    True
    """
    return NonLocalAttn(channels, rd_channels=_reduced(channels, reduction))


@ATTENTION.register("global_context", summary="x + MLP(Σ softmax(w·x)x), one reading for all places (Cao 2019)")
def global_context(channels: int, *, reduction: int = 8) -> nn.Module:
    """Return a global context block: x + W₂ relu(norm(W₁ c)), c = Σ softmax(w·x) x the mean of all places, weighted.

    What a non-local block reads is nearly the same at every place, so here it is read once, for all of them.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Cao et al. 2019, "GCNet: non-local networks meet squeeze-excitation networks and beyond".

    >>> global_context(32)(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """
    return GlobalContext(channels, rd_channels=_reduced(channels, reduction), fuse_add=True, fuse_scale=False)


@ATTENTION.register("coordinate", summary="x · σ(of its row) · σ(of its column), by channel (Hou 2021, §3)")
def coordinate(channels: int, *, reduction: int = 32) -> nn.Module:
    """Return coordinate attention: for each channel a factor by row and one by column, from the means along both.

    Args:
        channels: C.
        reduction: the means go through C / reduction channels, at least 8.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Hou, Zhou & Feng 2021, "Coordinate attention for efficient mobile network design", section 3.

    >>> coordinate(32)(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """
    from timm.layers.coord_attn import CoordAttn  # the oldest timm that we take has none

    return CoordAttn(channels, rd_channels=max(8, _reduced(channels, reduction)))


@ATTENTION.register("selective_kernel", summary="3×3 and 5×5 side by side, each weighed by channel (Li 2019, §3.1)")
def selective_kernel(channels: int, *, reduction: int = 16) -> nn.Module:
    """Return a selective kernel convolution: a 3×3 and a dilated 3×3 (for 5×5), mixed by a softmax for each channel.

    It works on the map itself, so it stands in place of a convolution. In training it needs two images or more: the
    softmax is read from normalised means.

    Args:
        channels: C.
        reduction: the means go through C / reduction channels, at least 32.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Li et al. 2019, "Selective kernel networks", section 3.1.

    >>> selective_kernel(32)(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """
    return SelectiveKernel(channels, split_input=False, rd_channels=max(32, _reduced(channels, reduction)))


def _reduced(channels: int, reduction: int) -> int:
    if reduction < 1:
        raise ValueError(f"reduction is {reduction}; the channels are divided by it, so it is from 1 on")
    return max(1, channels // reduction)


@ATTENTION.register("self", summary="x + multi-head softmax(QKᵀ/√d)V over all places (Vaswani 2017, §3.2)")
class SelfAttention2d(nn.Module):
    """Multi-head self-attention over the places of a map, added to it: x + softmax(QKᵀ / √d)V in each head.

    Places have no order unless the map carries it. Time and memory grow with the square of H·W.

    Args:
        channels: C; a multiple of `heads`.
        heads: how many, of d = C / heads channels each.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Raises:
        ValueError: the heads do not share the channels evenly.

    Source: Vaswani et al. 2017, "Attention is all you need", section 3.2.

    >>> SelfAttention2d(32, heads=4)(torch.zeros(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])
    """

    def __init__(self, channels: int, *, heads: int = 8) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"{channels} channels cannot be shared among {heads} heads; choose a divisor of {channels}"
            )
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Let every place read every other."""
        tokens = x.flatten(2).transpose(1, 2)  # (B,C,H,W) -> (B,N,C)
        read, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return x + read.transpose(1, 2).reshape(x.shape)  # (B,N,C) -> (B,C,H,W)


@ATTENTION.register("residual", summary="(1 + M(x)) · T(x), M a soft mask from a coarser map (Wang 2017, §3.1)")
class ResidualAttention(nn.Module):
    """Features emphasised by a soft mask, (1 + M(x)) · T(x), which cannot silence what a plain mask M would.

    The mask branch goes down by max pooling, up by interpolation, and ends in a sigmoid.

    Args:
        channels: C.
        trunk: T, (B,C,H,W) -> the same; by default the identity.
        depth: how often the mask branch halves the map.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Wang et al. 2017, "Residual attention network for image classification", sections 3.1 and 3.2.

    >>> ResidualAttention(8)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, channels: int, *, trunk: nn.Module | None = None, depth: int = 1) -> None:
        super().__init__()
        self.trunk = nn.Identity() if trunk is None else trunk
        steps = [
            step
            for _ in range(depth)
            for step in (
                nn.MaxPool2d(3, stride=2, padding=1),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
        ]
        self.down = nn.Sequential(*steps)
        self.mask = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Emphasise."""
        coarse = self.down(x)
        mask = torch.sigmoid(self.mask(F.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=False)))
        return (1 + mask) * self.trunk(x)


class AdditiveScore(nn.Module):
    """How much a query asks for each feature: e = vᵀ tanh(W q + U h) (Bahdanau 2015, appendix A.1.2).

    Args:
        query_size: Q.
        feature_size: C.
        hidden: how many tanh units.

    Shape: query (B,Q), features (B,N,C) -> (B,N).
    """

    def __init__(self, query_size: int, feature_size: int, *, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, hidden)
        self.feature = nn.Linear(feature_size, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, features: Tensor) -> Tensor:
        """Score each feature."""
        return self.score(torch.tanh(self.query(query)[:, None] + self.feature(features))).squeeze(-1)


@ATTENTION.register("soft", summary="Σ αₙhₙ, α = softmax(vᵀtanh(Wq + Uh)) (Bahdanau 2015, §3.1)")
class SoftAttention(nn.Module):
    """The mean of features, weighted by what a query asks for: c = Σ αₙhₙ, α = softmax(vᵀ tanh(W q + U hₙ)).

    For a map (B,C,H,W) the features are `map.flatten(2).transpose(1, 2)`.

    Args:
        query_size, feature_size, hidden: see `AdditiveScore`.

    Shape: query (B,Q), features (B,N,C) -> context (B,C), weights (B,N).

    Source: Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate",
    section 3.1; on images Xu et al. 2015, section 4.2.

    >>> context, weights = SoftAttention(5, 3)(torch.zeros(2, 5), torch.rand(2, 7, 3))
    >>> context.shape, weights.shape, weights.sum(1).detach().round(decimals=3)
    (torch.Size([2, 3]), torch.Size([2, 7]), tensor([1., 1.]))
    """

    def __init__(self, query_size: int, feature_size: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.score = AdditiveScore(query_size, feature_size, hidden=hidden)

    def forward(self, query: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Read the features."""
        weights = torch.softmax(self.score(query, features), -1)
        return (weights[..., None] * features).sum(1), weights


@ATTENTION.register("hard", summary="one hₙ, drawn with the weights α of soft attention (Xu 2015, §4.1)")
class HardAttention(nn.Module):
    """One feature, drawn with the weights of soft attention; when evaluating, the likeliest.

    A draw has no gradient: train the score by REINFORCE with the third result, for example
    `-(reward - baseline) * log_probability`. The mean over many draws is what soft attention gives.

    Args:
        query_size, feature_size, hidden: see `AdditiveScore`.

    Shape: query (B,Q), features (B,N,C) -> context (B,C), weights (B,N), log_probability (B,) of what was chosen.

    Source: Xu et al. 2015, "Show, attend and tell", section 4.1.

    >>> context, weights, log_probability = HardAttention(5, 3)(torch.zeros(2, 5), torch.rand(2, 7, 3))
    >>> context.shape, weights.shape, log_probability.shape
    (torch.Size([2, 3]), torch.Size([2, 7]), torch.Size([2]))
    """

    def __init__(self, query_size: int, feature_size: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.score = AdditiveScore(query_size, feature_size, hidden=hidden)

    def forward(self, query: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose a feature."""
        log_weights = torch.log_softmax(self.score(query, features), -1)
        weights = log_weights.exp()
        chosen = torch.multinomial(weights.detach(), 1) if self.training else weights.argmax(-1, keepdim=True)
        context = features.take_along_dim(chosen[..., None], 1).squeeze(1)  # (B,N,C) at (B,1,1) -> (B,C)
        return context, weights, log_weights.gather(-1, chosen).squeeze(-1)
