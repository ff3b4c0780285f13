"""Network in Network (Lin, Chen and Yan 2013, arXiv 1312.4400), as the authors' Caffe model for ImageNet.

7,595,176 parameters and 1,100,188,800 multiply-accumulates at 224 × 224. One thing differs: no ReLU between classifier
and pooling. A class whose scores are all below zero would learn nothing, and a sigmoid would never say "unlikely".
"""

from __future__ import annotations

from torch import Tensor, nn

from fovea.models.nets.net import Net, Stage, initialise
from fovea.models.nets.registry import register


class ConvHead(nn.Module):
    """A 1 × 1 convolution as classifier, then the mean over the map: (B, C, h, w) -> logits (B, K)."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.fc: nn.Module = nn.Conv2d(num_features, num_classes, 1)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.pool(x if pre_logits else self.fc(x))

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        """Put a fresh classifier in the place of the old one; the pooling is always the mean."""
        self.fc = nn.Conv2d(self.num_features, num_classes, 1) if num_classes else nn.Identity()


def _mlpconv(inputs: int, outputs: int, *, kernel: int, stride: int = 1, padding: int = 0, depth: int) -> nn.Sequential:
    """Return a convolution with `depth` 1 × 1 convolutions behind it, which work as a small network on every patch."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(outputs, outputs, 1), nn.ReLU()]
    return nn.Sequential(*layers)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)  # Caffe rounds up


@register("nin", summary="Network in Network, the Caffe model for ImageNet", first_conv="stages.0.0", stages=4)
def nin(*, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0) -> Net:
    """Build Network in Network; the authors train with drop_rate 0.5."""
    last = _mlpconv(384, 1024, kernel=3, padding=1, depth=1)
    stages = [
        Stage(_mlpconv(in_chans, 96, kernel=11, stride=4, depth=2), 96, 4),
        Stage(nn.Sequential(_pool(), *_mlpconv(96, 256, kernel=5, padding=2, depth=2)), 256, 8),
        Stage(nn.Sequential(_pool(), *_mlpconv(256, 384, kernel=3, padding=1, depth=2)), 384, 16),
        Stage(nn.Sequential(_pool(), nn.Dropout(drop_rate), *last), 1024, 32),
    ]
    head = ConvHead(1024, num_classes)
    net = Net(stages, head, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate)
    return net.apply(initialise)
