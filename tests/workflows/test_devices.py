"""The main job over two processes, as on two GPUs or machines; TensorBoard beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fovea.core.run import Run
from fovea.workflows import training

from .conftest import recipe


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this build of torch has no gloo")
def test_torchrun_trains_one_model_with_two_processes(photos: Path, tiny_weights: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "fovea",
        "train", str(photos), "--weights", str(tiny_weights), "--out", str(tmp_path / "run"), "--plain",
        "--set", "train.epochs=2", "--set", "train.batch_size=8", "--set", "train.device=cpu",
        "--set", "train.threads=1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run.open(tmp_path / "run")
    assert [entry["name"] for entry in run.read("plan.json")["rungs"]] == ["head", "full"]
    assert len(list(run.events("epoch"))) == len(run.summary()) == 2
    assert len(list(run.events("finished"))) == 1
    assert run.read("report.json")["accuracy"] > 0.6


def test_tensorboard_events_hold_the_summary(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = recipe("model.from_scratch=true", "train.epochs=2", "train.tensorboard=true")
    run = training.train(photos, recipe=settings, out=tmp_path / "run")
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("train_loss")]
    assert losses == pytest.approx([row["train_loss"] for row in run.summary()])
