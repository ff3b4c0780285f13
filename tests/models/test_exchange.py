"""Layers exchanged in a network of the catalogue: recorded, built again, told apart by caches, refused by timm."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from fovea.core.errors import ModelError, UnknownName
from fovea.data.preprocess import Preprocess
from fovea.layers import POOLING
from fovea.models.bundle import load_bundle, save_bundle
from fovea.models.catalogue import Loaded, create

SWAP = {"pool": "lip", "norm": "group", "where": "*"}


def scratch(name: str, **options: object) -> Loaded:
    torch.manual_seed(0)
    return create(name, classes=3, weights=None, from_scratch=True, input_size=64, **options)  # type: ignore[arg-type]


def save(folder: Path, loaded: Loaded) -> None:
    save_bundle(
        folder,
        model=loaded.model,
        architecture=loaded.architecture,
        model_args=loaded.model_args,
        pretrained_cfg=loaded.pretrained_cfg,
        classes=["a", "b", "c"],
        class_ids=None,
        preprocess=Preprocess.from_pretrained_cfg(loaded.pretrained_cfg, input_size=64).as_dict(),
        library=loaded.library,
        extra={},
    )


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18", "lenet5"])
def test_the_model_folder_builds_the_network_with_what_was_exchanged(name: str, tmp_path: Path) -> None:
    swap = {"act": "mish", "where": "*"} if name == "lenet5" else SWAP
    said: list[str] = []
    loaded = scratch(name, swap=swap, say=said.append)
    assert said and all(kind in said[0] for kind in swap.values() if kind != "*")
    with torch.no_grad():  # so that weights of the new layers which do not come back show
        for value in loaded.model.parameters():
            value.add_(0.01 * torch.randn_like(value))
    save(tmp_path / "model", loaded)
    images = torch.randn(2, 3, 64, 64)
    again = load_bundle(tmp_path / "model").model
    assert torch.equal(again(images), loaded.model(images))
    assert {type(layer) for layer in again.modules()} == {type(layer) for layer in loaded.model.modules()}


def test_what_was_trained_goes_on_with_its_layers_and_may_have_others_exchanged(tmp_path: Path) -> None:
    save(tmp_path / "model", scratch("resnet18", swap={"pool": "lip", "where": "*"}))
    further = create(None, classes=3, weights=str(tmp_path / "model"), swap={"act": "mish", "where": "layer4.*"})
    assert further.model_args["fovea_swap"] == [{"pool": "lip", "where": "*"}, {"act": "mish", "where": "layer4.*"}]
    kinds = [type(layer).__name__ for layer in further.model.modules()]
    assert kinds.count("LocalImportancePool2d") == 1 and kinds.count("Mish") == 4 and kinds.count("ReLU") == 13
    save(tmp_path / "again", further)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(load_bundle(tmp_path / "again").model(images), further.model(images))


def test_timm_stops_rather_than_build_the_network_without(tmp_path: Path) -> None:
    save(tmp_path / "model", scratch("resnet18", swap={"pool": "softpool", "where": "*"}))  # it has no weights to miss
    with pytest.raises(TypeError, match="fovea_swap"):
        timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True)


def test_caches_tell_the_network_from_what_it_was() -> None:
    plain, swapped = scratch("resnet18"), scratch("resnet18", swap={"pool": "softpool", "where": "*"})
    assert plain.weights_digest != swapped.weights_digest
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), swapped.model.parameters(), strict=True))


def test_what_cannot_be_exchanged_is_explained() -> None:
    with pytest.raises(ModelError, match="ResNet has no pooling layer that matches 'layer9"):
        scratch("resnet18", swap={"pool": "softpool", "where": "layer9.*"})
    with pytest.raises(UnknownName) as error:
        scratch("resnet18", swap={"pool": "softpol", "where": "*"})
    assert "did you mean 'softpool'?" in error.value.hint and "softpool" in POOLING.names()
    with pytest.raises(ModelError, match="global_pool=gated cannot be put into ResNet: gated pooling learns a weight"):
        scratch("resnet18", swap={"global_pool": "gated", "where": "*"})
