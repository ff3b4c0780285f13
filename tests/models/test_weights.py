"""Weights from files and folders: everything that fits is loaded, everything else is refused with a way out."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fovea.core.errors import FoveaError, ModelError
from fovea.models.catalogue import create
from fovea.models.weights import fit, read_state_dict, state_digest


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """A small network with statistics unlike a fresh one's, and 7 classes."""
    torch.manual_seed(3)
    model = timm.create_model("resnet10t", num_classes=7).eval()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape) + 0.5)
    return model


def _features(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.forward_features(images)  # type: ignore[operator]


IMAGES = torch.linspace(-2, 2, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "lightning": lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
    "distributed": lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
    "compiled": lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    "averaged": lambda state: {
        "state_dict": {name: torch.zeros_like(tensor) for name, tensor in state.items()},
        "model_ema": state,
        "args": argparse.Namespace(lr=0.1),
    },
}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pt"])
def test_checkpoints_are_unwrapped(tmp_path: Path, resnet: nn.Module, wrapping: str, suffix: str) -> None:
    path = tmp_path / f"mes poids é{suffix}"
    torch.save(WRAPPED[wrapping](resnet.state_dict()), path)
    loaded = create("resnet10t", classes=7, weights=str(path))
    with torch.no_grad():
        assert torch.equal(loaded.model(IMAGES), resnet(IMAGES))  # the classifier has 7 outputs and is kept


def test_another_number_of_classes_keeps_everything_but_the_classifier(tmp_path: Path, resnet: nn.Module) -> None:
    save_file(resnet.state_dict(), tmp_path / "model.safetensors")
    loaded = create("resnet10t", classes=4, weights=str(tmp_path / "model.safetensors"))
    assert torch.equal(_features(loaded.model, IMAGES), _features(resnet, IMAGES))
    assert loaded.model(IMAGES).shape == (2, 4)


def test_weights_without_a_classifier_are_enough(tmp_path: Path, resnet: nn.Module) -> None:
    state = {name: tensor for name, tensor in resnet.state_dict().items() if not name.startswith("fc.")}
    torch.save(state, tmp_path / "backbone.pth")
    loaded = create("resnet10t", classes=4, weights=str(tmp_path / "backbone.pth"))
    assert torch.equal(_features(loaded.model, IMAGES), _features(resnet, IMAGES))


def test_half_precision_weights_become_float32(tmp_path: Path, resnet: nn.Module) -> None:
    torch.save({name: tensor.half() for name, tensor in resnet.state_dict().items()}, tmp_path / "half.pth")
    model = create("resnet10t", classes=7, weights=str(tmp_path / "half.pth")).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_what_is_missing_unexpected_or_misshapen_is_listed(resnet: nn.Module) -> None:
    state = resnet.state_dict()
    del state["layer1.0.conv1.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["layer2.0.bn1.bias"] = torch.zeros(3)
    model = timm.create_model("resnet10t", num_classes=7)
    with pytest.raises(ModelError) as caught:
        fit(model, state, classifiers=("fc",), source="somewhere")
    assert "1 missing (layer1.0.conv1.weight)" in caught.value.message
    assert "1 unexpected (extra.weight)" in caught.value.message
    assert "1 shape (layer2.0.bn1.bias is (3,) instead of (128,))" in caught.value.message
    assert "--model" in caught.value.hint


def test_weights_of_another_architecture_are_refused(tmp_path: Path, resnet: nn.Module) -> None:
    save_file(resnet.state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="do not fit EfficientNet"):
        create("mobilenetv2_100", classes=7, weights=str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_torchvision_layouts_fit_timm_networks(tmp_path: Path, name: str) -> None:
    theirs = torchvision.models.get_model(name, weights=None, num_classes=1000).eval()
    torch.save(theirs.state_dict(), tmp_path / "tv.pth")
    ours = create(name, classes=1000, weights=str(tmp_path / "tv.pth"))
    assert ours.library == "timm"
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(ours.model(images), theirs(images), atol=1e-5, rtol=1e-4)


def test_a_transformer_takes_weights_of_another_size(tmp_path: Path) -> None:
    native = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    torch.save(native.state_dict(), tmp_path / "vit.pth")
    loaded = create("vit_tiny_patch16_224", classes=5, weights=str(tmp_path / "vit.pth"), input_size=96)
    assert loaded.model_args == {"img_size": 96}
    assert loaded.pretrained_cfg["input_size"] == [3, 96, 96]
    assert torch.equal(
        loaded.model.get_parameter("blocks.3.mlp.fc1.weight"), native.get_parameter("blocks.3.mlp.fc1.weight")
    )
    assert loaded.model(torch.randn(1, 3, 96, 96)).shape == (1, 5)


class _Canary:
    """Its unpickling writes a file, as hostile weights would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("container", ["torch", "legacy torch", "pickle", "inside a state dict"])
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".tar"])
def test_a_pickle_never_runs(tmp_path: Path, container: str, suffix: str) -> None:
    canary, path = tmp_path / "ran", tmp_path / f"weights{suffix}"
    if container == "pickle":
        path.write_bytes(pickle.dumps(_Canary(canary)))
    elif container == "inside a state dict":
        torch.save({"state_dict": {"fc.weight": torch.zeros(2)}, "hook": _Canary(canary)}, path)
    else:
        torch.save(_Canary(canary), path, _use_new_zipfile_serialization=container == "torch")
    with pytest.raises(ModelError, match=r"is (refused|damaged)"):
        create("resnet10t", classes=2, weights=str(path))
    folder = tmp_path / "folder"
    folder.mkdir()
    path.rename(folder / "pytorch_model.bin")
    (folder / "config.json").write_text('{"architecture": "resnet10t"}')
    with pytest.raises(ModelError, match=r"is (refused|damaged)"):
        create(None, classes=2, weights=str(folder))
    assert not canary.exists()


def test_a_whole_pickled_network_is_refused_with_advice(tmp_path: Path, resnet: nn.Module) -> None:
    torch.save(resnet, tmp_path / "model.pth")
    with pytest.raises(ModelError, match="would run code") as caught:
        create("resnet10t", classes=7, weights=str(tmp_path / "model.pth"))
    assert "state_dict()" in caught.value.hint


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"<!doctype html><p>404", None])
def test_damaged_files_are_named(tmp_path: Path, resnet: nn.Module, suffix: str, content: bytes | None) -> None:
    path = tmp_path / f"weights{suffix}"
    if content is None:  # cut off half-way
        whole = tmp_path / f"whole{suffix}"
        save_file(resnet.state_dict(), whole) if suffix == ".safetensors" else torch.save(resnet.state_dict(), whole)
        content = whole.read_bytes()[: whole.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.") as caught:
        create("resnet10t", classes=7, weights=str(path))
    assert caught.value.hint


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"state_dict": {"a": 1}}])
def test_what_is_no_state_dict_is_said(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="holds no state dict"):
        read_state_dict(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("weights", "name", "message", "hint"),
    [
        ("nowhere", None, "no weights at", "timm folder"),
        ("empty", None, r"no config\.json", "--model NAME"),
        ("unweighted", None, "holds no weights", "model.safetensors"),
        ("notes.txt", "resnet10t", "is not a weights file", "--weights"),
        ("nameless.pth", None, "does not say which network", "--model"),
        ("stranger", None, "unknown network 'resnet10tt'", "did you mean 'resnet10t'"),
        ("odd", None, "cannot build resnet10t", "model_args"),
    ],
)
def test_each_dead_end_names_a_way_out(
    tmp_path: Path, resnet: nn.Module, weights: str, name: str | None, message: str, hint: str
) -> None:
    for folder, config in [
        ("empty", None),
        ("unweighted", {"architecture": "resnet10t"}),
        ("stranger", {"architecture": "resnet10tt"}),
        ("odd", {"architecture": "resnet10t", "model_args": {"no_such_argument": 1}}),
    ]:
        (tmp_path / folder).mkdir()
        if config:
            (tmp_path / folder / "config.json").write_text(json.dumps(config))
        if folder in ("stranger", "odd"):
            save_file(resnet.state_dict(), tmp_path / folder / "model.safetensors")
    (tmp_path / "notes.txt").write_text("hello")
    torch.save({"a": torch.zeros(1)}, tmp_path / "nameless.pth")
    with pytest.raises(FoveaError, match=message) as caught:
        create(name, classes=2, weights=str(tmp_path / weights))
    assert hint in caught.value.hint


def test_a_weights_file_inside_a_folder_of_timm_keeps_its_arguments(shared: Path) -> None:
    folder = shared / "weights/mobilenetv2_100.tf_in1k"
    by_file = create("mobilenetv2_100", classes=5, weights=str(folder / "model.safetensors"))
    by_folder = create(None, classes=5, weights=str(folder))
    assert by_file.model_args == by_folder.model_args == {"pad_type": "same"}
    assert by_file.weights_digest == by_folder.weights_digest


def test_a_folder_of_timm_loads_as_timm_loads_it(shared: Path) -> None:
    folder = shared / "weights/mobilenetv2_100.tf_in1k"
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    ours = create(None, classes=1000, weights=str(folder))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours.model(images), theirs(images))
    assert ours.pretrained_cfg["mean"] == [0.5, 0.5, 0.5]
    assert ours.pretrained_cfg["interpolation"] == "bicubic"


@pytest.mark.parametrize("name", ["resnet50", "mobilenetv2_100.ra_in1k", "torchvision/mobilenet_v2"])
def test_a_name_that_contradicts_the_folder_is_an_error(shared: Path, name: str) -> None:
    folder = shared / "weights/mobilenetv2_100.tf_in1k"
    with pytest.raises(ModelError, match="--model says") as caught:
        create(name, classes=5, weights=str(folder))
    assert "mobilenetv2_100.tf_in1k" in caught.value.message


def test_squeezenet_of_torchvision(shared: Path) -> None:
    folder = shared / "weights/squeezenet1_0.deepcompression_in1k"
    loaded = create("squeezenet1_0", classes=6, weights=str(folder), drop_rate=0.3)
    assert (loaded.library, loaded.architecture, loaded.model_args) == ("torchvision", "squeezenet1_0", {})
    assert loaded.pretrained_cfg["interpolation"] == "bilinear"
    dropouts = [module.p for module in loaded.model.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [0.3]
    stored = load_file(folder / "model.safetensors")
    assert torch.equal(loaded.model.get_parameter("features.3.squeeze.weight"), stored["features.3.squeeze.weight"])
    assert loaded.model(torch.randn(1, 3, 224, 224)).shape == (1, 6)


SHOWN = {  # photos of these: ImageNet's class
    "Fruit/Apple/Granny-Smith": 948,
    "Fruit/Banana": 954,
    "Fruit/Lemon": 951,
    "Fruit/Orange": 950,
    "Fruit/Pineapple": 953,
    "Fruit/Pomegranate": 957,
    "Vegetables/Cabbage": 936,
    "Vegetables/Cucumber": 943,
    "Vegetables/Pepper": 945,
    "Vegetables/Zucchini": 939,
}


def test_squeezenet_recognises_real_fruit(shared: Path) -> None:
    """Torchvision states 58 % top-1 and 81 % top-5 on ImageNet; wrong scaling or colour order leaves little of it."""
    from fovea.data.preprocess import Preprocess

    loaded = create(None, classes=1000, weights=str(shared / "weights/squeezenet1_0.deepcompression_in1k"))
    preprocess = Preprocess.from_pretrained_cfg(loaded.pretrained_cfg)
    first = among_five = total = 0
    for name, expected in SHOWN.items():
        paths = sorted((shared / "data/grocery/train" / name).rglob("*.jpg"))[:6]
        batch = torch.cat([preprocess.normalise(preprocess.read(path)[None]) for path in paths])
        with torch.inference_mode():
            best = loaded.model(batch).topk(5).indices
        first += int((best[:, 0] == expected).sum())
        among_five += int((best == expected).any(1).sum())
        total += len(paths)
    assert total == 60
    assert first / total > 0.58
    assert among_five / total > 0.81


def test_the_digest_follows_weights_statistics_and_arguments(tmp_path: Path, resnet: nn.Module) -> None:
    save_file(resnet.state_dict(), tmp_path / "a.safetensors")
    path = str(tmp_path / "a.safetensors")
    first, other = (create("resnet10t", classes=count, weights=path) for count in (3, 4))
    assert first.weights_digest == other.weights_digest  # the classifier does not count
    with torch.no_grad():
        first.model.get_buffer("bn1.running_mean").add_(1e-3)
    assert state_digest(first.model, without=("fc",)) != state_digest(other.model, without=("fc",))
