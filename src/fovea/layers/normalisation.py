"""Normalisation: (x − μ) / √(σ² + ε), then γx + β; the layers differ in what μ and σ² are taken over.

Every entry maps (B,C,H,W) to the same shape, and all but `lrn` are built from `channels`. Wraps torch and timm;
switchable normalisation they do not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from timm.layers import GroupNorm1, LayerNorm2d
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fovea.core.errors import ModelError
from fovea.core.registry import Registry
from fovea.layers.windows import precise

NORMALISATION: Registry[Callable[..., nn.Module]] = Registry("normalisation layer")


@NORMALISATION.register("lrn", summary="a / (k + α Σ a²)^β over neighbouring channels (Krizhevsky 2012, §3.3)")
@register_notrace_module
class LocalResponseNorm2d(nn.LocalResponseNorm):
    """Local response normalisation, a / (k + α Σ a²)^β, the sum over `size` neighbouring channels.

    Torch's, for half precision too; α is the paper's, which torch divides by `size`. There is nothing to learn, and no
    mean is subtracted.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 3.3.

    >>> LocalResponseNorm2d(size=3, alpha=1.0, beta=1.0, k=1.0)(torch.ones(1, 3, 1, 1)).flatten()
    tensor([0.3333, 0.2500, 0.3333])
    """

    def __init__(self, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__(size, alpha=alpha * size, beta=beta, k=k)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return super().forward(precise(x)).to(x.dtype)


@NORMALISATION.register(
    "batch", summary="μ, σ² over the batch and the map, a running mean of them later (Ioffe 2015, §3)"
)
def batch_norm(channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Return batch normalisation: each channel over (B,H,W); when evaluating, with running statistics.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Ioffe & Szegedy 2015, "Batch normalization", section 3.

    >>> batch_norm(1)(torch.tensor([[[[1.0]]], [[[3.0]]]])).detach().flatten().round(decimals=3)  # two images
    tensor([-1.,  1.])
    """
    return nn.BatchNorm2d(channels, eps=eps, momentum=momentum)


@NORMALISATION.register("layer", summary="μ, σ² over all of one image (Ba 2016, §3)")
def layer_norm(channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Return layer normalisation as it is meant for maps: each image over (C,H,W), γ and β by channel.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Ba, Kiros & Hinton 2016, "Layer normalization", section 3; on maps Wu & He 2018, section 3.1.

    >>> layer_norm(2)(torch.tensor([[[[1.0, 1.0]], [[3.0, 3.0]]]])).detach().flatten().round(decimals=3)
    tensor([-1., -1.,  1.,  1.])
    """
    return GroupNorm1(channels, eps=eps)


@NORMALISATION.register("layer_channels", summary="μ, σ² over the channels at each place (Liu 2022, §2.6)")
def channel_layer_norm(channels: int, *, eps: float = 1e-6) -> nn.Module:
    """Return layer normalisation as ConvNeXt and transformers use it: each place of each image over its channels.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Ba, Kiros & Hinton 2016, section 3; at each place Liu et al. 2022, "A ConvNet for the 2020s", section 2.6.

    >>> channel_layer_norm(2)(torch.tensor([[[[1.0]], [[3.0]]]])).detach().flatten().round(decimals=3)
    tensor([-1.,  1.])
    """
    return LayerNorm2d(channels, eps=eps)


@register_notrace_module
class MapInstanceNorm2d(nn.InstanceNorm2d):
    """Torch's instance normalisation with a word on maps of 1 × 1, of which it would leave nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        if x.shape[-2:].numel() == 1:
            raise ModelError(
                "instance normalisation of a map of 1 × 1 leaves nothing of it: each value is its own mean",
                hint="give larger images (data.input_size), or exchange normalisation where maps are larger (where=)",
            )
        return super().forward(x)


@NORMALISATION.register("instance", summary="μ, σ² over the map of each channel of each image (Ulyanov 2016, §2)")
def instance_norm(channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Return instance normalisation: each channel of each image over (H,W), with γ and β.

    Shape: (B,C,H,W) -> (B,C,H,W), of more than one position; raises `ModelError` of a single one.

    Source: Ulyanov, Vedaldi & Lempitsky 2016, "Instance normalization", section 2.

    >>> instance_norm(1)(torch.tensor([[[[1.0, 3.0]]]])).detach().flatten().round(decimals=3)
    tensor([-1.,  1.])
    """
    return MapInstanceNorm2d(channels, eps=eps, affine=True)


@NORMALISATION.register("group", summary="μ, σ² over groups of channels of each image (Wu & He 2018, §3)")
def group_norm(channels: int, *, groups: int | None = None, eps: float = 1e-5) -> nn.Module:
    """Return group normalisation: each of `groups` groups of channels over (C/groups,H,W).

    Args:
        groups: by default the paper's 32, or the greatest common divisor of 32 and `channels`.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Wu & He 2018, "Group normalization", section 3.

    >>> group_norm(24).num_groups
    8
    """
    return nn.GroupNorm(math.gcd(32, channels) if groups is None else groups, channels, eps=eps)


@NORMALISATION.register("switchable", summary="a learnt mixture of instance, layer and batch (Luo 2019)")
@register_notrace_module
class SwitchableNorm2d(_NormBase):
    """Means and variances of instance, layer and batch normalisation, each in a learnt mixture.

    μ = Σ wₖμₖ and σ² = Σ w'ₖσₖ² for k = instance, layer, batch; w and w' are softmaxes of the parameters `mean_logits`
    and `variance_logits` (3,), which begin equal. When evaluating, the batch's are running statistics, as in torch's
    batch normalisation.

    Shape: (B,C,H,W) -> (B,C,H,W).

    Source: Luo et al. 2019, "Differentiable learning-to-normalize via switchable normalization".

    >>> SwitchableNorm2d(1)(torch.tensor([[[[1.0, 3.0]]]])).detach().flatten().round(decimals=3)  # all three agree
    tensor([-1.,  1.])
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.mean_logits, self.variance_logits = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of each image."""
        wide = precise(x)
        mean = wide.mean((2, 3), keepdim=True)  # (B,C,1,1), and so are the others, or broadcast to it
        variance = wide.var((2, 3), unbiased=False, keepdim=True)
        square = variance + mean**2
        layer_mean = mean.mean(1, keepdim=True)
        layer_variance = square.mean(1, keepdim=True) - layer_mean**2
        batch_mean, batch_variance = self._batch_statistics(wide) if self.training else self._running_statistics()
        w, v = torch.softmax(precise(self.mean_logits), 0), torch.softmax(precise(self.variance_logits), 0)
        mean = w[0] * mean + w[1] * layer_mean + w[2] * batch_mean
        variance = v[0] * variance + v[1] * layer_variance + v[2] * batch_variance
        normalised = (wide - mean) / torch.sqrt(variance + self.eps)
        return (normalised * _by_channel(self.weight) + _by_channel(self.bias)).to(x.dtype)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        places = x.numel() // x.shape[1]
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            assert self.running_mean is not None and self.running_var is not None
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            unbiased = variance * places / max(1, places - 1)  # as torch keeps it
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        return _by_channel(mean), _by_channel(variance)

    def _running_statistics(self) -> tuple[Tensor, Tensor]:
        assert self.running_mean is not None and self.running_var is not None
        return _by_channel(self.running_mean), _by_channel(self.running_var)


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]  # (C,) -> (C,1,1), which broadcasts over (B,C,H,W)
