"""A network by name, as a plain PyTorch module: `fovea.models.create`.

What training needs besides (constructor arguments, preprocessing, digest of the weights) `catalogue.create` gives too.
"""

from __future__ import annotations

from torch import nn

from fovea.models import catalogue


def create(
    name: str, *, classes: int, weights: str | None = None, input_size: int | None = None, drop_rate: float = 0.0
) -> nn.Module:
    """Return a network of the catalogue, in eval mode: images (B, 3, H, W) -> logits (B, classes).

    Args:
        name: of timm, torchvision or fovea, with or without timm's tag; `fovea models` lists them.
        classes: number of outputs, from 1 on.
        weights: None for random ones, "hub" for the published ones, else a model folder or a state-dict file.
        input_size: side of the images in pixels, where the network is built for one size (vision transformers).
        drop_rate: dropout before the classifier, from 0 to below 1. Torchvision's networks that have none there
            (ResNets and their kin, DenseNets, RegNets, ShuffleNets, transformers) stay without.

    Raises:
        UnknownName: no library knows the name; the nearest is suggested.
        ModelError: the weights cannot be found, read or fitted.
        ValueError: a number that no network can have.

    >>> sum(parameter.numel() for parameter in create("lenet5", classes=10).parameters())
    61706
    """
    if classes < 1:
        raise ValueError(f"classes is {classes}; a classifier has one output or more")
    if not 0 <= drop_rate < 1:
        raise ValueError(f"drop_rate is {drop_rate}; it is a share from 0 to below 1")
    if input_size is not None and input_size < 1:
        raise ValueError(f"input_size is {input_size}; it is the side of the images in pixels")
    loaded = catalogue.create(
        name, classes=classes, weights=weights, from_scratch=weights is None, input_size=input_size, drop_rate=drop_rate
    )
    return loaded.model
