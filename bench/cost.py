"""How right `fovea cost` is, beside fvcore, torchinfo, thop, ptflops, calflops and torch's FlopCounterMode.

    make bench-env
    .venv/bin/python bench/cost.py                # half an hour on 2 cores; --quick for a trial of the machinery

The parts:

- counts: MACs of 40 networks, and of small ones whose MACs are known by hand; who is off by more than 1 %, and where
- latency: does the predicted time put the networks into the order in which they are measured? (Spearman). Measured is
  the median, less the share of the time in which other programs had the processor: best with --threads 1
- memory: predicted against measured peaks, of inference and of a training step

Time is measured on --threads threads. Prints tables and writes them, with JSON, into --out. A peer that is not
installed, or fails on a network, is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from cost_cases import CASES, NETWORKS, build, side_px
from scipy.stats import spearmanr

from fovea.cost.counting import count
from fovea.cost.latency import measure, predict
from fovea.cost.memory import measure_peak, predict_peak
from fovea.cost.roofline import measure as measure_machine

BENCH = Path(__file__).resolve().parent
PEERS = ("fvcore", "torchinfo", "thop", "ptflops", "calflops", "FlopCounterMode")
PARTS = ("counts", "latency", "memory")
TOLERANCE = 0.01
SMALL = NETWORKS[4:7]

Answers = dict[str, dict[str, float | str]]


def main() -> None:
    """Run the parts asked for; print and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--python", type=Path, default=BENCH / ".peers-venv" / "bin" / "python", help="of the peers")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="three networks")
    parser.add_argument("--out", type=Path, default=BENCH / "out" / "cost")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    names = SMALL if options.quick else NETWORKS
    for part in options.parts:
        if part == "counts":
            text, figures = compare_counts((*names, *CASES), options.python, options.out)
        else:
            text, figures = (compare_latency if part == "latency" else compare_memory)(names)
        print(f"\n== {part}\n\n{text}", flush=True)
        (options.out / f"{part}.txt").write_text(text + "\n", encoding="utf-8")
        (options.out / f"{part}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def compare_counts(names: tuple[str, ...], python: Path, out: Path) -> tuple[str, dict[str, Any]]:
    """Return how far everybody's MACs are from the truth: by hand for the cases, fovea's for the networks.

    fovea's own counts are held against the published figures by tests/cost/test_truth.py.
    """
    fovea = {name: count(build(name), (1, 3, side_px(name), side_px(name))) for name in names}
    truth = {name: CASES[name].macs if name in CASES else fovea[name].total["macs"] for name in names}
    answers = ask_peers(names, python, out)
    for name in names:
        gaps = fovea[name].unknown
        answers[name]["fovea"] = f"gap: {', '.join(gaps)}" if gaps else fovea[name].total["macs"]
    tools = ("fovea", *PEERS)
    lines = [f"{'MACs':<30}{'true, M':>10}" + "".join(f"{tool:>17}" for tool in tools)]
    lines += [
        f"{name:<30}{truth[name] / 1e6:>10.2f}"
        + "".join(f"{_off(answers[name], tool, truth[name]):>17}" for tool in tools)
        for name in names
    ]
    lines += [
        "",
        "true: by hand for the small ones; for the networks fovea's count, which its tests hold to published figures",
    ]
    for tool in tools:
        wrong = [name for name in names if _off(answers[name], tool, truth[name]) != "right"]
        told = (
            "right everywhere" if not wrong else f"wrong or failing on {len(wrong)} of {len(names)}: {', '.join(wrong)}"
        )
        lines.append(f"{tool}: {told}")
    failures = {
        f"{tool} on {name}": said for name in names for tool, said in answers[name].items() if isinstance(said, str)
    }
    lines += ["", *(f"{where}: {why}" for where, why in failures.items())]
    return "\n".join(lines), {"truth": truth, "answers": answers}


def ask_peers(names: tuple[str, ...], python: Path, out: Path) -> Answers:
    """Run the peers in their environment; without it, only say so."""
    if not python.exists():
        return {name: dict.fromkeys(PEERS, "not installed: make bench-env") for name in names}
    path = out / "peers.json"
    command = [str(python), str(BENCH / "peers" / "cost_counts.py"), "--out", str(path), *names]
    subprocess.run(command, check=True, stdout=sys.stderr)
    answers: Answers = json.loads(path.read_text(encoding="utf-8"))
    return answers


def _off(answers: dict[str, float | str], tool: str, truth: float) -> str:
    """Return "right" within the tolerance, else by how much it is off."""
    said = answers[tool]
    if isinstance(said, str):
        return "–" if "No module named" in said or said.startswith("not installed") else "fails"
    difference = said / truth - 1
    return "right" if abs(difference) <= TOLERANCE else f"{100 * difference:+.1f} %"


def compare_latency(names: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return predicted and measured times of one image, and how far they agree on the order."""
    machine = measure_machine().best_of(measure_machine())
    rows, macs = [], []
    for name in names:
        model, shape = build(name), (1, 3, side_px(name), side_px(name))
        found = count(model, shape)
        measured = measure(model, shape)
        macs.append(found.total["macs"])
        predicted_ms = 1000 * predict(found.operations, machine).seconds
        rows.append((name, predicted_ms, 1000 * measured.seconds * measured.running, measured.running))
        print(name, file=sys.stderr, flush=True)
    measured_ms = [row[2] for row in rows]
    order = float(spearmanr([row[1] for row in rows], measured_ms).statistic)
    order_of_macs = float(spearmanr(macs, measured_ms).statistic)
    lines = [machine.name, f"{'one image':<30}{'predicted, ms':>15}{'measured, ms':>15}{'ratio':>8}{'running':>9}"]
    lines += [
        f"{name:<30}{said:>15.2f}{took:>15.2f}{said / took:>8.2f}{running:>9.2f}" for name, said, took, running in rows
    ]
    lines += [
        "",
        f"rank correlation of predicted and measured: {order:.3f} (aim 0.9); of MACs and measured: {order_of_macs:.3f}",
    ]
    return "\n".join(lines), {
        "spearman": order,
        "spearman_of_macs": order_of_macs,
        "machine": vars(machine),
        "rows": rows,
    }


def compare_memory(names: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return predicted against measured peaks of two images, in MB; the aim is 10 %."""
    lines = [
        f"{'peak, MB':<30}{'inference':>11}{'measured':>11}{'ratio':>8}{'training':>11}{'measured':>11}{'ratio':>8}"
    ]
    figures: dict[str, Any] = {}
    for name in names:
        model, shape = build(name), (2, 3, side_px(name), side_px(name))
        said, found = predict_peak(model, shape), measure_peak(model, shape)
        figures[name] = {"predicted": vars(said), "measured": vars(found)}
        cells = f"{name:<30}" + _peaks(said.inference, found.inference)
        if said.training and found.training:
            cells += _peaks(said.training, found.training)
        lines.append(cells)
        print(name, file=sys.stderr, flush=True)
    ratios = [
        figure["predicted"][kind] / figure["measured"][kind]
        for figure in figures.values()
        for kind in ("inference", "training")
        if figure["measured"][kind]
    ]
    within = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
    lines += [
        "",
        f"{within} of {len(ratios)} within a tenth; the worst {max(ratios, key=lambda ratio: abs(ratio - 1)):.3f}",
    ]
    return "\n".join(lines), figures


def _peaks(predicted: int, measured: int) -> str:
    return f"{predicted / 1e6:>11.1f}{measured / 1e6:>11.1f}{predicted / measured:>8.3f}"


if __name__ == "__main__":
    main()
