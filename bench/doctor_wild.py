"""The doctor on scripts whose authors had not seen it, in nine hands, broken or sound.

    python bench/doctor_wild.py                 # all; goes on where it stopped
    python bench/doctor_wild.py --hand c        # one hand alone
    python bench/doctor_wild.py --again         # let the doctor read the kept records again, after a change to it
    python bench/doctor_wild.py --table         # only the tables

The scripts lie in bench/wild. What is broken in each stands in its docstring, with codes that ask for the same
change, and, where that was measured, its accuracy as it is and once it is mended. They were written from the
catalogue of faults alone, in the styles of forums, notebooks and repositories, on groceries, blood cells, digits and
pictures that they draw themselves; those that need ../shared are left out where it is not there. Each is run as a
user would: `python -m fovea.doctor script.py`. Hand g uses Lightning, Hugging Face's Trainer, accelerate, fastai and
timm's parts, and is run in the peers' environment (`make bench-env`).
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
SCRIPTS, OUT = BENCH / "wild", BENCH / "out" / "doctor_wild"
SHARED = Path(os.environ.get("FOVEA_SHARED", BENCH.parents[1] / "shared"))
HANDS = ("a", "b", "c", "d", "e", "f", "g", "h", "i")
PEERS = BENCH / ".peers-venv" / "bin" / "python"  # which hand g needs
MOST_S = 600


def main() -> None:
    """Run what has not been run, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hand", choices=HANDS, help="only the scripts whose names begin so")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="scripts whose names begin so")
    parser.add_argument("--again", action="store_true", help="run nothing; judge the kept records again")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--quiet", action="store_true", help="sums only, no line for each script")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # a process of its own for each script
    given = parser.parse_args()
    if given.one is not None:
        sys.exit(watch_one(given.one))
    OUT.mkdir(parents=True, exist_ok=True)
    chosen = [
        script
        for script in sorted(SCRIPTS.glob("[a-i][0-9]*.py"))
        if script.name.startswith(given.hand or "") and script.name.startswith(tuple(given.only))
    ]
    rows = []
    for script in chosen:
        answer = OUT / f"{script.stem}.json"
        if given.again and answer.exists():
            judge_again(script)
        elif not given.table and not answer.exists():
            run(script)
        if answer.exists():
            rows.append(row_of(script, json.loads(answer.read_text(encoding="utf-8"))))
    print(table(rows, quiet=given.quiet))


def run(script: Path) -> None:
    """Run a script under the doctor, alone, and keep its answer."""
    if not SHARED.exists() and "FOVEA_SHARED" in script.read_text(encoding="utf-8"):
        print(f"{script.name}: left out, there is no {SHARED}", file=sys.stderr)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FOVEA_SHARED": str(SHARED)}
    python = sys.executable
    if script.name.startswith("g"):
        python, environment["PYTHONPATH"] = str(PEERS), str(BENCH.parent / "src")
        if not PEERS.exists():
            print(f"{script.name}: left out, there is no {PEERS} (make bench-env)", file=sys.stderr)
            return
    began = time.monotonic()
    done = subprocess.run(
        [python, __file__, "--one", str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    told = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    print(f"{script.name}: {time.monotonic() - began:.0f} s, exit status {done.returncode} {told}", file=sys.stderr)


def watch_one(script: Path) -> int:
    """Run a script as `python -m fovea.doctor --json` does, and keep the record beside the answer."""
    from fovea.doctor.script import main as run_watched
    from fovea.doctor.watching import Doctor

    doctor = Doctor()
    try:
        return run_watched(["--json", str(OUT / f"{script.stem}.json"), str(script)], doctor=doctor)
    finally:
        with gzip.open(OUT / f"{script.stem}.pickle.gz", "wb", compresslevel=1) as file:
            pickle.dump(doctor.record, file)


def judge_again(script: Path) -> None:
    """Replace the findings of an answer by what the doctor says of the kept record now."""
    from fovea.doctor.diagnosis import diagnose

    answer = OUT / f"{script.stem}.json"
    with gzip.open(OUT / f"{script.stem}.pickle.gz", "rb") as file:
        findings = diagnose(pickle.load(file))
    known = json.loads(answer.read_text(encoding="utf-8"))
    known["findings"] = [each.as_dict() for each in findings]
    answer.write_text(json.dumps(known), encoding="utf-8")


def row_of(script: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what a script is and what the doctor says of it."""
    told = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    facts = dict(re.findall(r"^(style|fault|accept|broken|mended): *(.*)$", told, re.MULTILINE))
    fault = facts["fault"].strip()
    accepted = {fault, *re.findall(r"[a-z-]+", facts.get("accept", ""))} - {"none"}
    named = [each["code"] for each in answer["findings"] if each["severity"] == "alarm"]
    return {
        "script": script.stem,
        "fault": fault,
        "named": named,
        "notes": [each["code"] for each in answer["findings"] if each["severity"] == "note"],
        "first": bool(accepted.intersection(named[:1])),
        "three": bool(accepted.intersection(named[:3])),
        "noted": bool(accepted.intersection(each["code"] for each in answer["findings"])),
        "overhead": answer["overhead_s"] / max(answer["seconds"], 1e-9),
        "error": answer["error"],
    }


def table(rows: list[dict[str, Any]], *, quiet: bool) -> str:
    """Return a line for each script, and sums."""
    lines = []
    if not quiet:
        lines.append(f"{'script':<28}{'fault':<30}{'':<8}said")
        for row in rows:
            mark = "first" if row["first"] else "in 3" if row["three"] else "noted" if row["noted"] else "missed"
            mark = ("" if not row["named"] else "false") if row["fault"] == "none" else mark
            said = ", ".join(row["named"]) or "healthy"
            notes = f" (notes: {', '.join(row['notes'])})" if row["notes"] else ""
            lines.append(f"{row['script']:<28}{row['fault']:<30}{mark:<8}{said}{notes}")
        lines.append("")
    for hand in HANDS:
        own = [row for row in rows if row["script"].startswith(hand)]
        broken, sound = ([row for row in own if (row["fault"] == "none") == kind] for kind in (False, True))
        if not own:
            continue
        counts = {key: sum(row[key] for row in broken) for key in ("first", "three", "noted")}
        found = sum(bool(row["named"]) for row in broken)
        lines.append(
            f"hand {hand}: of {len(broken)} broken scripts {counts['first']} named first, {counts['three']} in three, "
            f"{counts['noted']} at all, {found} found; of {len(sound)} sound ones "
            f"{sum(bool(row['named']) for row in sound)} with an alarm"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
