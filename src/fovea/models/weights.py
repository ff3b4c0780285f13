"""Weights on disk: reading state dicts safely, reading a model folder's config, and fitting weights into a network.

A torch file is opened with `weights_only=True` and nothing else: a pickle that would run code is refused, not run.
Building networks is `catalogue`'s work, downloading is `hub`'s.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from fovea.core.errors import ModelError
from fovea.core.files import digest

StateDict = dict[str, Tensor]

_FILE_NAMES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
WEIGHTS_DIGEST = "weights_digest"  # config.json's key for `core.files.digest` of the weights file
PENDING_CONFIG = ".config.json.next"  # the config of weights that are about to be, or have just been, swapped in
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # averaged weights first, as timm does
_PREFIXES = ("module.", "_orig_mod.", "model.")  # DistributedDataParallel, torch.compile, Lightning


def read_folder(folder: Path) -> tuple[dict[str, Any], StateDict]:
    """Read a model folder: its config and its weights.

    Where the config states the digest of its weights, they must match. If saving was cut off after the weights were
    swapped, the config waiting beside the old one is theirs.

    Raises:
        ModelError: something is missing or damaged, or config and weights do not belong together.
    """
    config = read_config(folder)
    path = weights_file(folder)
    if WEIGHTS_DIGEST in config:
        found = digest(path.read_bytes())
        if config[WEIGHTS_DIGEST] != found and (folder / PENDING_CONFIG).is_file():
            config = read_config(folder, name=PENDING_CONFIG)
        if config[WEIGHTS_DIGEST] != found:
            raise ModelError(
                f"{path} is damaged: it is not the file that config.json was written for",
                hint="copy the folder again, or repeat the command that made it",
            )
    return config, read_state_dict(path)


def read_config(folder: Path, *, name: str = "config.json") -> dict[str, Any]:
    """Read a model folder's config.json.

    Raises:
        ModelError: no folder, no config.json, or it is not a JSON object that names an architecture.
    """
    path = folder / name
    if not path.is_file():
        raise ModelError(
            f"{folder} is not a model folder: it has no {name}",
            hint="pass a folder in timm's format, or the weights file itself together with --model NAME",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is damaged: {error}", hint="copy or download the folder again") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise ModelError(f"{path} does not name an architecture", hint='it needs "architecture": "a timm name"')
    return config


def weights_file(folder: Path) -> Path:
    """Return the weights file of a model folder, safetensors first."""
    for name in _FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"{folder} holds no weights: expected model.safetensors beside config.json",
        hint="download model.safetensors from the same place as config.json",
    )


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from a .safetensors file, or from a torch file with `weights_only=True`.

    Unwraps checkpoints ("state_dict", "model", their averaged variants) and the prefixes that wrappers add.

    Raises:
        ModelError: missing, unreadable, damaged, not a state dict, or a pickle that would run code.
    """
    if not path.is_file():
        raise ModelError(f"no weights file at {path}", hint="check the path given to --weights")
    if path.suffix not in _SUFFIXES:
        raise ModelError(
            f"{path} is not a weights file: expected one of {', '.join(_SUFFIXES)}",
            hint="pass a timm folder or a state-dict file to --weights",
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _without_prefixes(_unwrap(content, path))


def fit(model: nn.Module, state: Mapping[str, Tensor], *, classifiers: tuple[str, ...], source: str) -> None:
    """Load weights into a network; only the classifier may differ, it then keeps its fresh initialisation.

    Where names or shapes differ, timm's own conversions for that network (older or foreign layouts, other input
    sizes of a transformer) are tried.

    Args:
        classifiers: dotted names of the layers that may differ.
        source: where the weights come from, for messages.

    Raises:
        ModelError: listing what is missing, unexpected or of another shape.
    """
    for convert in (dict, *_conversions(model)):
        try:
            candidate = convert(dict(state))
        except Exception:  # a conversion for another layout may fail in any way; the next is tried
            continue
        loadable, faults = _compare(model, candidate, classifiers)
        if not faults:
            model.load_state_dict(loadable, strict=False)
            return
    raise ModelError(
        f"the weights of {source} do not fit {type(model).__name__}: {_compare(model, state, classifiers)[1]}",
        hint="check that --model names the architecture these weights were trained with",
    )


def state_digest(model: nn.Module, *, without: tuple[str, ...] = ()) -> str:
    """Return a digest of a network's weights and statistics, leaving out the layers named in `without`.

    >>> state_digest(nn.ReLU()) == state_digest(nn.Tanh())
    True
    """
    parts: list[str | bytes] = []
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(tuple(f"{layer}." for layer in without)):
            plain = tensor.detach().cpu().contiguous()
            parts += [
                name,
                str(plain.dtype),
                str(tuple(plain.shape)),
                plain.flatten().view(torch.uint8).numpy().tobytes(),
            ]
    return digest(*parts)


def _read_safetensors(path: Path) -> Any:
    try:
        return load_safetensors(path.read_bytes())
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(f"{path} is damaged: {error}", hint="copy or download the file again") from error


def _read_torch(path: Path) -> Any:
    try:
        # timm's own training checkpoints carry their settings in a Namespace, which only holds plain values
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is refused: loading it would run code stored in the file, or it is not a torch file",
            hint="save only the weights, torch.save(model.state_dict(), path), or better as .safetensors",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path} is damaged: {reason}", hint="copy or download the file again") from error


def _unwrap(content: Any, path: Path) -> StateDict:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(
            f"{path} holds no state dict: expected a mapping of names to tensors",
            hint="save the weights with torch.save(model.state_dict(), path)",
        )
    return {str(name): tensor for name, tensor in content.items()}


def _without_prefixes(state: StateDict) -> StateDict:
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _conversions(model: nn.Module) -> list[Callable[[StateDict], Mapping[str, Tensor]]]:
    """timm keeps a network's conversion beside its class, under one of these names."""
    home = sys.modules[type(model).__module__]
    found = [
        getattr(home, name, None) for name in ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
    ]

    def call(convert: Callable[..., Any]) -> Callable[[StateDict], Mapping[str, Tensor]]:
        def converted(state: StateDict) -> Mapping[str, Tensor]:
            try:
                return convert(state, model)
            except TypeError:  # older conversions take the state dict alone
                return convert(state)

        return converted

    return [call(convert) for convert in found if convert is not None]


def _compare(
    model: nn.Module, state: Mapping[str, Tensor], classifiers: tuple[str, ...]
) -> tuple[dict[str, Tensor], str]:
    """Return what can be loaded, and in words what stands against it outside the classifier."""
    wanted = model.state_dict()
    free = tuple(f"{name}." for name in classifiers)
    odd = {name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape}
    missing = [n for n in wanted if n not in state and not n.startswith(free) and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in wanted and not n.startswith(free)]
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in odd and not name.startswith(free)
    ]
    faults = "; ".join(
        _some(*pair) for pair in (("missing", missing), ("unexpected", unexpected), ("shape", shapes)) if pair[1]
    )
    drop = odd | {name for name in state if name not in wanted}
    return {name: tensor for name, tensor in state.items() if name not in drop}, faults


def _some(title: str, names: list[str]) -> str:
    return f"{len(names)} {title} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"
