"""The loop: exact resume from any moment, deadlines, divergence, accumulation, two processes as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from fovea.core.errors import Interrupted
from fovea.core.progress import Silent
from fovea.core.recipe import Recipe, TrainRecipe
from fovea.core.run import Run
from fovea.training.loop import Clock, Job, Scores, fit
from fovea.training.objective import build_objective
from fovea.training.optimisers import build_optimiser, parameter_groups
from fovea.training.sampling import batch_count, epoch_batches

SETTINGS = TrainRecipe(batch_size=8, ema_decay=0.9, checkpoint_s=0.0, mixup=0.0, optimizer="adamw", lr=0.01)


class Blobs:
    """Two noisy classes of 3×8×8 images, in batches like the real ones."""

    def __init__(self, count: int = 60, *, noise: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        self.targets = np.arange(count) % 2
        self.inputs = torch.tensor(
            rng.normal(self.targets[:, None, None, None] - 0.5, noise, (count, 3, 8, 8)), dtype=torch.float32
        )

    def __len__(self) -> int:
        return batch_count(len(self.targets), SETTINGS.batch_size)

    def epoch(self, epoch: int, *, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        batches = epoch_batches(self.targets, batch_size=SETTINGS.batch_size, seed=3, epoch=epoch)
        for rows in batches[first:]:
            yield self.inputs[rows], torch.as_tensor(self.targets[rows]), len(rows)


def _network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(6 * 36, 2)
    )


def _job(module: nn.Module, *, epochs: int = 3, settings: TrainRecipe = SETTINGS, blobs: Blobs | None = None) -> Job:
    data = blobs or Blobs()
    stages = [[name for name, _ in module.named_parameters()]]
    groups = parameter_groups(module, stages, weight_decay=0.01, layer_decay=1.0)

    def validate(judged: nn.Module) -> Scores:
        with torch.no_grad():
            logits = judged(data.inputs)
        targets = torch.as_tensor(data.targets)
        loss = nn.functional.cross_entropy(logits, targets)
        return Scores(float(loss), float((logits.argmax(1) == targets).float().mean()))

    return Job(
        rung="full",
        module=module,
        optimiser=build_optimiser(groups, lr=settings.lr or 0.01, settings=settings),
        lr=settings.lr or 0.01,
        batches=data,
        objective=build_objective(settings, counts=np.array([30, 30]), multilabel=False),
        validate=validate,
        settings=settings,
        epochs=epochs,
        seed=1,
        reserve_s=0.0,
        frozen_bn=False,
    )


def _fit(job: Job, folder: Path, *, stop: Callable[[], bool] = lambda: False, resume: bool = False) -> Run:
    run = Run.open(folder) if resume else Run.create(folder, Recipe())
    fit(
        job,
        fabric=Fabric(accelerator="cpu", devices=1),
        run=run,
        clock=Clock(),
        progress=Silent(),
        stop=stop,
        resume=resume,
    )
    return run


def _stop_after(steps: int) -> Callable[[], bool]:
    calls = iter(range(10_000))
    return lambda: next(calls) >= steps


@pytest.mark.parametrize("steps", [1, 5, 7, 8, 9, 13, 20])
def test_a_stopped_training_resumes_bit_for_bit(tmp_path: Path, steps: int) -> None:
    whole = _network()
    run = _fit(_job(whole), tmp_path / "whole")

    first = _network()
    with pytest.raises(Interrupted):
        _fit(_job(first), tmp_path / "parts", stop=_stop_after(steps))
    second = _network()
    resumed = _fit(_job(second), tmp_path / "parts", resume=True)

    for (name, expected), value in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(expected, value), name
    drop = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in run.summary()] == [
        {k: v for k, v in row.items() if k not in drop} for row in resumed.summary()
    ]


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    whole = _network()
    _fit(_job(whole), tmp_path / "whole")
    with pytest.raises(Interrupted):
        _fit(_job(_network()), tmp_path / "parts", stop=_stop_after(11))
    newest = sorted((tmp_path / "parts" / "checkpoints").glob("step-*"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)

    second = _network()
    run = _fit(_job(second), tmp_path / "parts", resume=True)
    assert [event["file"] for event in run.events("checkpoint_damaged")] == [newest.name]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_the_loop_learns_and_the_summary_has_one_row_an_epoch(tmp_path: Path) -> None:
    run = _fit(_job(_network(), epochs=4, blobs=Blobs(noise=0.5)), tmp_path / "run")
    rows = run.summary()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["val_accuracy"] == 1.0
    assert (tmp_path / "run" / "summary.csv").read_text().count("train_loss") == 1


def test_the_best_weights_are_left_in_the_module_not_the_last(tmp_path: Path) -> None:
    module = _network()
    job = _job(module, epochs=3)
    scores = iter([Scores(1.0, 0.5), Scores(0.5, 0.9), Scores(2.0, 0.4)])
    seen: list[dict[str, torch.Tensor]] = []

    def validate(judged: nn.Module) -> Scores:
        seen.append({name: value.clone() for name, value in judged.state_dict().items()})
        return next(scores)

    _fit(dataclasses.replace(job, validate=validate), tmp_path / "run")
    assert all(torch.equal(seen[1][name], value) for name, value in module.state_dict().items())


def test_divergence_ends_the_rung_and_keeps_usable_weights(tmp_path: Path) -> None:
    module = _network()
    blobs = Blobs()
    job = _job(module, blobs=blobs, epochs=5)
    good = job.batches.epoch

    def epoch(number: int, *, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        for inputs, targets, images in good(number, first=first):
            yield (inputs * float("nan") if number == 2 else inputs), targets, images

    blobs.epoch = epoch  # type: ignore[method-assign]
    run = _fit(job, tmp_path / "run")
    assert len(run.summary()) == 3
    assert [event["epoch"] for event in run.events("diverged")] == [3]
    assert all(torch.isfinite(value.float()).all() for value in module.state_dict().values())


def test_early_stopping_counts_epochs_without_a_better_loss(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, early_stop=2)
    losses = iter([1.0, 0.9, 1.1, 1.2, 0.1])
    job = dataclasses.replace(
        _job(_network(), epochs=5, settings=settings), validate=lambda judged: Scores(next(losses), 0.5)
    )
    run = _fit(job, tmp_path / "run")
    assert [row["val_loss"] for row in run.summary()] == [1.0, 0.9, 1.1, 1.2]


def test_accumulating_two_batches_equals_one_batch_of_both(tmp_path: Path) -> None:
    """Without BatchNorm and dropout, 2 × 8 accumulated and 1 × 16 give the same gradient."""

    def plain() -> nn.Module:
        torch.manual_seed(5)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))

    class Once(Blobs):
        def __init__(self, size: int) -> None:
            super().__init__(16)
            self.size = size

        def __len__(self) -> int:
            return 16 // self.size

        def epoch(self, epoch: int, *, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
            for start in range(first * self.size, 16, self.size):
                rows = slice(start, start + self.size)
                yield self.inputs[rows], torch.as_tensor(self.targets[rows]), self.size

    settings = dataclasses.replace(SETTINGS, ema_decay=0.0, optimizer="sgd", warmup=0.0)
    one, two = plain(), plain()
    _fit(_job(one, epochs=1, settings=settings, blobs=Once(16)), tmp_path / "one")
    doubled = dataclasses.replace(settings, accumulate=2)
    _fit(_job(two, epochs=1, settings=doubled, blobs=Once(8)), tmp_path / "two")
    assert not torch.equal(one[1].weight, plain()[1].weight)
    torch.testing.assert_close(one[1].weight, two[1].weight, rtol=1e-5, atol=1e-6)


def test_a_spent_budget_ends_between_two_steps_with_weights(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Recipe())
    module = _network()
    position = fit(
        _job(module, epochs=50),
        fabric=Fabric(accelerator="cpu", devices=1),
        run=run,
        clock=Clock(budget_s=0.0),
        progress=Silent(),
        stop=lambda: False,
    )
    assert position.done
    assert position.step == 1
    assert len(run.summary()) == 1


def test_training_nothing_is_refused(tmp_path: Path) -> None:
    module = _network()
    job = _job(module)
    module.requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        _fit(job, tmp_path / "run")
