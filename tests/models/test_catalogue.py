"""Names, defaults and libraries; a missing hub fails fast and names both ways out."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision

import fovea
from fovea.core.errors import ModelError, UnknownName
from fovea.models import hub
from fovea.models.catalogue import DEFAULT_NAME, build, create, names, plan_of, resolve, scratch_default


def _features(model: Any, images: torch.Tensor) -> Any:
    return model.forward_features(images)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ("timm", "resnet18", "")),
        ("resnet18.a1_in1k", ("timm", "resnet18", "a1_in1k")),
        ("torchvision/resnet18", ("torchvision", "resnet18", "")),
        ("squeezenet1_0", ("torchvision", "squeezenet1_0", "")),
        ("mobilenet_v2", ("torchvision", "mobilenet_v2", "")),
        ("torchvision/resnet50.IMAGENET1K_V1", ("torchvision", "resnet50", "IMAGENET1K_V1")),
        ("lenet5", ("fovea", "lenet5", "")),
        ("shufflenet_v1_0_5x_g8", ("fovea", "shufflenet_v1_0_5x_g8", "")),
    ],
)
def test_names_resolve(name: str, expected: tuple[str, str, str]) -> None:
    assert resolve(name) == expected
    assert name.removesuffix(".IMAGENET1K_V1") in names()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("inception_v1", "googlenet"), ("mobilenet_v1", "mobilenetv1_100"), ("xception", "legacy_xception")],
)
def test_names_that_people_use_and_no_library_has(name: str, meant: str) -> None:
    assert resolve(name) == resolve(meant)
    with pytest.raises(UnknownName):
        resolve(f"torchvision/{name}")


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("mobilnetv2_100", "mobilenetv2_100"),
        ("sqeezenet1_0", "squeezenet1_0"),
        ("torchvision/resnet19", "torchvision/resnet"),
        ("mobilenetv2_100.ra_in2k", "ra_in1k"),
        ("alexnet.IMAGENET1K_V2", "IMAGENET1K_V1"),
        ("shufflenet_v1_0_5x_g7", "shufflenet_v1_0_5x_g8"),
        ("Resnet18", "resnet18"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name: str, guess: str) -> None:
    with pytest.raises(UnknownName) as caught:
        create(name, classes=2, weights=None, from_scratch=True)
    assert caught.value.hint.startswith(f"did you mean '{guess}")


@pytest.mark.parametrize("name", ["../etc/passwd", "timm/resnet18", "hf-hub:x/y", "", ".", "resnet18/"])
def test_paths_and_addresses_are_no_names(name: str) -> None:
    with pytest.raises(UnknownName):
        resolve(name)


def test_the_default_exists_and_has_weights() -> None:
    config = timm.get_pretrained_cfg(DEFAULT_NAME)
    assert config is not None and config.hf_hub_id


@pytest.mark.parametrize(
    "name", [None, "resnet10t", "alexnet", "shufflenet_v2_x0_5", "googlenet", "mobilenet_v3_small", "nin"]
)
def test_from_scratch(name: str | None) -> None:
    torch.manual_seed(0)
    first = create(name, classes=5, weights=None, from_scratch=True, input_size=64)
    torch.manual_seed(0)
    second = create(name, classes=5, weights=None, from_scratch=True, input_size=64)
    assert first.weights_digest == second.weights_digest
    assert first.model(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    assert not first.model.training
    assert first.pretrained_cfg["crop_pct"] == 1.0
    assert first.pretrained_cfg["input_size"] == [3, 64, 64]


def test_the_small_default_is_small_and_plain_timm() -> None:
    name, model_args = scratch_default(32)
    model = timm.create_model(name, num_classes=10, **model_args).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 325_866
    assert _features(model, torch.zeros(1, 3, 32, 32)).shape == (1, 128, 2, 2)
    assert scratch_default(64) == (name, model_args)
    assert scratch_default(65)[0] == "resnet18"


def test_drop_rate_reaches_the_classifier() -> None:
    loaded = create("resnet10t", classes=2, weights=None, from_scratch=True, drop_rate=0.4)
    assert loaded.model.drop_rate == 0.4


def test_a_name_of_both_libraries_gets_the_arguments_of_its_own() -> None:
    assert plan_of("torchvision/inception_v3").model_args["aux_logits"] is False
    assert plan_of("inception_v3").model_args == {}


@pytest.mark.parametrize(("name", "side"), [("vit_b_16", 3), ("torchvision/vit_b_16.IMAGENET1K_SWAG_E2E_V1", 24)])
def test_torchvisions_transformers_are_built_for_the_size_of_their_weights(name: str, side: int) -> None:
    plan = plan_of(name, input_size=48 if side == 3 else None)
    with torch.device("meta"):
        model = build(plan.library, plan.architecture, classes=2, model_args=plan.model_args)
    assert model.get_parameter("encoder.pos_embedding").shape[1] == 1 + side**2


def test_the_door_gives_random_weights_unless_others_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: pytest.fail("asked the hub"))
    model = fovea.models.create("lenet5", classes=4, drop_rate=0.25)
    assert not model.training
    assert model(torch.zeros(2, 3, 28, 28)).shape == (2, 4)
    assert [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)] == [0.25]
    with pytest.raises(ModelError, match="no weights of lenet5 are published") as caught:
        fovea.models.create("lenet5", classes=4, weights="hub")
    assert "--from-scratch" in caught.value.hint


def test_importing_the_room_imports_no_torch() -> None:
    command = "import sys, fovea.models; dir(fovea.models); sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fovea.models.no_such_name


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_a_missing_hub_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setattr(hub, "_cached_file", lambda hub_id, name: None)
    for name in (None, "resnet18", "hub"):
        with pytest.raises(ModelError, match=r"huggingface\.co cannot be reached") as caught:
            create(None if name == "hub" else name, classes=2, weights="hub" if name == "hub" else None)
        assert "--weights DIR_OR_FILE" in caught.value.hint
        assert "--from-scratch" in caught.value.hint


def test_torchvisions_server_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"download\.pytorch\.org cannot be reached") as caught:
        create("squeezenet1_1", classes=2, weights=None)
    assert "--from-scratch" in caught.value.hint


def test_a_network_without_weights_says_so() -> None:
    configs = {name: timm.get_pretrained_cfg(name) for name in timm.list_models("resnet*")}
    name = next(name for name, config in configs.items() if config is not None and not config.has_weights)
    with pytest.raises(ModelError, match=f"timm has no weights for {name}") as caught:
        create(name, classes=2, weights=None)
    assert "--from-scratch" in caught.value.hint


def test_earlier_downloads_serve_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stored = timm.create_model("resnet10t", num_classes=1000).eval()
    torch.save(stored.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setattr(hub, "_cached_file", lambda hub_id, name: tmp_path / "pytorch_model.bin")
    loaded = create("resnet10t", classes=3, weights="hub", drop_rate=0.1)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(_features(loaded.model, images), _features(stored, images))
    assert loaded.model(images).shape == (1, 3)
    assert not {"file", "url", "hf_hub_id", "source"} & loaded.pretrained_cfg.keys()


def test_torchvisions_cache_serves_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    stored = torchvision.models.squeezenet1_1(weights=None)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(stored.state_dict(), tmp_path / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth")
    loaded = create("squeezenet1_1", classes=3, weights=None)
    assert torch.equal(loaded.model.get_parameter("features.0.weight"), stored.get_parameter("features.0.weight"))
    assert loaded.pretrained_cfg["crop_pct"] == 224 / 256


def test_a_server_that_answers_is_reached() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert hub._answers(f"http://127.0.0.1:{server.server_port}")  # it says 501, but it answers
    finally:
        server.shutdown()
        server.server_close()


def test_a_closed_port_and_a_silent_server_fail_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_PROBE_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        assert not hub._answers(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert not hub._answers("http://127.0.0.1:9")
        assert not hub._answers("http://no.such.host.invalid")
        assert time.monotonic() - start < 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "classes is 0; a classifier has one output or more"),
        ({"classes": 2, "drop_rate": 1.5}, "drop_rate is 1.5; it is a share from 0 to below 1"),
        ({"classes": 2, "input_size": -5}, "input_size is -5; it is the side of the images in pixels"),
    ],
)
def test_numbers_that_no_network_can_have_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fovea.models.create("lenet5", **options)


@pytest.mark.parametrize(
    ("name", "dropped"),
    [("alexnet", ["classifier.0", "classifier.3"]), ("torchvision/googlenet", ["dropout"]), ("vit_b_16", [])],
)
def test_a_drop_rate_is_that_before_the_classifier_alone(name: str, dropped: list[str]) -> None:
    model = create(name, classes=3, weights=None, from_scratch=True, drop_rate=0.9).model
    assert [
        path for path, layer in model.named_modules() if isinstance(layer, torch.nn.Dropout) and layer.p == 0.9
    ] == dropped
