"""Trains a tiny network for two epochs under torchrun (or alone) and writes its weights; run by test_distributed.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fovea.core.progress import Silent
from fovea.core.recipe import Recipe, TrainRecipe
from fovea.core.run import Run
from fovea.training.batches import global_batch
from fovea.training.loop import Clock, Job, fit
from fovea.training.objective import build_objective
from fovea.training.optimisers import build_optimiser, parameter_groups, peak_lr
from fovea.training.sampling import batch_count, epoch_batches
from fovea.workflows.devices import build_fabric


def train(folder: Path, batch_size: int, batch_size_is: str) -> None:
    """Train and write the weights, the number of processes and the learning rate to folder/weights.pt."""
    settings = TrainRecipe(
        batch_size=batch_size, batch_size_is=batch_size_is, optimizer="sgd", lr=0.1, ema_decay=0.0, device="cpu"
    )
    fabric = build_fabric(settings)
    world = fabric.world_size
    size = global_batch(settings, world)
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(21, 5, generator=generator), np.arange(21) % 3  # 21: an uneven last batch

    class Batches:
        def __len__(self) -> int:
            return batch_count(21, size)

        def epoch(self, epoch: int, *, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
            for rows in epoch_batches(targets, batch_size=size, seed=0, epoch=epoch)[first:]:
                own = rows[fabric.global_rank :: world]
                yield inputs[own], torch.as_tensor(targets[own]), len(rows)

    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    names = [name for name, _ in module.named_parameters()]
    lr = peak_lr(settings, from_scratch=False, devices=world)
    groups = parameter_groups(module, [names], weight_decay=0.01, layer_decay=1.0)
    if fabric.is_global_zero:
        Run.create(folder, Recipe())
    fabric.barrier()
    fit(
        Job(
            rung="full",
            module=module,
            optimiser=build_optimiser(groups, lr=lr, settings=settings),
            lr=lr,
            batches=Batches(),
            objective=build_objective(settings, counts=np.array([7, 7, 7]), multilabel=False),
            validate=None,
            settings=settings,
            epochs=2,
            seed=0,
            reserve_s=0.0,
            frozen_bn=False,
        ),
        fabric=fabric,
        run=Run.open(folder),
        clock=Clock(),
        progress=Silent(),
        stop=lambda: False,
    )
    if fabric.is_global_zero:
        torch.save({"weights": module.state_dict(), "world": world, "lr": lr}, folder / "weights.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]) / "total", 8, "total")
    train(Path(sys.argv[1]) / "each", 4, "per_device")
    if torch.distributed.is_initialized():  # else gloo's threads may still run when a process ends, and abort it
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
