"""The model folder: timm's own format with our metadata beside it, so that timm loads what fovea trained.

    config.json         architecture, model_args, pretrained_cfg (timm's keys); classes, class_ids, preprocess … (ours)
    model.safetensors   a plain state dict

Never a pickle. The config carries the digest of the weights it belongs to. Saving over an older model first puts the
new config aside, then swaps the weights, then the config: whenever it is cut off, `load_bundle` finds a pair that fits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

import fovea
from fovea.core.errors import ModelError
from fovea.core.files import digest, write_bytes, write_json
from fovea.data.preprocess import Preprocess
from fovea.models.catalogue import Library, build, library_of
from fovea.models.weights import PENDING_CONFIG, WEIGHTS_DIGEST, fit, read_folder

# What of timm's pretrained_cfg still describes the trained network; its tag, address and label offset do not.
_KEPT = ("input_size", "fixed_input_size", "pool_size", "first_conv", "classifier")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A trained network as loaded from its folder.

    Attributes:
        model: in eval mode, on the CPU.
        classes: names in the order of the network's outputs.
        class_ids: the data source's own ids of the classes, in the same order; None where it had none.
        preprocess: `data.preprocess.Preprocess.as_dict()`.
        config: all of config.json.
    """

    model: nn.Module
    classes: tuple[str, ...]
    class_ids: tuple[Any, ...] | None
    preprocess: dict[str, Any]
    config: dict[str, Any]


def save_bundle(
    folder: Path | str,
    *,
    model: nn.Module,
    architecture: str,
    model_args: Mapping[str, Any],
    pretrained_cfg: Mapping[str, Any],
    classes: Sequence[str],
    class_ids: Sequence[Any] | None,
    preprocess: Mapping[str, Any],
    library: Library,
    extra: Mapping[str, Any],
) -> None:
    """Write a trained network to `folder`; an older model there is replaced, other files are left alone.

    Args:
        model: a network as `catalogue.build(library, architecture, …, model_args=model_args)` makes it.
        pretrained_cfg: timm's description of the network; input and preprocessing in it are overruled by `preprocess`.
        preprocess: `Preprocess.as_dict()`.
        extra: further top-level keys of config.json.

    >>> import tempfile, timm
    >>> from fovea.data.preprocess import Preprocess
    >>> net, folder = timm.create_model("resnet10t", num_classes=2), tempfile.mkdtemp()
    >>> save_bundle(folder, model=net, architecture="resnet10t", model_args={}, pretrained_cfg={}, library="timm",
    ...             classes=["cat", "dog"], class_ids=None, preprocess=Preprocess(input_size=64).as_dict(), extra={})
    >>> load_bundle(folder).classes
    ('cat', 'dog')
    """
    folder = Path(folder)
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in _unshared(model).items()})
    kept = {key: pretrained_cfg[key] for key in _KEPT if key in pretrained_cfg}
    described = Preprocess.from_dict(preprocess).as_pretrained_cfg()
    config = {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": getattr(model, "num_features", None),
        "label_names": list(classes),
        "model_args": dict(model_args),
        "pretrained_cfg": {**kept, **described, "num_classes": len(classes)},
        "library": library,
        "classes": list(classes),
        "class_ids": None if class_ids is None else list(class_ids),
        "preprocess": dict(preprocess),
        "fovea": fovea.__version__,
        WEIGHTS_DIGEST: digest(weights),
    }
    if clash := config.keys() & extra.keys():
        raise ValueError(f"extra must not contain {sorted(clash)}: the bundle writes these itself")
    write_json(folder / PENDING_CONFIG, {**config, **extra})
    write_bytes(folder / "model.safetensors", weights)
    os.replace(folder / PENDING_CONFIG, folder / "config.json")


def load_bundle(folder: Path | str) -> Bundle:
    """Read a network that `save_bundle` wrote.

    Raises:
        ModelError: something is missing, damaged, or does not belong together.

    Example: see `save_bundle`.
    """
    folder = Path(folder)
    config, state = read_folder(folder)
    classes, preprocess = config.get("classes"), config.get("preprocess")
    if not isinstance(classes, list) or not isinstance(preprocess, dict) or len(classes) != config.get("num_classes"):
        raise ModelError(
            f"{folder} is not a model that fovea saved: config.json lacks its classes or preprocessing",
            hint="train with --weights FOLDER to start from a model of timm's",
        )
    model = build(
        library_of(config),
        config["architecture"],
        classes=len(classes),
        model_args=dict(config.get("model_args") or {}),
        pretrained_cfg={**config["pretrained_cfg"], "architecture": config["architecture"]},
    )
    fit(model, state, classifiers=(), source=str(folder))
    ids = config.get("class_ids")
    return Bundle(
        model=model.eval(),
        classes=tuple(classes),
        class_ids=None if ids is None else tuple(ids),
        preprocess=preprocess,
        config=config,
    )


def _unshared(model: nn.Module) -> dict[str, Any]:
    """Return the state dict with tensors that share memory copied, which safetensors insists on."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict().items():
        address = tensor.data_ptr()
        state[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return state
