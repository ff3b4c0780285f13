"""`fovea audit` against imagededup, cleanvision and cleanlab: copies, speed, faulty images, wrong labels, clean data.

    make bench-env
    .venv/bin/python bench/audit.py               # an hour on 2 cores; --quick for a trial of the machinery

Everybody gets the same folder, the same cores and a process of their own, one after the other. The parts:

- copies: transformed copies of real photos, made here; recall for each transform, precision over pairs
- speed: images per second from start to answer, in interleaved repeats; fovea with an empty cache, again, and with one
  image in a hundred new
- faults: dark, bright, blurred, empty, odd and tiny images among untouched photos, against cleanvision
- labels: flipped labels, against cleanlab
- clean: what fovea says about clean data, by severity
- scale: how fovea's grouping of copies grows up to a million pictures, which need no files

Prints tables and writes them, with JSON, into --out. A contender that fails is named at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from audit_contenders import BENCH, ContenderFailed, Machine
from audit_copies import compare_copies, compare_speed
from audit_faults import compare_faults
from audit_labels import compare_labels
from audit_scale import measure_scale
from copies import TRANSFORMS, Source, choose_originals

SHARED = BENCH.parents[1] / "shared"
CONTENDERS = ("fovea", "imagededup", "cleanvision", "cleanlab")
PARTS = ("copies", "speed", "faults", "labels", "clean", "scale")
ALONE = ("clean", "scale")  # nobody but fovea takes part


def main() -> None:
    """Run the parts asked for; print and write what came out."""
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    sources = read_sources(options.data)
    if options.quick:
        sources = [source for source in sources if source.label < 8]
    machine = Machine(cores=options.cores, out=options.out, weights=options.weights, only=options.only)
    for part in (part for part in options.parts if part not in ALONE or machine.wants("fovea")):
        for stale in options.out.glob(f"{part}*"):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        machine.failures.clear()
        table, figures = run_part(part, machine, sources, options)
        failures = "".join(f"\nfailed: {name}: {why}" for name, why in machine.failures.items())
        print(f"\n== {part}\n\n{table}\n{failures}", flush=True)
        (options.out / f"{part}.txt").write_text(f"{table}\n{failures}", encoding="utf-8")
        result = {"cores": options.cores, "seed": options.seed, "failures": machine.failures, "figures": figures}
        (options.out / f"{part}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Read the command line; `--quick` shortens everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "grocery", help="has train.txt and val.txt")
    parser.add_argument("--also-clean", type=Path, default=SHARED / "data" / "bccd", help="further data in VOC's form")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights" / "mobilenetv2_100.tf_in1k")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--only", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--originals", type=int, default=300, help="photos that copies are made of")
    parser.add_argument("--transforms", nargs="+", default=list(TRANSFORMS), choices=list(TRANSFORMS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=6, help="folders with one copy of each original")
    parser.add_argument("--repeats", type=int, default=3, help="of everything that is timed")
    parser.add_argument("--faults", type=int, default=30, help="images of each fault and strength")
    parser.add_argument("--flip", type=float, default=0.05, help="share of labels that are made wrong")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of the catalogues")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="8 classes, 8 originals, no repeats")
    parser.add_argument("--out", type=Path, default=BENCH / "out" / "audit")
    options = parser.parse_args()
    if options.quick:
        options.originals, options.rounds, options.repeats, options.faults, options.sizes = 8, 1, 1, 2, [2000]
    for name in ("data", "weights"):
        if not getattr(options, name).is_dir():
            sys.exit(f"no folder at {getattr(options, name)}; say where it is with --{name}")
    options.data, options.weights, options.out = (
        path.resolve() for path in (options.data, options.weights, options.out)
    )
    return options


def read_sources(data: Path) -> list[Source]:
    """Read the list files of the data set (`path, fine id, coarse id`)."""
    sources = []
    for name in ("train.txt", "val.txt"):
        with open(data / name, encoding="utf-8", newline="") as file:
            sources += [Source(data / path, int(fine)) for path, fine, *_ in csv.reader(file, skipinitialspace=True)]
    return sources


def run_part(
    part: str, machine: Machine, sources: list[Source], options: argparse.Namespace
) -> tuple[str, dict[str, Any]]:
    """Return a part's tables and figures."""
    if part == "copies":
        originals = choose_originals(sources, count=options.originals)
        chosen = {"transforms": options.transforms, "rounds": options.rounds, "seed": options.seed}
        return compare_copies(machine, originals, **chosen)
    if part == "speed":
        return compare_speed(machine, sources, repeats=options.repeats)
    if part == "faults":
        originals = choose_originals(sources, count=options.faults)
        return compare_faults(machine, originals, sources, seed=options.seed)
    if part == "labels":
        return compare_labels(machine, sources, share=options.flip, seed=options.seed)
    if part == "scale":
        return measure_scale(machine, options.sizes, seed=options.seed)
    return audit_clean(machine, options.data, options.also_clean)


def audit_clean(machine: Machine, data: Path, voc: Path) -> tuple[str, dict[str, Any]]:
    """Count fovea's findings on data that nobody has spoilt; "error" should not be among them."""
    folders = {data.name: data}
    if voc.is_dir():
        folders[voc.name] = lay_voc(voc, machine.out / "clean" / voc.name)
    lines, figures = [f"{'data':<34}{'error':>9}{'warning':>9}{'note':>9}  codes"], {}
    for name, folder in folders.items():
        try:
            _, findings = machine.fovea(f"fovea clean {name}", folder, "--weights", machine.weights)
        except ContenderFailed as error:
            machine.failures[f"fovea clean {name}"] = str(error)
            continue
        severities = Counter(finding["severity"] for finding in findings)
        codes = Counter(finding["code"] for finding in findings)
        counts = "".join(f"{severities[severity]:>9}" for severity in ("error", "warning", "note"))
        lines.append(f"{name:<34}{counts}  {', '.join(f'{code} {count}' for code, count in codes.items())}")
        figures[name] = {"severities": severities, "findings": findings}
    return "\n".join(lines), figures


def lay_voc(source: Path, target: Path) -> Path:
    """Link VOC images into two class folders: those with an object of the rarest class, and those without."""
    objects = {
        path.stem: {str(name.text) for name in ElementTree.parse(path).iterfind("object/name")}
        for path in sorted((source / "Annotations").glob("*.xml"))
    }
    shown = Counter(name for names in objects.values() for name in names)
    rarest = min(shown, key=lambda name: shown[name])
    for image in sorted((source / "JPEGImages").iterdir()):
        if image.stem in objects:
            folder = target / (f"with {rarest}" if rarest in objects[image.stem] else f"without {rarest}")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, folder / image.name)
    return target


if __name__ == "__main__":
    main()
