"""What both peer scripts share: reading the table of images, and writing down accuracy over time.

Runs in the peers' own environment and imports nothing of fovea.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import NamedTuple


class Images(NamedTuple):
    """Paths and class numbers of one split."""

    paths: list[str]
    targets: list[int]


def parse_arguments() -> argparse.Namespace:
    """Read the command line that bench/finetune.py writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def read_table(path: Path) -> dict[str, Images]:
    """Return the splits of a CSV with `path,label,split`; labels are class numbers."""
    splits: dict[str, Images] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            images = splits.setdefault(row["split"], Images([], []))
            images.paths.append(row["path"])
            images.targets.append(int(row["label"]))
    return splits


class Diary:
    """Accuracy over time, counted from the start of the process; time spent on scoring is taken out."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.started = float(os.environ["BENCH_STARTED"])
        self.points: list[dict[str, float]] = []

    def note(self, *, epoch: int, accuracy: float, scoring_s: float) -> None:
        """Add a point at the end of an epoch whose scoring, beyond the recipe's own, took `scoring_s` in all so far."""
        self.points.append({"epoch": epoch, "seconds": time.time() - self.started - scoring_s, "accuracy": accuracy})
        self.out.write_text(json.dumps(self.points), encoding="utf-8")
        print(self.points[-1], flush=True)
