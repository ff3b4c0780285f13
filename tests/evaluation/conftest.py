"""A tiny network and a folder of real image files for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fovea.data.preprocess import Preprocess

CLASSES = ("apple", "pear", "<script>", "=cmd")
PREPROCESS = Preprocess(input_size=32, crop_pct=1.0)


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """Convolutions, BatchNorm with statistics of its own, and a linear layer: what can tell images in a batch apart."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, stride=2, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU6(),
        nn.Conv2d(24, 24, 3, groups=24),
        nn.Conv2d(24, 48, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(48, len(CLASSES)),
    )
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    return model


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """37 images of odd sizes, modes and formats; names with spaces and unicode."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "fruit & légumes"
    folder.mkdir()
    paths = []
    for index in range(37):
        size = generator.integers(20, 90, 2)
        image = Image.fromarray(generator.integers(0, 255, (*size, 3), dtype=np.uint8))
        suffix, mode = [("jpg", "RGB"), ("png", "L"), ("webp", "RGB"), ("png", "P"), ("jpg", "CMYK")][index % 5]
        paths.append(folder / f"bild {index} ü.{suffix}")
        image.convert(mode).save(paths[-1])
    return paths
