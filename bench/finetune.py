"""Accuracy over time: fovea against fastai and a plain PyTorch + timm loop, each as its tutorial teaches it.

    make bench-env
    .venv/bin/python bench/finetune.py            # hours on 2 cores; --quick for a trial of the machinery

Everybody gets the same images, the same backbone and weights, the same cores, a process of their own, one after the
other. Time is wall clock from the start of that process, imports included. Prints a table and writes JSON.

Trained on the grocery train split and scored on its val split, which no contender learns from. With `--test LIST`
(Caffe style, like `val.txt`) scored on that list, and val is everybody's validation split.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

BENCH = Path(__file__).resolve().parent
SHARED = BENCH.parents[1] / "shared"
PEERS = {
    "fastai": "fastai vision_learner(...).fine_tune({epochs})",
    "plain": "PyTorch + timm loop, {epochs} epochs",
}


class Row(NamedTuple):
    """One image: an absolute path, its class number, its part (train, val or score)."""

    path: str
    label: int
    split: str


class Point(NamedTuple):
    """An accuracy (a share) that a contender had reached after some seconds."""

    contender: str
    seconds: float
    accuracy: float


def main() -> None:
    """Run every contender and print who was where when."""
    options = parse_arguments()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    rows = gather_rows(options.data, test=options.test)
    if options.quick:
        rows = shrink(rows, classes=8, images=20)
    learnt, judged = ({"train", "val"}, "score") if options.test else ({"train"}, "val")
    write_table(options.out / "peers.csv", rows)
    write_table(options.out / "train.csv", [row for row in rows if row.split in learnt])
    write_table(options.out / "score.csv", [row._replace(split="test") for row in rows if row.split == judged])
    points: list[Point] = []
    if "fovea" in options.only:
        for budget in options.budgets:
            points.append(run_fovea(options, budget))
    for peer in (name for name in PEERS if name in options.only):
        points += run_peer(options, peer)
    table = render(points)
    print(table)
    (options.out / "finetune.txt").write_text(table + "\n", encoding="utf-8")
    result = {
        "scored_on": str(options.test or "val.txt"),
        "cores": options.cores,
        "points": [p._asdict() for p in points],
    }
    (options.out / "finetune.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Read the command line; `--quick` shortens everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "grocery")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights" / "mobilenetv2_100.tf_in1k")
    parser.add_argument("--test", type=Path, help="list file to score on, paths relative to --data")
    parser.add_argument("--budgets", nargs="+", default=["60s", "10m"], help="budgets given to fovea")
    parser.add_argument("--epochs", type=int, default=4, help="epochs given to the peers")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="+", default=["fovea", *PEERS], choices=["fovea", *PEERS])
    parser.add_argument("--quick", action="store_true", help="8 classes, 1 epoch, a budget of 20 s")
    parser.add_argument("--out", type=Path, default=BENCH / "out" / "finetune")
    options = parser.parse_args()
    if options.quick:
        options.epochs, options.budgets = 1, ["20s"]
    for name in ("data", "weights"):
        if not getattr(options, name).is_dir():
            sys.exit(f"no folder at {getattr(options, name)}; say where it is with --{name}")
    options.weights, options.out = options.weights.resolve(), options.out.resolve()
    return options


def gather_rows(data: Path, *, test: Path | None) -> list[Row]:
    """Read the list files of the data set (`path, fine id, coarse id`)."""
    lists = {"train": data / "train.txt", "val": data / "val.txt"} | ({"score": test} if test else {})
    rows = []
    for split, path in lists.items():
        with open(path, encoding="utf-8", newline="") as file:
            for name, fine, *_ in csv.reader(file, skipinitialspace=True):
                rows.append(Row(str((data / name).resolve()), int(fine), split))
    return rows


def shrink(rows: Sequence[Row], *, classes: int, images: int) -> list[Row]:
    """Keep the first classes and at most `images` of each in each split."""
    kept: list[Row] = []
    count: dict[tuple[str, int], int] = {}
    for row in random.Random(0).sample(rows, len(rows)):
        key = (row.split, row.label)
        count[key] = count.get(key, 0) + 1
        if row.label < classes and count[key] <= images:
            kept.append(row)
    return kept


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write `path,label,split` with a header."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)


def run_fovea(options: argparse.Namespace, budget: str) -> Point:
    """Train within the budget and return when it had ended and how good it was; scoring is not counted."""
    run = options.out / f"fovea-{budget}"
    train = [
        "train",
        options.out / "train.csv",
        "--weights",
        options.weights,
        "--budget",
        budget,
        "--out",
        run,
        "--plain",
    ]
    cache = {"FOVEA_CACHE": str(options.out / f"cache-{budget}")}  # nobody starts from an earlier run's work
    started = time.time()
    execute([sys.executable, "-m", "fovea", *train], cores=options.cores, environment=cache)
    seconds = time.time() - started
    judge = ["evaluate", run, "--data", options.out / "score.csv", "--json"]
    answer = execute([sys.executable, "-m", "fovea", *judge], cores=options.cores, environment=cache)
    return Point(f"fovea --budget {budget}", seconds, json.loads(answer)["accuracy"])


def run_peer(options: argparse.Namespace, peer: str) -> list[Point]:
    """Run a peer in its own environment and return its accuracy at the end of each epoch."""
    python = BENCH / ".peers-venv" / "bin" / "python"
    if not python.exists():
        sys.exit("the peers are not installed: make bench-env")
    out = options.out / f"{peer}.json"
    given = ["--table", options.out / "peers.csv", "--weights", options.weights, "--out", out]
    numbers = ["--epochs", options.epochs, "--cores", options.cores]
    command = [python, BENCH / "peers" / f"{peer}_finetune.py", *given, *numbers]
    execute(command, cores=options.cores, environment={"BENCH_STARTED": str(time.time())})
    name = PEERS[peer].format(epochs=options.epochs)
    return [Point(name, point["seconds"], point["accuracy"]) for point in json.loads(out.read_text(encoding="utf-8"))]


def execute(command: Sequence[object], *, cores: int, environment: Mapping[str, str]) -> str:
    """Run a command on the first `cores` usable cores and return what it printed; its log goes to standard error."""
    usable = sorted(os.sched_getaffinity(0))[:cores]
    threads = {"OMP_NUM_THREADS": str(cores), "MKL_NUM_THREADS": str(cores)}
    arguments = ["taskset", "--cpu-list", ",".join(map(str, usable)), *map(str, command)]
    print("$", *map(str, command), file=sys.stderr, flush=True)
    done = subprocess.run(arguments, env=os.environ | threads | environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}; its message is above")
    return done.stdout


def render(points: Sequence[Point]) -> str:
    """Return a table of accuracy over time; for a peer, how many times sooner fovea was at least as good."""
    ours = [point for point in points if point.contender.startswith("fovea")]
    lines = [f"{'contender':<48}{'seconds':>9}{'accuracy':>10}  fovea was as good: times sooner"]
    for point in points:
        first = min((mine.seconds for mine in ours if mine.accuracy >= point.accuracy), default=None)
        if point in ours:
            remark = ""
        else:
            remark = f"{point.seconds / first:.1f} × (after {first:.0f} s)" if first else "not yet, with these budgets"
        lines.append(f"{point.contender:<48}{point.seconds:>9.0f}{100 * point.accuracy:>8.1f} %  {remark}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
