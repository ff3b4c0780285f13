"""Checkpoints that survive a kill at any moment: temporary file, fsync, rename, and a checksum in the name.

A checkpoint is a nested state of tensors and plain values in one safetensors file (never a pickle). The file name
carries the order and the digest of the content, so a damaged file is detected and the one before it is used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from fovea.core.files import digest, write_bytes

_STRUCTURE = "fovea_structure"


def save_checkpoint(folder: Path, state: dict[str, Any], *, keep: int = 2, name: str = "step") -> Path:
    """Write `state` as the newest checkpoint of `name` in `folder` and drop all but the newest `keep`.

    Args:
        folder: the run's checkpoints folder.
        state: nested dicts and lists of tensors and JSON values.
        keep: how many to leave, so that a damaged newest one has a predecessor.
        name: the kind of checkpoint; "step" for resuming, "best" for the best weights.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = _take_tensors(state, tensors)
    content = save(tensors, metadata={_STRUCTURE: json.dumps(structure)})
    existing = _numbered(folder, name)
    number = existing[-1][0] + 1 if existing else 1
    path = folder / f"{name}-{number:06d}-{digest(content)}.safetensors"
    write_bytes(path, content)
    for _, old in existing[: max(0, len(existing) + 1 - keep)]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, *, name: str = "step") -> tuple[dict[str, Any] | None, list[Path]]:
    """Return the newest intact checkpoint of `name` and the damaged files that were passed over.

    The state is None when there is no intact checkpoint.
    """
    damaged: list[Path] = []
    for _, path in reversed(_numbered(folder, name)):
        state = read_checkpoint(path)
        if state is not None:
            return state, damaged
        damaged.append(path)
    return None, damaged


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the state in `path`, or None when its content does not match the digest in its name."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if digest(content) != path.stem.rpartition("-")[2]:
        return None
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        structure = json.loads(header["__metadata__"][_STRUCTURE])
    except (SafetensorError, KeyError, ValueError):
        return None
    state: dict[str, Any] = _give_tensors(structure, tensors)
    return state


def _numbered(folder: Path, name: str) -> list[tuple[int, Path]]:
    found = []
    for path in folder.glob(f"{name}-*.safetensors"):
        number = path.stem.removeprefix(f"{name}-").partition("-")[0]
        if number.isdigit():
            found.append((int(number), path))
    return sorted(found)


def _take_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return `value` as JSON with each tensor replaced by a reference; the tensors are collected in `tensors`."""
    if isinstance(value, torch.Tensor):
        key = str(len(tensors))
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {"$tensor": key}
    if isinstance(value, dict):
        # Pairs, not an object: an optimiser's state is keyed by integers, which JSON objects would turn into text.
        return {"$dict": [[key, _take_tensors(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_take_tensors(item, tensors) for item in value]
    return value


def _give_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        return {key: _give_tensors(item, tensors) for key, item in value["$dict"]}
    if isinstance(value, list):
        return [_give_tensors(item, tensors) for item in value]
    return value
