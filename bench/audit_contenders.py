"""Starts the contenders of bench/audit.py, each in a process of its own, and turns their answers into one form.

Knows nothing of the questions: it runs commands on given cores, measures them, and reads what they found.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

BENCH = Path(__file__).resolve().parent
PEERS_PYTHON = BENCH / ".peers-venv" / "bin" / "python"
FOVEA = (sys.executable, "-m", "fovea")
DUPLICATES = ("duplicate-exact", "duplicate-near", "split-leakage", "label-conflict")


class ContenderFailed(Exception):
    """A contender ended with an error; the message says which and shows the end of its log."""


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds of the clock, of all its processors, and the most memory that one process held.

    Linux counts what this script held when it started the process, so `peak_mb` is never below some 130.
    """

    seconds: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Claims:
    """Which images of a folder a contender calls copies of each other: pairs of row numbers, or groups of them.

    `pairs` has shape (P, 2) with each pair once; it is None where the contender speaks of groups only.
    """

    groups: list[np.ndarray]
    pairs: np.ndarray | None = None


@dataclass(frozen=True)
class Machine:
    """Where and how contenders run: the cores, the place for logs and caches, and who takes part."""

    cores: int
    out: Path
    weights: Path
    only: Sequence[str]
    failures: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        name: str,
        command: Sequence[object],
        *,
        environment: Mapping[str, str] | None = None,
        allowed: Sequence[int] = (0,),
    ) -> tuple[Cost, str]:
        """Run a command on the first usable cores; return its cost and what it printed. Its log goes to a file.

        Raises:
            ContenderFailed: it ended with a code that is not allowed.
        """
        usable = sorted(os.sched_getaffinity(0))[: self.cores]
        threads = {"OMP_NUM_THREADS": str(self.cores), "MKL_NUM_THREADS": str(self.cores)}
        arguments = ["taskset", "--cpu-list", ",".join(map(str, usable)), *map(str, command)]
        log = self.out / "logs" / f"{file_name(name)}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        print("$", *map(str, command), file=sys.stderr, flush=True)
        with open(log, "w+b") as errors, open(log.with_suffix(".out"), "w+b") as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                arguments, env=os.environ | threads | (environment or {}), stdout=output, stderr=errors
            )
            _, status, usage = os.wait4(process.pid, 0)  # wait4 tells what this process and its children took
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            answer = output.read().decode()
        if process.returncode not in allowed:
            tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise ContenderFailed(f"{name} ended with {process.returncode}: {' / '.join(tail)}")
        return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), answer

    def peer(self, name: str, script: str, *arguments: object) -> Cost:
        """Run one of the scripts in bench/peers in the peers' environment."""
        if not PEERS_PYTHON.exists():
            sys.exit("the peers are not installed: make bench-env")
        return self.run(name, [PEERS_PYTHON, BENCH / "peers" / script, *arguments, "--cores", self.cores])[0]

    def fovea(self, name: str, folder: Path, *options: object, warm: bool = False) -> tuple[Cost, list[dict[str, Any]]]:
        """Run `fovea audit` with an empty cache of its own, or with what its last run left; return its findings."""
        cache = self.out / "caches" / file_name(name)
        if not warm:
            shutil.rmtree(cache, ignore_errors=True)
        command = [*FOVEA, "audit", folder, "--json", *options]
        cost, answer = self.run(name, command, environment={"FOVEA_CACHE": str(cache)}, allowed=(0, 1))
        try:
            return cost, json.loads(answer)["findings"]
        except ValueError as error:  # 1 means a finding of severity "error", or that it broke
            raise ContenderFailed(f"{name} printed no JSON: {answer[:200]!r}") from error

    def wants(self, contender: str) -> bool:
        """Whether a contender, by the first word of its name, was asked for."""
        return re.split(r"\W", contender)[0] in self.only


def file_name(name: str) -> str:
    """Return a contender's name as that of a file."""
    return re.sub(r"\W+", "-", name)


def fovea_ways(weights: Path) -> dict[str, tuple[object, ...]]:
    """The ways of calling `fovea audit` that are compared."""
    return {
        "fovea --fast": ("--fast",),
        "fovea, no network": ("--weights", "plain"),
        "fovea --weights": ("--weights", weights),
    }


def files_of(findings: Sequence[Mapping[str, Any]], *codes: str) -> list[str]:
    """Return the files that the findings with these codes concern, in their order, each once."""
    found: dict[str, None] = {}
    for finding in findings:
        if finding["code"] in codes:
            members = [*finding.get("files", ()), *(path for group in finding.get("groups", ()) for path in group)]
            found.update(dict.fromkeys(members))
    return list(found)


def groups_of(findings: Sequence[Mapping[str, Any]], rows: Mapping[str, int]) -> Claims:
    """Return the groups of copies in the findings; groups that share an image are one."""
    groups = [group for finding in findings if finding["code"] in DUPLICATES for group in finding.get("groups", ())]
    return Claims(merge([[rows[path] for path in group] for group in groups], count=len(rows)))


def read_claims(path: Path, rows: Mapping[str, int]) -> Iterator[tuple[str, Claims]]:
    """Yield the settings of a peer's answer, and with each what it claimed: pairs, and the groups that they make."""
    with np.load(path) as answer:
        order = np.array([rows[name] for name in answer["names"].tolist()], dtype=np.int64)
        for setting in (name for name in answer.files if name != "names"):
            pairs = order[answer[setting]].reshape(-1, 2)
            yield setting, Claims(merge(pairs, count=len(rows)), pairs)


def merge(links: np.ndarray | Sequence[Sequence[int]], *, count: int) -> list[np.ndarray]:
    """Join what shares a member: `links` are pairs or groups of row numbers; return groups of two and more."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(links):
        return []
    if not isinstance(links, np.ndarray):
        links = np.concatenate([np.column_stack([np.full(len(link) - 1, link[0]), link[1:]]) for link in links])
    graph = coo_matrix((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [part for part in parts if len(part) > 1]
