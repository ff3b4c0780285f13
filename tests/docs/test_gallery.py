"""The gallery of broken scripts: the doctor still names the fault that each has, and the page says so."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).resolve().parents[2] / "docs" / "gallery"
NAMED_FIRST = {
    "low_loss_half_right": "train-eval-transform",
    "rounded_twice": "decision-threshold",
    "forum_post": "softmax-before-loss",
    "tutorial_loop": "missing-zero-grad",
    "notebook_cells": "batchnorm-mode",
    "timm_like_train": "schedule-unit",
    "trainer_class": "optimizer-misses-parameters",
    "lightning_module": "class-map",
    "fastai_learner": "learning-rate-high",
    "sorted_folders": "not-shuffled",
    "raw_pixels": "not-normalised",
}
NEEDS = {"lightning_module": "lightning", "fastai_learner": "fastai"}
FAST = ("notebook_cells",)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NAMED_FIRST]
)
def test_the_fault_of_a_script_is_named_first(name: str, tmp_path: Path) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    answer = tmp_path / "answer.json"
    command = [sys.executable, "-m", "fovea.doctor", "--json", str(answer), f"{name}.py"]
    done = subprocess.run(command, cwd=GALLERY, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(answer.read_text(encoding="utf-8"))
    assert told["findings"][0]["code"] == NAMED_FIRST[name]
    assert told["findings"][0]["severity"] == "alarm"


def test_the_page_shows_every_script_with_an_answer_that_names_its_fault() -> None:
    page = (GALLERY / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\[\w+\.py\]\((\w+)\.py\)\n\n```text\n(.*?)```", page, re.MULTILINE | re.DOTALL))
    scripts = {path.stem for path in GALLERY.glob("*.py")} - {"make_gallery"}
    assert set(shown) == scripts == set(NAMED_FIRST)
    for name, code in NAMED_FIRST.items():
        alarm = next(line for line in shown[name].splitlines() if line.startswith("alarm: "))
        assert f"[{code}, " in alarm, name


def test_scripts_are_short() -> None:
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in GALLERY.glob("*.py")}
    del lengths["make_gallery.py"]
    assert {name for name, lines in lengths.items() if lines >= 60} == set()
