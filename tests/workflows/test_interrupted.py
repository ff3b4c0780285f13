"""Ctrl-C and kill -9: nothing is lost, and a resumed training ends with the weights of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fovea.core.run import Run

SETTINGS = ["--set", "train.batch_size=8", "--set", "train.threads=1", "--set", "train.checkpoint_s=0"]


def _train(photos: Path, weights: Path, out: Path, *, epochs: int = 6) -> list[str]:
    return [
        sys.executable, "-m", "fovea", "train", str(photos), "--weights", str(weights), "--out", str(out), "--plain",
        "--set", "train.strategy=full", "--set", f"train.epochs={epochs}", *SETTINGS,
    ]  # fmt: skip


def _weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def _wait_for(run: Path, event: str, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until `count` such events are in the log; the process must still be running."""
    for _ in range(1200):
        if (run / "events.jsonl").exists() and len(list(Run(run).events(event))) >= count:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError(f"no {count} events {event!r} within a minute")


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run(_train(photos, tiny_weights, out), check=True, capture_output=True, timeout=300)
    return _weights(out)


@pytest.mark.parametrize(
    ("event", "count", "delay_s"),
    [
        pytest.param("started", 1, 0.0, marks=pytest.mark.slow),
        pytest.param("rung_started", 1, 0.1, marks=pytest.mark.slow),
        ("epoch", 2, 0.03),
        pytest.param("epoch", 4, 0.0, marks=pytest.mark.slow),
    ],
)
def test_after_kill_9_the_weights_are_those_of_an_undisturbed_run(
    photos: Path, tiny_weights: Path, tmp_path: Path, undisturbed: bytes, event: str, count: int, delay_s: float
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        _train(photos, tiny_weights, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for(run, event, count, process)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    resumed = subprocess.run(
        [sys.executable, "-m", "fovea", "resume", str(run), "--plain"], capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert _weights(run) == undisturbed
    assert (run / "report.html").exists()
    assert len(Run(run).summary()) == 6


def test_ctrl_c_ends_cleanly_with_a_usable_model_and_the_way_on(
    photos: Path, tiny_weights: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        _train(photos, tiny_weights, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for(run, "epoch", 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors[-2000:]
    assert f"hint: fovea resume {run}" in errors
    assert "Traceback" not in errors

    from fovea.workflows.evaluating import evaluate
    from fovea.workflows.loading import load

    partial = Run(run).read("plan.json")["partial"]  # what was trained so far is delivered if it is the best so far
    assert partial["name"] == "full"
    finished = Run(run).read("plan.json")["rungs"]
    best = max([partial, *finished], key=lambda entry: (entry["val_accuracy"], -entry["val_loss"]))
    assert evaluate(run)["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert load(run).predict(next((photos / "plum").glob("*.png"))).label
    again = [sys.executable, "-m", "fovea", "resume", str(run), "--plain"]
    subprocess.run(again, check=True, capture_output=True, timeout=300)
    assert _weights(run) == undisturbed
    assert "partial" not in Run(run).read("plan.json")
    done = subprocess.run(again, check=True, capture_output=True, text=True, timeout=300)
    assert "nothing is left to do" in done.stderr


def test_an_interrupted_evaluation_is_finished_by_resume(
    photos: Path, tiny_weights: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        _train(photos, tiny_weights, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for(run, "rung_finished", 2, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    subprocess.run(
        [sys.executable, "-m", "fovea", "resume", str(run), "--plain"], check=True, capture_output=True, timeout=300
    )
    assert _weights(run) == undisturbed
    assert (run / "report.html").exists()
