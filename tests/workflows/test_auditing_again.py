"""The audit a second time, and stopped: what was read is remembered, and a stop says so."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fovea.core.errors import Interrupted
from fovea.core.recipe_io import build_recipe
from fovea.workflows import features, stopping
from fovea.workflows.auditing import audit

from .pictures import Told, clouds, plant, put

PLAIN = build_recipe(overrides=["model.weights=plain", "train.threads=1"])


def test_a_second_run_opens_only_what_is_new(tmp_path: Path, opened: list) -> None:
    data = plant(tmp_path / "data", train=5, val=3)
    first = audit(data, fast=True)
    assert len(opened) == 23  # of 23 files each once
    opened.clear()
    again = audit(data, fast=True)
    assert opened == []
    assert [f.as_dict() for f in again.findings] == [f.as_dict() for f in first.findings]
    opened.clear()
    put(data / "val" / "cat" / "new.jpg", clouds(900))
    put(data / "train" / "cat" / "new too.jpg", clouds(900), quality=40)
    grown = audit(data, fast=True)
    assert len(opened) == 2
    assert any(
        ("train/cat/new too.jpg", "val/cat/new.jpg") in finding.groups
        for finding in grown.findings
        if finding.code == "split-leakage"
    )


def test_without_a_place_for_a_cache_it_works_as_well(
    planted: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / "file" / "cache"))
    assert "duplicate-near" in {finding.code for finding in audit(planted, recipe=PLAIN).findings}


def test_a_second_run_in_its_fast_form_brings_in_no_torch(tmp_path: Path) -> None:
    data = plant(tmp_path / "data", train=5, val=3)
    audit(data, fast=True)
    code = f"import sys; from fovea.cli import main; main({['audit', str(data), '--fast', '--json']!r}); "
    code += "print('torch' in sys.modules, 'matplotlib' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.splitlines()[-1] == "False False", done.stderr


SLOWLY = """
import os, sys, time
from fovea.data import scanning
real = scanning.see
def see(source, *, max_pixels):
    os.write(1, b"seen\\n")  # in one piece: several threads write
    time.sleep(0.04)
    return real(source, max_pixels=max_pixels)
scanning.see = see
scanning._BATCH = 8
from fovea.cli import main
sys.exit(main(sys.argv[1:]))
"""


def begun(data: Path, seen: int) -> subprocess.Popen[str]:
    """Start an audit that takes its time over each file, and wait until it has seen so many."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, "audit", str(data), "--fast", "--plain"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(seen):
        assert process.stdout.readline() == "seen\n", process.communicate()[1]
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_scan_that_is_stopped_says_what_it_keeps_and_goes_on_from_there(
    planted: Path, opened: list, number: signal.Signals
) -> None:
    process = begun(planted, seen=12)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    *_, stopped, hint = errors.splitlines()
    told = re.fullmatch(r"stopped by the user while reading images; (\d+) of 43 files are remembered", stopped)
    assert told is not None, errors
    assert hint == "hint: the same command goes on from there"
    found = audit(planted, fast=True)
    assert len(found.subject) == 41
    assert 8 <= int(told[1]) < 43  # at least one batch
    assert len(opened) == 43 - int(told[1])


def test_a_stop_while_the_network_looks_says_how_far_it_came(
    planted: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def stop_on_signal(progress: object) -> Iterator[Callable[[], bool]]:
        yield lambda: True

    settings = build_recipe(overrides=[f"model.weights={tiny_weights}", "train.threads=1"])
    monkeypatch.setattr(features, "stop_on_signal", stop_on_signal)
    with pytest.raises(Interrupted, match=r"stopped by the user; \d+ of 41 images have their features"):
        audit(planted, recipe=settings)


@pytest.mark.slow
def test_a_scan_that_was_killed_goes_on_from_what_it_had(planted: Path, opened: list) -> None:
    process = begun(planted, seen=12)
    process.kill()
    process.communicate(timeout=60)
    audit(planted, fast=True)
    assert 0 < len(opened) <= 43 - 8  # at least one batch was remembered


@pytest.mark.parametrize("step", ["looking for copies", "checking", "judging labels"])
def test_a_stop_after_the_scan_names_the_work_it_ended(
    planted: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    console = Told()

    @contextlib.contextmanager
    def stop_on_signal(progress: object) -> Iterator[Callable[[], bool]]:
        yield lambda: step in console.steps  # Ctrl-C in the course of the step

    monkeypatch.setattr(stopping, "stop_on_signal", stop_on_signal)
    with pytest.raises(Interrupted, match=f"stopped by the user while {step}") as caught:
        audit(planted, recipe=PLAIN, console=console)
    assert caught.value.hint == "the same command goes on from what is remembered"
