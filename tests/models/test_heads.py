"""The classifier is found in any network, and a fitted linear head can be put into it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fovea.core.errors import ModelError
from fovea.models.catalogue import build
from fovea.models.heads import classifier, classifier_path, replace_classifier, set_linear_head


@pytest.mark.parametrize(
    ("library", "name", "path"),
    [
        ("timm", "mobilenetv2_035", "classifier"),
        ("timm", "resnet10t", "fc"),
        ("timm", "convnext_atto", "head.fc"),
        ("timm", "vit_tiny_patch16_224", "head"),
        ("timm", "regnetx_002", "head.fc"),
        ("torchvision", "squeezenet1_1", "classifier.1"),
        ("torchvision", "shufflenet_v2_x0_5", "fc"),
        ("torchvision", "mobilenet_v3_small", "classifier.3"),
        ("torchvision", "vit_b_32", "heads.head"),
    ],
)
def test_the_classifier_is_found(library: str, name: str, path: str) -> None:
    with torch.device("meta"):
        model = build(library, name, classes=7, model_args={})  # type: ignore[arg-type]
    assert classifier_path(model) == path
    assert classifier(model).weight.shape[0] == 7
    replace_classifier(model, 3)
    assert classifier(model).weight.shape[0] == 3


def test_a_network_without_a_classifier() -> None:
    with pytest.raises(ModelError, match="Sequential has no classifier"):
        classifier_path(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_a_head_of_another_size_is_refused() -> None:
    with pytest.raises(RuntimeError):
        set_linear_head(nn.Sequential(nn.Linear(4, 3)), weight=torch.zeros(2, 4), bias=torch.zeros(2))


def test_a_classifier_without_bias_is_refused() -> None:
    with pytest.raises(ModelError, match="no bias"):
        set_linear_head(nn.Sequential(nn.Linear(4, 3, bias=False)), weight=torch.zeros(3, 4), bias=torch.zeros(3))
