"""Frozen features: a vector an image, computed once, shared with the first rung of a training, kept on interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.core.progress import Silent
from fovea.core.recipe import DataRecipe
from fovea.data.manifest import Manifest
from fovea.data.preprocess import Preprocess
from fovea.data.reading import read
from fovea.models.catalogue import Loaded, create
from fovea.training import embedding
from fovea.training.embedding import activation_store, embed, feature_network, steady_backend

VIEW = Preprocess(input_size=32, crop_pct=1.0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of ten noisy patches, with a space and an umlaut in their names."""
    root = tmp_path_factory.mktemp("bilder für embed")
    rng = np.random.default_rng(0)
    for name, colour in (("rote Äpfel", (200, 40, 40)), ("plum", (90, 40, 140))):
        (root / name).mkdir()
        for number in range(10):
            pixels = rng.normal(colour, 30, (40, 36, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"bild {number}.png")
    return root


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    torch.manual_seed(0)
    return create("resnet10t", classes=2, weights=None, from_scratch=True)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take PyTorch itself, which needs no conversion of the network first."""
    monkeypatch.setattr(embedding, "steady_backend", lambda device: "eager-fp32")


@pytest.fixture
def manifest(photos: Path) -> Manifest:
    return read(photos)


def run(
    manifest: Manifest, loaded: Loaded, *, stop: Callable[[], bool] = lambda: False, view: Preprocess = VIEW
) -> tuple[np.ndarray, np.ndarray]:
    return embed(
        manifest,
        manifest.usable(),
        loaded=loaded,
        preprocess=view,
        settings=DataRecipe(workers=1),
        progress=Silent(),
        stop=stop,
    )


@pytest.mark.usefixtures("eager")
def test_features_are_what_the_classifier_sees(manifest: Manifest, loaded: Loaded) -> None:
    features, rows = run(manifest, loaded)
    assert features.shape == (20, 512) and features.dtype == np.float32
    assert rows.tolist() == list(range(20))
    path = manifest.paths()[3]
    with torch.inference_mode():
        seen = VIEW.normalise(np.array(VIEW.read(path))[None])
        logits = loaded.model(seen)[0]
        classified = loaded.model.get_classifier()(torch.as_tensor(features[3]))
    assert classified == pytest.approx(logits, rel=1e-3, abs=1e-3)


@pytest.mark.usefixtures("eager")
def test_nothing_is_decoded_or_computed_twice(
    manifest: Manifest, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, private_cache: Path
) -> None:
    first, _ = run(manifest, loaded)
    assert not (private_cache / "pixels").exists()  # features are kept, pixels are not
    monkeypatch.setattr("fovea.training.images.Images.plain", lambda *_: pytest.fail("decoded again"))
    again, rows = run(manifest, loaded)
    assert len(rows) == 20
    assert np.array_equal(first, again)


@pytest.mark.usefixtures("eager")
def test_another_view_has_other_features(manifest: Manifest, loaded: Loaded) -> None:
    whole, _ = run(manifest, loaded)
    cropped, _ = run(manifest, loaded, view=Preprocess(input_size=32, crop_pct=0.5))
    assert not np.allclose(whole, cropped)


@pytest.mark.usefixtures("eager")
def test_what_was_computed_before_a_stop_is_kept(manifest: Manifest, loaded: Loaded) -> None:
    asked: list[int] = []

    def after_one_batch() -> bool:
        asked.append(1)
        return len(asked) > 1

    features, rows = run(manifest, loaded, stop=after_one_batch)
    assert len(features) == len(rows) == 16  # one batch of the 20
    assert len(set(manifest.targets()[rows])) == 2
    whole, _ = run(manifest, loaded)
    assert np.array_equal(whole[rows], features)
    assert run(manifest, loaded, stop=lambda: True, view=Preprocess(input_size=32, crop_pct=0.6))[0].shape == (0, 0)


@pytest.mark.usefixtures("eager")
def test_files_that_have_gone_are_left_out(manifest: Manifest, loaded: Loaded, tmp_path: Path) -> None:
    import shutil
    from dataclasses import replace

    shutil.copytree(manifest.root, tmp_path / "copy")
    moved = replace(manifest, root=tmp_path / "copy")
    gone = moved.paths()[4]
    gone.unlink()
    moved.paths()[11].write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    features, rows = run(moved, loaded)
    assert rows.tolist() == [row for row in range(20) if row not in (4, 11)]
    assert len(features) == 18


def test_no_rows_give_no_features(manifest: Manifest, loaded: Loaded) -> None:
    features, rows = embed(
        manifest,
        manifest.usable().clear(),
        loaded=loaded,
        preprocess=VIEW,
        settings=DataRecipe(),
        progress=Silent(),
        stop=lambda: False,
    )
    assert features.shape == (0, 0) and rows.shape == (0,)


def test_the_first_rung_of_a_training_finds_them(
    photos: Path, tmp_path: Path, manifest: Manifest, private_cache: Path
) -> None:
    """What the audit computed is what `fovea train` looks for: same weights, view, images and arithmetic."""
    from fovea.core.recipe_io import build_recipe
    from fovea.models.bundle import save_bundle
    from fovea.workflows import training

    torch.manual_seed(0)
    source = create("resnet10t", classes=2, weights=None, from_scratch=True)
    view = Preprocess(input_size=32, crop_pct=1.0)
    save_bundle(
        tmp_path / "weights",
        model=source.model,
        architecture="resnet10t",
        model_args=source.model_args,
        pretrained_cfg=source.pretrained_cfg,
        classes=["a", "b"],
        class_ids=None,
        preprocess=view.as_dict(),
        library="timm",
        extra={},
    )
    loaded = create(None, classes=2, weights=str(tmp_path / "weights"))
    view = Preprocess.from_pretrained_cfg(loaded.pretrained_cfg, input_size=32, resize="squash")
    run(manifest, loaded, view=view)
    before = sorted((private_cache / "activations").rglob("*.npy"))
    recipe = build_recipe(
        overrides=["train.strategy=head", "train.threads=1", "data.workers=1", "data.input_size=32",
                   "data.resize=squash", f"model.weights={tmp_path / 'weights'}"]
    )  # fmt: skip
    training.train(photos, recipe=recipe, out=tmp_path / "run")
    assert sorted((private_cache / "activations").rglob("*.npy")) == before


def test_the_backend_never_depends_on_measured_time_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: None)
    assert steady_backend(torch.device("cpu")) == "eager-fp32"
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: object())
    assert steady_backend(torch.device("cpu")) == "openvino-fp32"
    assert steady_backend(torch.device("cuda")) is None


def test_a_network_that_cannot_be_traced_loses_its_classifier() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 6, 3)
            self.fc = torch.nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            if x.detach().sum().item() > 1e9:  # a trace cannot follow this
                x = x + 1
            return self.fc(x.mean((2, 3)))

    bare = feature_network(Odd().eval(), torch.randn(1, 3, 8, 8))
    assert bare(torch.randn(4, 3, 8, 8)).shape == (4, 6)


def test_stores_of_other_weights_lie_apart(loaded: Loaded) -> None:
    from dataclasses import replace

    other = replace(loaded, weights_digest="0" * 16)
    places = {
        activation_store(network, unit="features", preprocess=VIEW, backend=backend, view="plain").folder
        for network in (loaded, other)
        for backend in ("eager-fp32", "openvino-fp32")
    }
    assert len(places) == 4
