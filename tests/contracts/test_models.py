"""What every network of the catalogue can do: train, take another size, come back from its folder, show its stages.

All of our own, and one of each family that fovea promises; large ones only in `make test-all`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from fovea.data.preprocess import Preprocess
from fovea.models import features
from fovea.models.bundle import load_bundle, save_bundle
from fovea.models.catalogue import Loaded, create, resolve
from fovea.models.heads import classifier
from fovea.models.nets import NETS

CLASSES = ("apple", "pear", "plum")

# name: two sizes in pixels. A network that is built for one size is built for each. With BatchNorm the first leaves a
# last map of more than one pixel: normalising two values a channel, one step can end in NaN.
FAST = {
    "lenet5": (32, 45),
    "shufflenet_v1_0_25x_g8": (64, 80),
    "squeezenet1_1": (64, 80),
    "mobilenetv2_050": (64, 80),
    "mobilenetv3_small_050": (64, 80),
    "shufflenet_v2_x0_5": (64, 80),
    "convnext_atto": (64, 96),
    "vit_tiny_patch16_224": (64, 96),
}
SLOW = {
    "nin": (64, 80),
    "inception_v2": (64, 80),
    "googlenet": (64, 80),
    "resnet18": (64, 80),
    "seresnet18": (64, 96),
    "mobilenetv1_100": (64, 96),
    "inception_resnet_v1": (139, 171),
    "alexnet": (64, 96),
    "vgg11": (64, 96),
    "vgg13": (64, 96),
    "vgg16_bn": (64, 96),
    "vgg19": (64, 96),
    "torchvision/vgg11_bn": (64, 96),
    "inception_v3": (139, 171),
    "torchvision/inception_v3": (139, 171),
    "inception_v4": (139, 171),
    "inception_resnet_v2": (139, 171),
    "resnet34": (64, 96),
    "resnet50": (64, 96),
    "torchvision/resnet50": (64, 96),
    "resnet101": (64, 96),
    "resnet152": (64, 96),
    "resnext50_32x4d": (64, 96),
    "wide_resnet50_2": (64, 96),
    "densenet121": (64, 96),
    "torchvision/densenet121": (64, 96),
    "senet154": (64, 96),
    "legacy_seresnet50": (64, 96),
    "squeezenet1_0": (64, 96),
    "legacy_xception": (96, 128),
    "mobilenet_v2": (64, 96),
    "mobilenet_v3_large": (64, 96),
    "shufflenet_v1_1x": (64, 96),
    "shufflenet_v2_x1_0": (64, 96),
    "torchvision/convnext_tiny": (64, 96),
    "efficientnet_b0": (64, 96),
    "torchvision/efficientnet_b0": (64, 96),
    "swin_tiny_patch4_window7_224": (64, 96),
    "swin_t": (64, 96),
    "vit_b_16": (64, 96),
    "maxvit_t": (224, 448),
}
SIZES = FAST | SLOW
OF_ONE_SIZE = ("vit_", "swin_tiny", "maxvit_")
MAPS = {"lenet5": 3, "nin": 4, "alexnet": 3, "vit_tiny_patch16_224": 1, "vit_b_16": 1}  # all others have at least 4


@dataclass(frozen=True)
class Trained:
    """A network that has made one step of training."""

    loaded: Loaded
    loss: float
    gradients: dict[str, Tensor]
    size: int
    other_size: int


@pytest.fixture(scope="module", params=[*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def trained(request: pytest.FixtureRequest) -> Trained:
    size, other_size = SIZES[request.param]
    torch.manual_seed(0)
    loaded = create(request.param, classes=3, weights=None, from_scratch=True, input_size=size)
    model = loaded.model.train()
    nn.init.normal_(classifier(model).weight, std=0.05)  # torchvision's transformers begin with zeros: nothing gets by
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = nn.functional.cross_entropy(model(torch.randn(2, 3, size, size)), torch.tensor([0, 2]))
    loss.backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    optimiser.step()
    model.eval()
    return Trained(loaded, loss.item(), gradients, size, other_size)


def test_it_trains(trained: Trained) -> None:
    assert 0 < trained.loss < 100
    parameters = dict(trained.loaded.model.named_parameters())
    assert trained.gradients.keys() == parameters.keys()
    assert all(torch.isfinite(gradient).all() for gradient in trained.gradients.values())
    first = next(name for name, parameter in parameters.items() if parameter.ndim == 4)
    assert trained.gradients[first].abs().max() > 0


def test_it_takes_another_size(trained: Trained) -> None:
    model = trained.loaded.model
    name = trained.loaded.architecture
    if name.startswith(OF_ONE_SIZE):
        library = "torchvision/" if trained.loaded.library == "torchvision" else ""
        model = create(library + name, classes=3, weights=None, from_scratch=True, input_size=trained.other_size).model
    with torch.no_grad():
        logits = model(torch.randn(2, 3, trained.other_size, trained.other_size))
    assert logits.shape == (2, 3)
    assert torch.isfinite(logits).all()


def test_it_comes_back_from_its_folder_bit_for_bit(trained: Trained, tmp_path: Path) -> None:
    loaded = trained.loaded
    preprocess = Preprocess.from_pretrained_cfg(loaded.pretrained_cfg, input_size=trained.size)
    save_bundle(
        tmp_path,
        model=loaded.model,
        architecture=loaded.architecture,
        model_args=loaded.model_args,
        pretrained_cfg=loaded.pretrained_cfg,
        classes=CLASSES,
        class_ids=None,
        preprocess=preprocess.as_dict(),
        library=loaded.library,
        extra={},
    )
    images = torch.randn(2, 3, trained.size, trained.size)
    with torch.no_grad():
        expected = loaded.model(images)
        bundle = load_bundle(tmp_path)
        assert torch.equal(bundle.model(images), expected)
        assert bundle.config["library"] == loaded.library
        assert torch.equal(create(None, classes=3, weights=str(tmp_path)).model(images), expected)
        if loaded.library != "torchvision":
            assert torch.equal(timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()(images), expected)


def test_it_shows_its_stages_from_fine_to_coarse(trained: Trained) -> None:
    with torch.no_grad():
        maps = features(trained.loaded.model, torch.randn(2, 3, trained.size, trained.size))
    sides = [found.shape[-1] for found in maps]
    assert sides == sorted(set(sides), reverse=True)
    assert all(found.ndim == 4 and found.shape[0] == 2 and torch.isfinite(found).all() for found in maps)
    wanted = MAPS.get(trained.loaded.architecture)
    assert len(maps) == wanted if wanted else len(maps) >= 4


def test_our_own_names_are_in_no_other_library() -> None:
    theirs = {name for name in NETS.names() if hasattr(timm.models, name)}
    assert theirs == set()
    assert {resolve(name)[0] for name in NETS.names()} == {"fovea"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS.names())
def test_each_of_our_own_can_be_built_and_run(name: str) -> None:
    loaded = create(name, classes=3, weights=None, from_scratch=True)
    with torch.no_grad():
        assert loaded.model(torch.randn(2, 3, 96, 96)).shape == (2, 3)
