"""The devices and the precision of a training."""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch
from lightning_fabric import Fabric

from fovea.core.errors import RecipeError
from fovea.core.recipe import TrainRecipe


def build_fabric(settings: TrainRecipe) -> Fabric:
    """Return the devices that the recipe asks for; under `torchrun`, every process of it.

    Raises:
        RecipeError: the device that was asked for is not here.
    """
    accelerator = _accelerator(settings.device)
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    precision: dict[str, Any] = {
        "fp32": "32-true",
        "bf16": "bf16-mixed",
        "fp16": "16-mixed",
        "auto": _precision(accelerator),
    }
    fabric = Fabric(
        accelerator=accelerator,
        devices=local if world > 1 else 1,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision=precision[settings.precision],
    )
    fabric.launch()
    if world > 1:
        atexit.register(_leave_group)
    return fabric


def _leave_group() -> None:
    """End the processes' connection before Python ends: threads of gloo that still run then abort the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _accelerator(device: str) -> str:
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if here["cuda"] else "mps" if here["mps"] else "cpu"
    if not here[device]:
        found = ", ".join(name for name, present in here.items() if present)
        raise RecipeError(f"train.device is {device!r}, which this machine lacks", hint=f"found here: {found}")
    return device


def _precision(accelerator: str) -> str:
    """bf16 where a GPU has it, fp16 on older ones; on CPU fp32, because depthwise gradients are slower in bf16."""
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "32-true"
