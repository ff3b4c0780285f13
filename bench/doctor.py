"""The doctor against injected faults and healthy trainings, beside ports of published rules on the same records.

    python bench/doctor.py                         # everything, in the order of the cases; goes on where it stopped
    python bench/doctor.py --piece 1/4             # a quarter of it; pieces may run side by side or on several machines
    python bench/doctor.py --data digits --networks cnn --healthy 20 --quick
    python bench/doctor.py --again                 # let the doctor read the kept records again, after a change to it
    python bench/doctor.py --table                 # only the tables, of what has been run

Every training is a plain loop on 32 px images: `doctor_cases` says what is broken in it, `doctor_training` runs it.
Limits of probes were chosen on digits with the small network; everything else is the test half. Some faults do no harm
to some networks, so there are two counts: of all cases, and of those in which the fault costs three points of accuracy
or more, or makes the numbers of the evaluation wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import pickle
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from doctor_cases import FAULTS, Plan, healthy
from doctor_data import DATA, load
from doctor_rules import BASELINES
from doctor_training import mended, train

from fovea.doctor.diagnosis import diagnose
from fovea.doctor.record import Record
from fovea.doctor.watching import Doctor

BENCH = Path(__file__).resolve().parent
OUT = BENCH / "out" / "doctor"
WEIGHTS = BENCH.parents[1] / "shared" / "weights" / "mobilenetv2_100.tf_in1k"
NETWORKS = ("cnn", "resnet", "mobilenet")
CALIBRATED = ("digits", "cnn")
SLOW_FAULTS = 12  # faults tried with mobilenet: those that need none of the small network's parts
EQUIVALENT = {
    "noisy-labels": {"labels-shuffled"},
    "labels-shuffled": {"noisy-labels"},
    "exploding-gradient": {"init-scale"},
    "init-scale": {"exploding-gradient"},
    "under-capacity": {"underfitting", "receptive-field"},
    "augmentation-too-strong": {"train-eval-transform"},
    "overfitting": {"noisy-labels"},  # 20 to 30 % of its training labels are wrong
}
OF_EVALUATION = (  # faults that spoil the numbers that are told, whatever the network has learnt
    "class-map",
    "train-eval-transform",
    "channel-order",
    "split-leakage",
    "augmented-validation",
    "eval-in-train-mode",
    "validation-too-small",
    "imbalance",
)
COSTS = 0.03  # accuracy from which on a fault does harm
REACHES = {"digits": 0.85, "cells": 0.85, "groceries": 0.3}  # accuracy from which on a training counts as healthy


def main() -> None:
    """Run the cases that have not been run, then print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--networks", nargs="+", default=["cnn", "resnet"], choices=NETWORKS)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS), metavar="NAME")
    parser.add_argument("--healthy", type=int, default=40, help="healthy trainings for each data set and network")
    parser.add_argument("--piece", default="1/1", help="I/N: every N-th case, from the I-th on")
    parser.add_argument("--advice", action="store_true", help="also train again as the first finding advises")
    parser.add_argument("--quick", action="store_true", help="strong faults only")
    parser.add_argument("--again", action="store_true", help="train nothing; judge the records that are kept again")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    results = given.out / "results.jsonl"
    (given.out / "records").mkdir(parents=True, exist_ok=True)
    if given.again:
        rows = [judged_again(row, given.out) for row in rows_of(results)]
        results.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif not given.table:
        run_all(given, results)
    print(tables(rows_of(results)))


