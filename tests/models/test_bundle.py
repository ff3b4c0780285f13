"""The model folder: what is saved loads again with the same logits, in fovea and in timm itself; damage is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from fovea.core.errors import ModelError
from fovea.data.preprocess import Preprocess
from fovea.models import bundle as bundle_module
from fovea.models.bundle import load_bundle, save_bundle
from fovea.models.catalogue import Loaded, create, scratch_default

CLASSES = ("Äpfel & Birnen", "banana", "a,b|c")


def _save(folder: Path, loaded: Loaded, *, size: int = 64, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "classes": CLASSES,
        "class_ids": ("7", "0", "12"),
        "preprocess": Preprocess.from_pretrained_cfg(loaded.pretrained_cfg, input_size=size).as_dict(),
        "extra": {"multilabel": False},
    } | changes
    save_bundle(
        folder,
        model=loaded.model,
        architecture=loaded.architecture,
        model_args=loaded.model_args,
        pretrained_cfg=loaded.pretrained_cfg,
        library=loaded.library,
        **settings,
    )


def _randomise(model: torch.nn.Module) -> None:
    """Give BatchNorm statistics that a fresh network does not have, so that losing them shows."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 64), ("mobilenetv2_100", 64), ("vit_tiny_patch16_224", 96), (None, 32), ("torchvision/alexnet", 80)],
)
def test_the_same_logits_come_back(tmp_path: Path, name: str | None, size: int) -> None:
    loaded = create(name, classes=3, weights=None, from_scratch=True, drop_rate=0.2, input_size=size)
    _randomise(loaded.model)
    folder = tmp_path / "mein Modell é"
    _save(folder, loaded, size=size)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = loaded.model(images)
        own = load_bundle(folder)
        assert torch.equal(own.model(images), expected)
        if loaded.library == "timm":
            theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            assert torch.equal(theirs(images), expected)
            config: Any = theirs.pretrained_cfg
            assert tuple(config["label_names"]) == CLASSES
            assert tuple(config["input_size"]) == (3, size, size)
    assert own.classes == CLASSES
    assert own.class_ids == ("7", "0", "12")
    assert own.config["multilabel"] is False
    assert Preprocess.from_dict(own.preprocess).input_size == size


def test_pad_type_and_statistics_of_real_weights_survive(tmp_path: Path, shared: Path) -> None:
    loaded = create(None, classes=3, weights=str(shared / "weights/mobilenetv2_100.tf_in1k"))
    _save(tmp_path / "model", loaded, size=224)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = loaded.model(images)
        assert torch.equal(
            timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()(images), expected
        )
        assert torch.equal(load_bundle(tmp_path / "model").model(images), expected)
    assert load_bundle(tmp_path / "model").config["model_args"] == {"pad_type": "same"}


def test_a_saved_model_can_be_trained_further(tmp_path: Path) -> None:
    first = create(None, classes=3, weights=None, from_scratch=True, input_size=32)
    _save(tmp_path / "model", first, size=32)
    same = create(None, classes=3, weights=str(tmp_path / "model"))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(same.model(images), first.model(images))  # a classifier that fits is kept
    other = create(None, classes=5, weights=str(tmp_path / "model"))
    assert other.model(images).shape == (2, 5)
    assert other.weights_digest == same.weights_digest == first.weights_digest
    assert (other.architecture, other.model_args) == scratch_default(32)


def _saved(folder: Path) -> Path:
    _save(folder, create(None, classes=3, weights=None, from_scratch=True, input_size=32), size=32)
    return folder


def test_only_keys_that_timm_knows_are_in_pretrained_cfg(tmp_path: Path) -> None:
    config = json.loads((_saved(tmp_path) / "config.json").read_text(encoding="utf-8"))
    assert set(config["pretrained_cfg"]) <= set(timm.models.PretrainedCfg().__dict__)
    assert "tag" not in config["pretrained_cfg"]
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_truncated_weights_are_damaged(tmp_path: Path, length: int) -> None:
    path = _saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match="is damaged") as caught:
        load_bundle(tmp_path)
    assert "again" in caught.value.hint


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = _saved(tmp_path) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"not the file that config\.json was written for"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b'{"architecture": "resnet18"', "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[]", "does not name an architecture"),
        (b'{"architecture": 3}', "does not name an architecture"),
    ],
)
def test_a_damaged_config_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (_saved(tmp_path) / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (_saved(tmp_path) / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load_bundle(tmp_path)


def test_a_folder_of_timm_is_no_bundle(shared: Path) -> None:
    with pytest.raises(ModelError, match="not a model that fovea saved"):
        load_bundle(shared / "weights/mobilenetv2_100.tf_in1k")


@pytest.mark.parametrize("step", ["before the weights", "after the weights"])
def test_a_save_cut_off_leaves_a_pair_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    old = create(None, classes=3, weights=None, from_scratch=True, input_size=32)
    new = create(None, classes=2, weights=None, from_scratch=True, input_size=32)
    _save(tmp_path, old, size=32)

    def power_cut(*arguments: Any) -> None:
        raise KeyboardInterrupt

    if step == "before the weights":
        monkeypatch.setattr(bundle_module, "write_bytes", power_cut)
    else:
        monkeypatch.setattr(os, "replace", _failing_at(tmp_path / "config.json"))
    with pytest.raises(KeyboardInterrupt):
        _save(tmp_path, new, size=32, classes=("x", "y"), class_ids=None)
    monkeypatch.undo()
    loaded = load_bundle(tmp_path)
    expected = old if step == "before the weights" else new
    assert len(loaded.classes) == (3 if expected is old else 2)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), expected.model(images))


def _failing_at(target: Path) -> Any:
    replace = os.replace

    def cut(source: Any, destination: Any) -> None:
        if Path(destination) == target:
            raise KeyboardInterrupt
        replace(source, destination)

    return cut


def test_weights_of_another_save_are_refused(tmp_path: Path) -> None:
    _saved(tmp_path / "a")
    _saved(tmp_path / "b")
    (tmp_path / "a/model.safetensors").write_bytes((tmp_path / "b/model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="not the file"):
        load_bundle(tmp_path / "a")


def test_extra_cannot_overrule_the_bundle(tmp_path: Path) -> None:
    loaded = create(None, classes=3, weights=None, from_scratch=True, input_size=32)
    with pytest.raises(ValueError, match="num_classes"):
        _save(tmp_path, loaded, size=32, extra={"num_classes": 4})
