"""The registry of fovea's own networks, which tells timm of each one too.

Registered with timm, a network is built by `timm.create_model(NAME)` once fovea.models.nets is imported, a model folder
of it opens as `local-dir:PATH`, and weights, features and preprocessing go the way that they go for timm's networks:
nothing in fovea treats them apart. fovea's registry says which networks are its own, and refuses a second of a name.
Should a later timm have a network of one of these names, ours takes its place, so that saved folders keep their
meaning, and timm warns; tests/contracts/test_models.py fails then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from fovea.core.registry import Registry
from fovea.models.nets.net import Net

Build = Callable[..., Net]  # (*, num_classes, in_chans, drop_rate) -> Net

NETS: Registry[Build] = Registry("network")
default_cfgs: dict[str, Any] = {}  # register_model looks for it in the module of what it registers, under this name

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CENTRED = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def register(
    name: str,
    *,
    summary: str,
    first_conv: str,
    stages: int = 5,
    input_size: int = 224,
    in_chans: int = 3,
    classes: int = 1000,
    centred: bool = False,
) -> Callable[[Build], Build]:
    """Return a decorator that registers a function which builds a network.

    Args:
        name: as `create` and `timm.create_model` take it.
        summary: one line on what it is.
        first_conv: name of the layer that sees the image.
        stages: how many stages it has.
        input_size: side of the images it was made for, in pixels.
        in_chans: channels that its first layer sees; what it is given are RGB images all the same.
        classes: how many it told apart in its paper.
        centred: pixel values from -1 to 1, in place of ImageNet's mean and deviation.
    """

    def add(build: Build) -> Build:
        def entry(pretrained: bool = False, **options: Any) -> Net:  # the signature that timm calls
            feature_cfg = {"feature_cls": "getter", "out_indices": tuple(range(stages))}
            options.setdefault("in_chans", in_chans)
            return build_model_with_cfg(build, name, pretrained, feature_cfg=feature_cfg, **options)

        NETS.register(name, summary=summary)(build)
        described = {
            "num_classes": classes,
            "input_size": (3, input_size, input_size),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "first_conv": first_conv,
            "classifier": "head.fc",
            **(_CENTRED if centred else _IMAGENET),
        }
        default_cfgs.update(generate_default_cfgs({name: described}))
        entry.__name__ = name
        register_model(entry)
        return build

    return add