def run_all(given: argparse.Namespace, results: Path) -> None:
    """Run the cases of this piece that are not among the results."""
    done = {row["case"] for row in rows_of(results)}
    number, pieces = (int(part) for part in given.piece.split("/"))
    todo = [case for place, case in enumerate(cases(given)) if place % pieces == number - 1]
    for place, case in enumerate(todo, start=1):
        if case["case"] in done:
            continue
        row = run(case, advice=given.advice, out=given.out)
        with open(results, "a", encoding="utf-8") as file:  # one write a line: pieces may share the file
            file.write(json.dumps(row) + "\n")
        told = ", ".join(row["named"][:3]) or "healthy"
        print(f"{place}/{len(todo)} {case['case']}: {told} ({row['accuracy']:.2f})", file=sys.stderr, flush=True)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return what has been run; a line that a kill cut off is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def cases(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield every case: its name, and what it takes to run it."""
    for data in given.data:
        for network in given.networks:
            for number in range(given.healthy if network != "mobilenet" else max(1, given.healthy // 8)):
                yield {
                    "case": f"{data} {network} healthy {number}",
                    "data": data,
                    "network": network,
                    "variation": number,
                }
            names = given.faults if network != "mobilenet" else given.faults[:SLOW_FAULTS]
            for name in names:
                if name == "channel-order" and data == "digits":
                    continue  # digits are grey
                for strength in (1,) if given.quick else (0, 1):
                    case = f"{data} {network} {name} {strength}"
                    yield {"case": case, "data": data, "network": network, "fault": name, "strength": strength}


def plan_of(case: dict[str, Any]) -> tuple[Plan, Plan]:
    """Return the plan of a case and the one that works."""
    works = working_plan(case["data"], case["network"])
    if "variation" in case:
        return healthy(works, case["variation"]), works
    return FAULTS[case["fault"]][1](works, case["strength"]), works


def working_plan(data: str, network: str) -> Plan:
    """Return the plan into which faults are put."""
    works = Plan(classes=int(load(data)[1].max()) + 1, network=network)
    return dataclasses.replace(works, lr=0.01, epochs=6) if network == "mobilenet" else works


@cache
def working_accuracy(data: str, network: str) -> float:
    """Return the accuracy of the same training without a fault."""
    return float(train(working_plan(data, network), data, weights=str(WEIGHTS)).accuracy)


def run(case: dict[str, Any], *, advice: bool, out: Path) -> dict[str, Any]:
    """Train one case under observation; return what everybody says of it."""
    plan, works = plan_of(case)
    started = time.process_time()
    with Doctor() as doctor:
        outcome = train(plan, case["data"], weights=str(WEIGHTS))
    row = {
        **case,
        "code": FAULTS[case["fault"]][0] if "fault" in case else None,
        "accuracy": outcome.accuracy,
        "working": working_accuracy(case["data"], case["network"]),
        "error": outcome.error,
        **said_of(doctor.record),
        "overhead": doctor.record.overhead_s / max(doctor.record.seconds, 1e-9),
        "cpu_s": round(time.process_time() - started, 2),
    }
    with gzip.open(record_path(case, out), "wb", compresslevel=1) as file:
        pickle.dump(doctor.record, file)
    if advice and row["named"] and "fault" in case:
        advised = mended(plan, works, row["named"][0], row["fix"])
        row["advised_accuracy"] = train(advised, case["data"], weights=str(WEIGHTS)).accuracy
    return row


def said_of(record: Record) -> dict[str, Any]:
    """Return what the doctor and the baselines say of a record."""
    findings = diagnose(record)
    alarms = [each for each in findings if each.severity == "alarm"]
    return {
        "named": [each.code for each in alarms],
        "confidence": [round(each.confidence, 2) for each in alarms],
        "fix": alarms[0].fix if alarms else "",
        "notes": [each.code for each in findings if each.severity == "note"],
        "baselines": {name: rules(record) for name, rules in BASELINES.items()},
        "unseen": record.unseen,
    }


def record_path(case: dict[str, Any], out: Path) -> Path:
    """Return where the record of a case is kept."""
    return out / "records" / f"{case['case'].replace(' ', '_')}.pickle.gz"


def judged_again(row: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return a row with what is said of its record now; what a training after advice reached stays."""
    with gzip.open(record_path(row, out), "rb") as file:
        return row | said_of(pickle.load(file))


def right(code: str, said: str) -> bool:
    """Whether a code is the fault, or asks for the same change."""
    return said == code or said in EQUIVALENT.get(code, set())


def tables(rows: list[dict[str, Any]]) -> str:
    """Return a table per fault, and one of everybody on the calibration and on the test half."""
    lines = [f"{'fault':<34}{'runs':>5}{'first':>7}{'in 3':>7}{'found':>7}   most often said instead"]
    faulty = [row for row in rows if row["code"]]
    for name in sorted({row["fault"] for row in faulty}):
        own = [row for row in faulty if row["fault"] == name]
        first, three, found = (np.mean([judged(row, row["named"])[place] for row in own]) for place in range(3))
        wrong = [row["named"][0] if row["named"] else "nothing" for row in own if not judged(row, row["named"])[0]]
        instead = max(set(wrong), key=wrong.count) if wrong else ""
        lines.append(f"{name:<34}{len(own):>5}{first:>7.2f}{three:>7.2f}{found:>7.2f}   {instead}")
    for half, chosen in (("calibration half", True), ("test half", False)):
        mine = [row for row in rows if ((row["data"], row["network"]) == CALIBRATED) == chosen]
        lines += ["", *summary(half, mine)]
    return "\n".join(lines)


def judged(row: dict[str, Any], named: list[str]) -> tuple[bool, bool, bool]:
    """Return whether the first guess is right, whether one of three is, and whether anything was said."""
    hits = [right(row["code"], code) for code in named]
    return any(hits[:1]), any(hits[:3]), bool(named)


def summary(half: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for the doctor and for each baseline."""
    faulty = [row for row in rows if row["code"]]
    lost = {row["case"]: row["working"] - row["accuracy"] for row in faulty}
    harmed = [row for row in faulty if lost[row["case"]] >= COSTS or row["code"] in OF_EVALUATION]
    sound = [row for row in rows if not row["code"] and row["accuracy"] >= REACHES[row["data"]]]
    lines = [f"{half}: {len(faulty)} faulty, {len(harmed)} of them harmful, and {len(sound)} healthy trainings"]
    lines.append(f"{'':<20}{'all':>17}{'':>7}{'harmful':>14}{'':>7}{'false alarms':>21}")
    lines.append(f"{'':<20}" + 2 * f"{'first':>7}{'in 3':>7}{'found':>7}")
    voices = {"fovea": lambda row: row["named"], **{name: _voice(name) for name in BASELINES}}
    for name, said in voices.items():
        shares = [
            np.mean([judged(row, said(row))[place] for row in own]) if own else np.nan
            for own in (faulty, harmed)
            for place in range(3)
        ]
        false = np.mean([bool(said(row)) for row in sound]) if sound else np.nan
        lines.append(f"{name:<20}" + "".join(f"{share:>7.2f}" for share in shares) + f"{false:>14.3f}")
    advised = [row for row in faulty if "advised_accuracy" in row and lost[row["case"]] >= COSTS]
    if advised:
        regained = [(row["advised_accuracy"] - row["accuracy"]) / lost[row["case"]] for row in advised]
        share = np.mean([each >= 0.9 for each in regained])
        lines.append(f"following the first advice regains 90 % of the lost accuracy in {share:.2f} of {len(advised)}")
    return lines


def _voice(name: str) -> Any:
    return lambda row: row["baselines"][name]


if __name__ == "__main__":
    main()
