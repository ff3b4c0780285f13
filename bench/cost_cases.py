"""What bench/cost.py counts: 40 networks of timm and torchvision, and small ones whose MACs are known by hand.

Imported by bench/cost.py and, in the peers' environment, by bench/peers/cost_counts.py; knows neither fovea nor peers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

NETWORKS = (
    *(
        f"torchvision/{name}"
        for name in ("alexnet", "vgg11", "vgg16_bn", "googlenet", "squeezenet1_0", "squeezenet1_1")
    ),
    *(f"torchvision/{name}" for name in ("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121")),
    *(f"torchvision/{name}" for name in ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet1_0")),
    *(
        f"torchvision/{name}"
        for name in ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "regnet_y_400mf", "efficientnet_b0")
    ),
    *(f"torchvision/{name}" for name in ("convnext_tiny", "vit_b_16", "swin_t", "maxvit_t")),
    *("mobilenetv1_100", "inception_v3", "legacy_xception", "legacy_seresnet50", "resnest14d", "res2net50_26w_4s"),
    *("darknet53", "ghostnet_100", "hrnet_w18_small", "convnext_atto", "mobilevit_s", "levit_128", "mixer_s16_224"),
    *("vit_tiny_patch16_224", "deit3_small_patch16_224", "coatnet_0_rw_224", "efficientformer_l1"),
)
SIDE_PX = {"inception_v3": 299, "legacy_xception": 299, "mobilevit_s": 256}


def side_px(name: str) -> int:
    """Return the side of the images that a network or a case is counted at."""
    return SIDE_PX.get(name, 224) if name in NETWORKS else CASES[name].side_px


def build(name: str) -> nn.Module:
    """Build a network or a case with random weights, in eval mode."""
    if name in CASES:
        return CASES[name].build().eval()
    if name.startswith("torchvision/"):
        options = {"aux_logits": False, "init_weights": False} if name.endswith("googlenet") else {}
        return torchvision.models.get_model(name.removeprefix("torchvision/"), weights=None, **options).eval()
    return timm.create_model(name).eval()


@dataclass(frozen=True)
class Case:
    """A small network on images (1,3,side,side), and its MACs by hand."""

    build: Callable[[], nn.Module]
    macs: int
    side_px: int = 32


class Applied(nn.Module):
    """A function as a network, after a 1×1 convolution from 3 to 16 channels (49,152 MACs at 32 px)."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.start, self.function, self.parts = nn.Conv2d(3, 16, 1, bias=False), function, nn.ModuleList(parts)
        self.weight = nn.Parameter(torch.randn(16, 16))

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.start(images), self.weight, *self.parts)


def _tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2).contiguous()  # (B,C,H,W) -> (B,N,C)


def _attention(maps: Tensor, weight: Tensor) -> Tensor:
    tokens = _tokens(maps)
    return functional.scaled_dot_product_attention(tokens, tokens, tokens)


def _twice(maps: Tensor, weight: Tensor, part: nn.Module) -> Tensor:
    return part(part(maps))


def _compiled() -> nn.Module:
    return torch.compile(nn.Sequential(nn.Conv2d(3, 16, 1, bias=False), nn.Conv2d(16, 16, 3, padding=1, bias=False)))


class _Deformed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torchvision.ops.DeformConv2d(16, 16, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv(maps, maps.new_zeros(maps.shape[0], 18, *maps.shape[2:]))


_START, _PIXELS = 3 * 16 * 1024, 1024
CASES = {
    "1×1 convolution alone": Case(lambda: nn.Conv2d(3, 16, 1, bias=False), _START),
    "matmul with a parameter": Case(
        lambda: Applied(lambda maps, weight: _tokens(maps) @ weight), _START + _PIXELS * 256
    ),
    "einsum": Case(
        lambda: Applied(lambda maps, weight: torch.einsum("bchw,cd->bdhw", maps, weight)), _START + _PIXELS * 256
    ),
    "functional convolution": Case(
        lambda: Applied(lambda maps, weight: functional.conv2d(maps, weight[:, :, None, None])), _START + _PIXELS * 256
    ),
    "fused attention": Case(lambda: Applied(_attention), _START + 2 * _PIXELS**2 * 16),
    "nn.MultiheadAttention": Case(
        lambda: Applied(
            lambda maps, weight, part: part(_tokens(maps), _tokens(maps), _tokens(maps), need_weights=False)[0],
            nn.MultiheadAttention(16, 4, batch_first=True),
        ),
        _START + 4 * _PIXELS * 256 + 2 * _PIXELS**2 * 16,
    ),
    "a layer that runs twice": Case(
        lambda: Applied(_twice, nn.Conv2d(16, 16, 1, bias=False)), _START + 2 * _PIXELS * 256
    ),
    "transposed convolution": Case(
        lambda: Applied(lambda maps, weight, part: part(maps), nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False)),
        _START + _PIXELS * 16 * 8 * 16,
    ),
    "deformable convolution": Case(
        lambda: Applied(lambda maps, weight, part: part(maps), _Deformed()), _START + _PIXELS * 16 * 16 * 9
    ),
    "LSTM over rows": Case(
        lambda: Applied(
            lambda maps, weight, part: part(maps.mean(2).transpose(1, 2))[0], nn.LSTM(16, 32, batch_first=True)
        ),
        _START + 32 * 4 * 32 * (16 + 32),
    ),
    "compiled network": Case(_compiled, _START + _PIXELS * 16 * 16 * 9),
}
