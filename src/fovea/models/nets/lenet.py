"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998, II.B).

Layers and sizes are the paper's: 61,706 parameters for 10 classes. As everybody builds it today, C3 sees all maps of
S2, subsampling averages without coefficients of its own, tanh is not scaled, and a linear layer stands in for the
radial basis functions. C5 is the convolution that the paper calls it, so a larger image gives a larger map, which is
averaged.
"""

from __future__ import annotations

import torch
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.models.nets.net import Net, Stage
from fovea.models.nets.registry import register

_SMALLEST = 32  # pixels a side: what C5 needs
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601; exact, because all channels are normalised alike


@register_notrace_module
class ToInput(nn.Module):
    """Make any image one that LeNet-5 can take: RGB becomes grey, small images get a rim of their border's colour.

    (B, C, H, W) with C = 3 or as many as the network sees -> (B, channels, max(H, 32), max(W, 32)).

    The paper does the latter too: its digits have 20 × 20 pixels in a field of 32 × 32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 3 and self.channels == 1:
            weights = torch.tensor(_LUMINANCE, dtype=x.dtype, device=x.device)
            x = (x * weights[:, None, None]).sum(1, keepdim=True)  # (B,3,H,W) -> (B,1,H,W)
        high, wide = (max(0, _SMALLEST - side) for side in x.shape[-2:])
        if high or wide:
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2), mode="replicate")
        return x


class LeNetHead(nn.Module):
    """The mean over the map, F6 and the classifier: (B, 120, h, w) -> logits (B, K)."""

    def __init__(self, num_classes: int, *, drop_rate: float) -> None:
        super().__init__()
        self.num_features = 84
        self.f6 = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(120, 84), nn.Tanh())
        self.drop = nn.Dropout(drop_rate)
        self.fc: nn.Module = nn.Linear(84, num_classes)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(self.f6(x))
        return x if pre_logits else self.fc(x)

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        """Put a fresh classifier in the place of the old one; the pooling is always the mean."""
        self.fc = nn.Linear(84, num_classes) if num_classes else nn.Identity()


@register(
    "lenet5",
    summary="LeNet-5, which read handwritten digits",
    first_conv="stages.0.1",
    stages=3,
    input_size=32,
    in_chans=1,
    classes=10,
    centred=True,
)
def lenet5(*, num_classes: int = 10, in_chans: int = 1, drop_rate: float = 0.0) -> Net:
    """Build LeNet-5; with one input channel it takes RGB images too, as grey."""
    stages = [
        Stage(nn.Sequential(ToInput(in_chans), nn.Conv2d(in_chans, 6, 5), nn.Tanh()), 6, 1),  # C1: 28 × 28
        Stage(nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh()), 16, 2),  # S2, C3: 10 × 10
        Stage(nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(16, 120, 5), nn.Tanh()), 120, 4),  # S4, C5: 1 × 1
    ]
    head = LeNetHead(num_classes, drop_rate=drop_rate)
    return Net(stages, head, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate)
