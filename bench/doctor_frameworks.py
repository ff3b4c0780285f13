"""The doctor under the libraries that people train with: is what it records what they did, and does it change nothing?

    make bench-env
    bench/.peers-venv/bin/python bench/doctor_frameworks.py                  # about ten minutes on one core
    bench/.peers-venv/bin/python bench/doctor_frameworks.py --only hf plain  # cases whose names begin so
    bench/.peers-venv/bin/python bench/doctor_frameworks.py --timm train.py  # with timm's script, from its repository

Each case is a script of `bench/frameworks`, started alone and under the doctor for each fault. Of every watched
training it is checked that the exit status, the output and the weights are those of the training alone, and that
steps, losses and evaluations are recorded as the script itself has counted them; the first alarm is held against the
fault. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

BENCH = Path(__file__).resolve().parent
SCRIPTS = BENCH / "frameworks"
OUT = BENCH / "out" / "doctor_frameworks"
LIBRARIES = ("torch", "lightning", "transformers", "accelerate", "fastai", "timm")
NAMED = {
    "none": set(),
    "softmax": {"softmax-before-loss"},
    "rate": {"learning-rate-high"},
    "pixels": {"not-normalised"},
    "labels": {"labels-shuffled"},
    "mode": {"batchnorm-mode"},
}


@dataclass(frozen=True)
class Case:
    """One way to train."""

    script: str
    options: tuple[str, ...] = ()
    faults: tuple[str, ...] = ("none",)
    tolerance: float = 1e-5  # of losses, relative: what the script prints may be rounded
    ties: int = 0  # of the best two scores, in an evaluation: half precision has some
    unseen: tuple[str, ...] = ()  # beginnings of what the doctor says it has not seen


_ALL = ("none", "softmax", "rate", "pixels", "labels", "mode")
_COMPILED = ("the layers within",)
CASES = {
    "lightning": Case("lightning_module.py", faults=_ALL),
    "lightning manual": Case("lightning_module.py", ("--manual=1",), _ALL[:3]),
    "lightning bf16": Case("lightning_module.py", ("--precision=bf16-mixed",), tolerance=5e-3),
    "lightning accumulating": Case("lightning_module.py", ("--accumulate=2",)),
    "lightning compiled": Case("lightning_module.py", ("--compile=eager",)),
    "hf trainer": Case("huggingface_trainer.py", faults=_ALL[:5], tolerance=1e-3),
    "hf trainer bf16": Case("huggingface_trainer.py", ("--bf16=1",), tolerance=5e-3),
    "hf trainer accumulating": Case(
        "huggingface_trainer.py", ("--kind=vit", "--accumulate=4", "--epochs=6"), tolerance=2e-2
    ),
    "hf trainer workers": Case("huggingface_trainer.py", ("--workers=1", "--epochs=2"), tolerance=1e-3),
    "hf trainer vit": Case("huggingface_trainer.py", ("--kind=vit",), ("none", "rate", "labels"), 1e-3),
    "hf trainer compiled": Case("huggingface_trainer.py", ("--compile=eager",), tolerance=1e-3, unseen=_COMPILED),
    "accelerate": Case("accelerate_loop.py", faults=_ALL),
    "accelerate bf16": Case("accelerate_loop.py", ("--precision=bf16",), tolerance=5e-3),
    "accelerate accumulating": Case("accelerate_loop.py", ("--accumulate=2",)),
    "accelerate own loss": Case("accelerate_loop.py", ("--loss=hand",), _ALL[:3]),
    "fastai": Case("fastai_learner.py", faults=_ALL),
    "plain": Case("compiled_loop.py", faults=_ALL),
    "plain bf16": Case("compiled_loop.py", ("--amp=1",), tolerance=5e-3),
    "compile eager": Case("compiled_loop.py", ("--backend=eager",), _ALL, unseen=_COMPILED),
    "compile inductor": Case("compiled_loop.py", ("--backend=inductor",), _ALL[:3], unseen=_COMPILED),
    "compile in place": Case("compiled_loop.py", ("--backend=inductor", "--what=place"), unseen=_COMPILED),
    "compile step": Case(
        "compiled_loop.py", ("--backend=inductor", "--what=step"), unseen=("the network in training",)
    ),
    "timm": Case("timm_train.py", faults=("none", "rate", "pixels")),
    "timm unsmoothed": Case("timm_train.py", ("--more=--smoothing 0",), _ALL[:2]),
    "timm bf16": Case("timm_train.py", ("--more=--amp --amp-dtype bfloat16",), tolerance=5e-3, ties=2),
    "timm mixing": Case("timm_train.py", ("--more=--mixup 0.2 --cutmix 0.2 --model-ema --model-ema-decay 0.9",)),
    "timm one by one": Case("timm_train.py", ("--more=--no-prefetcher",)),
    "timm compiled": Case("timm_train.py", ("--more=--torchcompile eager",), unseen=_COMPILED),
}


def main() -> None:
    """Run the cases that were asked for, and print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="cases whose names begin with one of these"
    )
    parser.add_argument("--faults", nargs="+", default=list(NAMED), choices=list(NAMED))
    parser.add_argument(
        "--timm", type=Path, metavar="TRAIN.PY", help="timm's script; its cases are left out without it"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    versions = {name: metadata.version(name) for name in LIBRARIES}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    rows = []
    for name, case in CASES.items():
        if (given.only and not name.startswith(tuple(given.only))) or (name.startswith("timm") and not given.timm):
            continue
        if name.startswith("timm"):
            case = dataclasses.replace(case, options=(f"--train={given.timm.resolve()}", *case.options))
        for fault in case.faults:
            if fault in given.faults:
                rows.append({"case": name, "fault": fault, **compared(case, fault)})
                print(line(rows[-1]), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    answers = json.dumps({"versions": versions, "rows": rows}, indent=1)
    (given.out / "answers.json").write_text(answers, encoding="utf-8")
    good = sum(not row["wrong"] for row in rows)
    print(f"{good} of {len(rows)} as they should be")


def compared(case: Case, fault: str) -> dict[str, Any]:
    """Run one training alone and watched; return what was said and what is wrong with it."""
    command = [str(SCRIPTS / case.script), f"--fault={fault}", *case.options]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        alone, alone_s = started([sys.executable, *command], folder)
        path = Path(other) / "facts.json"
        watched, watched_s = started([sys.executable, str(SCRIPTS / "watched.py"), str(path), *command], other)
        if watched.returncode or alone.returncode or not path.exists():
            return {
                "first": "-",
                "seconds": [alone_s, watched_s],
                "wrong": ["it did not run: " + watched.stderr[-2000:]],
            }
        seen = json.loads(path.read_text(encoding="utf-8"))
    alarms = [each["code"] for each in seen["findings"] if each["severity"] == "alarm"]
    wrong = differences(account(alone.stdout), account(watched.stdout), seen, case)
    if printed(alone.stdout) != printed(watched.stdout):
        wrong.append("other output")
    if (alarms[:1] or [None])[0] not in (NAMED[fault] or {None}):
        wrong.append(f"alarms {alarms}")
    share = seen["overhead_s"] / seen["seconds"]
    first, seconds = (alarms or ["healthy"])[0], [alone_s, watched_s]
    return {"first": first, "wrong": wrong, "share": share, "seconds": seconds, "seen": seen}


def started(command: list[str], folder: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command on one core's threads and return what came of it and the seconds it took."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(BENCH.parent / "src"), str(SCRIPTS)]),
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    return done, time.perf_counter() - began


def account(output: str) -> dict[str, Any]:
    """Return what a script has told of its own training."""
    told = [each for each in output.splitlines() if each.startswith("ACCOUNT ")]
    return json.loads(told[-1].removeprefix("ACCOUNT "))


def printed(output: str) -> list[str]:
    """Return the lines of an output without times and rates, which differ from run to run."""
    return [each for each in output.splitlines() if "runtime" not in each and "/s" not in each]


def differences(alone: dict[str, Any], told: dict[str, Any], seen: dict[str, Any], case: Case) -> list[str]:
    """Return in words how a watched training differs from the one alone, and the record from the script's account."""
    wrong = []
    if alone["weights"] != told["weights"]:
        wrong.append("other weights")
    steps = np.array(seen["losses"], float)
    if "epochs" in told:
        steps, told["losses"] = steps.reshape(len(told["epochs"]), -1).mean(axis=1), told["epochs"]
    losses = np.array(told["losses"], float)
    if len(losses) == sum(seen["backwards"]) != len(steps):  # gradients were accumulated, and it told of each batch
        losses = np.array([each.mean() for each in np.split(losses, np.cumsum(seen["backwards"])[:-1])])
    if len(steps) != len(losses):
        wrong.append(f"{len(steps)} steps of {len(losses)}")
    elif not np.allclose(steps, losses, rtol=case.tolerance, atol=1e-4, equal_nan=True):
        wrong.append(f"losses differ by {np.nanmax(np.abs(steps - losses)):.2g}")
    if not case.unseen or not case.unseen[0].startswith("the network"):
        rounds = [each[1:3] for each in seen["rounds"] if each[0] > 0]
        if len(rounds) == 2 * len(told["evaluations"]):
            rounds = rounds[1::2]  # the network, then its average, of which alone it told
        ties = max([abs(one[1] - other[1]) for one, other in zip(rounds, told["evaluations"], strict=False)], default=0)
        if [each[0] for each in rounds] != [each[0] for each in told["evaluations"]] or ties > case.ties:
            wrong.append(f"evaluations {rounds} of {told['evaluations']}")
    if any(each[5] for each in seen["rounds"]):
        wrong.append("evaluations in training mode")
    strange = [each for each in seen["unseen"] if not each.startswith(case.unseen or ("nothing",))]
    if strange or len(seen["unseen"]) < len(case.unseen):
        wrong.append(f"unseen {seen['unseen']}")
    if any(not math.isfinite(each) for each in seen["losses"][:1]):
        wrong.append("no loss at the first step")
    return wrong


def line(row: dict[str, Any]) -> str:
    """Return one row of the table."""
    alone, watched = row["seconds"]
    times = f"{alone:5.1f} s, {watched:5.1f} s, {100 * row.get('share', math.nan):4.1f} %"
    return f"{row['case']:24} {row['fault']:8} {row['first']:22} {times}  {'; '.join(row['wrong']) or 'ok'}"


if __name__ == "__main__":
    main()
