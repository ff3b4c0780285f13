"""Small data and small weights for whole workflows: seconds, not minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fovea.core.recipe import Recipe
from fovea.core.recipe_io import build_recipe
from fovea.data import scanning
from fovea.data.preprocess import Preprocess
from fovea.models.bundle import save_bundle

from .pictures import plant

COLOURS = {"apple red": (200, 40, 40), "Birne grün": (60, 180, 60), "plum": (90, 40, 140)}


def draw(colour: tuple[int, int, int], rng: np.random.Generator, *, size: tuple[int, int] = (40, 48)) -> Image.Image:
    """A noisy patch of a colour with a brighter blob somewhere."""
    pixels = rng.normal(colour, 25, (*size, 3))
    top, left = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 12)
    pixels[top : top + 12, left : left + 12] += 40
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 14 images with spaces and umlauts in their names, and one truncated file."""
    root = tmp_path_factory.mktemp("my photos")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for number in range(14):
            draw(colour, rng).save(root / name / f"bild {number}.{'png' if number % 2 else 'jpg'}")
    broken = root / "plum" / "broken.jpg"
    draw((0, 0, 0), rng).save(broken)
    broken.write_bytes(broken.read_bytes()[:-200])
    return root


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as a user downloads it: a small residual network with 7 classes of its own."""
    folder = tmp_path_factory.mktemp("weights") / "resnet10t"
    torch.manual_seed(0)
    arguments = {"stem_type": "", "stem_width": 8, "channels": [8, 16, 24, 32]}
    model = timm.create_model("resnet10t", num_classes=7, **arguments)
    half = (0.5, 0.5, 0.5)
    preprocess = Preprocess(input_size=32, crop_pct=0.9, interpolation="bilinear", mean=half, std=half)
    save_bundle(
        folder,
        model=model,
        architecture="resnet10t",
        model_args=arguments,
        pretrained_cfg={"first_conv": "conv1", "classifier": "fc"},
        classes=[f"old {number}" for number in range(7)],
        class_ids=None,
        preprocess=preprocess.as_dict(),
        library="timm",
        extra={},
    )
    return folder


def recipe(*overrides: str) -> Recipe:
    """A recipe that trains in a second or two."""
    return build_recipe(overrides=["train.batch_size=8", "train.threads=1", "data.workers=1", *overrides])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("data") / "my pictures ü")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every file that was decoded for a look."""
    sources: list[object] = []
    real = scanning.see

    def see(source: object, *, max_pixels: int) -> object:
        sources.append(source)
        return real(source, max_pixels=max_pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(scanning, "see", see)
    return sources
