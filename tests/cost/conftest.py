"""Networks for the tests of costs, built without data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn

import fovea.models.nets  # noqa: F401  (tells timm of our own networks)

Build = Callable[..., nn.Module]


@pytest.fixture
def on_meta() -> Build:
    """Return what builds a network of torchvision ("torchvision/NAME"), timm or our own on "meta", in eval mode."""

    def build(name: str, **options: object) -> nn.Module:
        with torch.device("meta"):
            if name.startswith("torchvision/"):
                return torchvision.models.get_model(name.removeprefix("torchvision/"), weights=None, **options).eval()
            return timm.create_model(name, **options).eval()

    return build
