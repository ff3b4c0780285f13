"""Features by stage: the last map of each resolution, from timm's networks, torchvision's, ours and anybody's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from fovea.core.errors import ModelError
from fovea.models import Pyramid, create, features

MAPS = {  # name, size: channels and side of each map
    ("resnet10t", 64): [(64, 32), (64, 16), (128, 8), (256, 4), (512, 2)],
    ("vit_tiny_patch16_224", 64): [(192, 4)],  # one resolution, one map
    ("torchvision/resnet18", 64): [(64, 32), (64, 16), (128, 8), (256, 4), (512, 2)],
    ("squeezenet1_0", 64): [(96, 29), (256, 14), (512, 7), (512, 3)],  # without the classifier's 3 × 3 map of scores
    ("googlenet", 64): [(64, 32), (192, 16), (480, 8), (832, 4), (1024, 2)],
    ("shufflenet_v2_x0_5", 64): [(24, 32), (48, 8), (96, 4), (1024, 2)],
    ("mobilenet_v3_small", 64): [(16, 32), (16, 16), (24, 8), (48, 4), (576, 2)],
    ("lenet5", 40): [(6, 36), (16, 14), (120, 3)],
    ("nin", 64): [(96, 14), (256, 7), (384, 3), (1024, 1)],
}
SLOW_MAPS = {
    ("swin_tiny_patch4_window7_224", 64): [(96, 16), (192, 8), (384, 4), (768, 2)],
    ("swin_t", 64): [(96, 16), (192, 8), (384, 4), (768, 2)],  # works on (B, h, w, C)
    ("alexnet", 64): [(64, 15), (192, 7), (256, 3)],  # its pooling would make 3 × 3 into 6 × 6
    ("torchvision/vgg11_bn", 64): [(64, 64), (128, 32), (256, 16), (512, 8), (512, 4)],  # pooling alone is no stage
    ("torchvision/inception_v3", 96): [(64, 45), (192, 20), (288, 9), (768, 4), (2048, 1)],
    ("torchvision/densenet121", 64): [(64, 32), (256, 16), (512, 8), (1024, 4), (1024, 2)],
    ("torchvision/convnext_tiny", 64): [(96, 16), (192, 8), (384, 4), (768, 2)],  # not the norm behind the pooling
    ("vit_b_16", 64): [(768, 4)],
    ("maxvit_t", 224): [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7)],
    ("inception_v2", 64): [(64, 32), (192, 16), (320, 8), (576, 4), (1024, 2)],
    ("inception_resnet_v1", 96): [(64, 45), (192, 20), (256, 9), (896, 4), (1792, 1)],
}
BOTH = [*MAPS, *(pytest.param(*key, marks=pytest.mark.slow) for key in SLOW_MAPS)]


@pytest.mark.parametrize(("name", "size"), BOTH)
def test_each_resolution_gives_its_last_map(name: str, size: int) -> None:
    model = create(name, classes=3, input_size=size)
    with torch.no_grad():
        maps = features(model, torch.randn(2, 3, size, size))
    expected = (MAPS | SLOW_MAPS)[name, size]
    assert [tuple(found.shape) for found in maps] == [(2, channels, side, side) for channels, side in expected]


def test_the_maps_are_those_that_torchvision_gives_by_layer_name() -> None:
    torch.manual_seed(0)
    model = create("torchvision/resnet18", classes=3)
    images = torch.randn(2, 3, 64, 64)
    wanted = create_feature_extractor(model, [f"layer{stage}" for stage in (1, 2, 3, 4)])
    with torch.no_grad():
        for found, expected in zip(features(model, images)[1:], wanted(images).values(), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["swin_t", pytest.param("vit_b_16", marks=pytest.mark.slow)])
def test_maps_of_transformers_show_where_things_are(name: str) -> None:
    """A change in the lower left of the image changes the first map there most."""
    torch.manual_seed(0)
    model = create(name, classes=3, input_size=64)
    images = torch.zeros(1, 3, 64, 64)
    changed = images.clone()
    changed[..., 48:, :16] = 1.0
    with torch.no_grad():
        difference = (features(model, changed)[0] - features(model, images)[0]).abs().sum(1)[0]
    side = difference.shape[0] // 4
    row, column = divmod(int(difference.argmax()), difference.shape[1])
    assert row >= 3 * side and column < side


def test_a_pyramid_serves_many_batches_and_carries_gradients() -> None:
    model = create("shufflenet_v2_x0_5", classes=3).train()
    pyramid = Pyramid(model, torch.randn(1, 3, 64, 64))
    assert model.training
    for size in (64, 96):
        maps = pyramid(torch.randn(2, 3, size, size))
        assert maps[-1].shape[-1] == size // 32
    maps[-1].sum().backward()
    first = next(model.parameters())
    assert first.grad is not None and first.grad.abs().max() > 0
    assert {name.removeprefix("model.") for name in pyramid.state_dict()} == set(model.state_dict())


class _Moody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.fc((y if y.sum() > 0 else -y).mean((2, 3)))


def test_a_network_that_cannot_be_looked_into_is_refused() -> None:
    with pytest.raises(ModelError, match="_Moody cannot be looked into") as caught:
        features(_Moody(), torch.randn(1, 3, 8, 8))
    assert "fovea models" in caught.value.hint


def test_images_that_are_too_small_are_called_so() -> None:
    with pytest.raises(ModelError, match=r"AlexNet does not run on images of 8 × 9: .*size is too small") as caught:
        features(create("alexnet", classes=2), torch.zeros(1, 3, 8, 9))
    assert caught.value.hint == "give larger images"


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0"])
def test_grey_images_are_refused_in_one_way(name: str) -> None:
    with pytest.raises(ModelError, match=r"does not run on images of 64 × 64 with 1 channels") as caught:
        features(create(name, classes=2), torch.zeros(1, 1, 64, 64))
    assert "expand" in caught.value.hint
