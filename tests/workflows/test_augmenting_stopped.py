"""`fovea augment` and Ctrl-C, `fovea augment` and kill -9: it ends as if nothing had been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fovea.workflows.augmenting import augment

from .pictures import clouds, put

SLOWLY = """
import os, sys, time
from fovea.workflows import augmenting
real = augmenting.write_copies
def write_copies(task, copy):
    time.sleep(0.02)
    result = real(task, copy)
    os.write(1, b"written\\n")  # in one piece: several threads write
    return result
augmenting.write_copies = write_copies
from fovea.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_stop_keeps_what_is_done(tmp_path: Path) -> None:
    for number in range(40):
        put(tmp_path / "data" / f"class {number % 3}" / f"{number}.jpg", clouds(number))
    command = ["augment", str(tmp_path / "data"), "--factor", "3", "--out", str(tmp_path / "out"), "--plain"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "written\n", process.communicate()[1]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "out/augment.json").read_text())["complete"] is False
    result = augment(tmp_path / "data", out=tmp_path / "out", factor=3)
    assert 0 < result.written <= 120 - 3 * 3  # what was there is kept
    augment(tmp_path / "data", out=tmp_path / "whole", factor=3)
    assert json.loads((tmp_path / "out/augment.json").read_text())["complete"] is True
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    for number in range(60):
        put(tmp_path / "data" / f"class {number % 3}" / f"{number}.jpg", clouds(number, width=400, height=300))
    augment(tmp_path / "data", out=tmp_path / "whole", factor=6)
    command = [sys.executable, "-m", "fovea", "augment", str(tmp_path / "data"), "--factor", "6", "--out"]
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(
            [*command, str(tmp_path / "out")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not (tmp_path / "out" / "augment.json").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.25)
        if process.poll() is None:
            process.kill()
            kills += 1
        if process.wait() == 0:
            break
    augment(tmp_path / "data", out=tmp_path / "out", factor=6)
    assert kills >= 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
