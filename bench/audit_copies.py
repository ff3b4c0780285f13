"""Copies, for bench/audit.py: who finds which transformed copies of real photos, and how many images a second.

Three folders are made of the same originals:

- "together": every original and all its copies. Methods that group get help here: a copy that is too far from the
  original is often near another copy. Pairs as they were claimed do not get that help.
- "alone": every original and one copy of it, the transform in turn; several such folders, so that each transform comes
  up with several originals. This is what a real folder is like.
- "speed": the photos of the data set, as they are.
"""

from __future__ import annotations

import shutil
import statistics
import string
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from audit_contenders import BENCH, Claims, ContenderFailed, Cost, Machine, fovea_ways, groups_of, read_claims
from audit_scores import Score, Truth, pool, score_groups, score_pairs
from copies import TRANSFORMS, Picture, Source, apply, make_copies
from PIL import Image

HASHES = ("PHash", "DHash", "WHash", "AHash")
RADII = ("4", "10", "16")
SIMILARITIES = ("0.9", "0.95")

Judged = tuple[Score, Truth]


def compare_copies(
    machine: Machine, originals: Sequence[Source], *, transforms: Sequence[str], rounds: int, seed: int
) -> tuple[str, dict[str, Any]]:
    """Let every contender find the copies in the folders "together" and "alone"; return tables and figures."""
    folder = machine.out / "copies-together"
    pictures = make_copies(originals, folder, transforms=transforms, seed=seed, cores=machine.cores)
    together = judge(machine, folder.name, pictures)
    heading = f"{len(originals)} originals, {len(transforms)} transforms, {len(pictures):,} images in one folder"
    tables = [heading, render_scores(together), render_transforms(together)]
    several: dict[str, list[Judged]] = {}
    for turn in range(rounds):
        name = f"copies-alone-{turn}"
        few = lay_alone(folder, machine.out / name, pictures, transforms=transforms, turn=turn)
        for contender, one in judge(machine, name, few).items():
            several.setdefault(contender, []).append(one)
    alone = {contender: pool(folders) for contender, folders in several.items()}
    if alone:
        heading = (
            f"every original with one copy, the transform in turn: {rounds} folders of {2 * len(originals)} images"
        )
        tables += [heading, render_scores(alone), render_transforms(alone)]
    figures = {
        "images": len(pictures),
        "together": {name: figures_of(*one) for name, one in together.items()},
        "alone": {name: figures_of(*one) for name, one in alone.items()},
    }
    return "\n\n".join(tables), figures


def judge(machine: Machine, name: str, pictures: Sequence[Picture]) -> dict[str, Judged]:
    """Let every contender look at a folder; judge what it claims as pairs, if it claims pairs, and as groups."""
    truth, judged = Truth.of(pictures), {}
    for contender, claims in find_copies(machine, name, pictures):
        if claims.pairs is not None:
            judged[f"{contender}, pairs"] = (score_pairs(claims, truth), truth)
        judged[f"{contender}, groups"] = (score_groups(claims, truth), truth)
    return judged


def find_copies(machine: Machine, name: str, pictures: Sequence[Picture]) -> Iterator[tuple[str, Claims]]:
    """Yield what every contender, in each of its settings, claims about a folder; failures are kept for the end."""
    folder, rows = machine.out / name, {picture.path: row for row, picture in enumerate(pictures)}
    answers = machine.out / "answers"
    answers.mkdir(exist_ok=True)
    for peer, script, options in peers(machine.weights):
        if machine.wants(peer):
            try:
                out = answers / f"{name} {peer}.npz"
                machine.peer(f"{peer} {name}", script, folder, *options, "--out", out)
                for setting, claims in read_claims(out, rows):
                    yield f"{peer} {setting}", claims
            except ContenderFailed as error:
                machine.failures[f"{peer} {name}"] = str(error)
    for way, options in fovea_ways(machine.weights).items():
        if machine.wants(way):
            try:
                _, findings = machine.fovea(f"{way} {name}", folder, *options)
                yield way, groups_of(findings, rows)
            except ContenderFailed as error:
                machine.failures[f"{way} {name}"] = str(error)


def peers(weights: Path) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Yield each peer's name, script and options, with all its settings."""
    for method in HASHES:
        yield f"imagededup {method}", "imagededup_duplicates.py", ("--method", method, "--settings", *RADII)
    options = ("--method", "CNN", "--weights", weights, "--settings", *SIMILARITIES)
    yield "imagededup CNN", "imagededup_duplicates.py", options
    yield "cleanvision", "cleanvision_issues.py", ("--duplicates-only",)


def lay_alone(
    source: Path, target: Path, pictures: Sequence[Picture], *, transforms: Sequence[str], turn: int
) -> list[Picture]:
    """Link every original and one of its copies into a folder; the transforms go round, differently each turn."""
    kept = []
    for picture in pictures:
        wanted = transforms[(picture.origin + turn * (len(transforms) // 3 + 1)) % len(transforms)]
        if picture.transform in ("", wanted):
            path = target / picture.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(source / picture.path)
            kept.append(picture)
    return kept


def figures_of(score: Score, truth: Truth) -> dict[str, Any]:
    """Return everything about one score as plain values."""
    return {
        "recall": score.recall(truth),
        "recall_named": score.recall(truth, "named"),
        "by_transform": score.by_transform(truth),
        "pairs": asdict(score.pairs),
        "with_original": asdict(score.with_original),
        "precision": score.pairs.precision,
        "precision_mates_aside": score.pairs.precision_mates_aside,
        "precision_with_original": score.with_original.precision,
        "purity": score.purity,
    }


def render_scores(scores: Mapping[str, Judged]) -> str:
    """Return the table of recall and precision."""
    titles = ("recall", "named", "worst", "precision", "w/ orig.", "mates aside", "purity", "pairs claimed")
    lines = [f"{'contender':<34}" + "".join(f"{title:>14}" for title in titles) + "  worst transform"]
    for name, (score, truth) in scores.items():
        shares = score.by_transform(truth)
        worst = min(shares, key=lambda transform: shares[transform])
        values = (score.recall(truth), score.recall(truth, "named"), shares[worst], score.pairs.precision)
        values += (score.with_original.precision, score.pairs.precision_mates_aside, score.purity)
        cells = "".join(f"{value:>14.3f}" for value in values)
        lines.append(f"{name:<34}{cells}{score.pairs.claimed:>14,}  {worst}")
    return "\n".join(lines)


def render_transforms(scores: Mapping[str, Judged]) -> str:
    """Return the table of recall by family and transform, a column for each contender (pairs, if it claims pairs)."""
    twice = {name.replace(", pairs", ", groups") for name in scores if name.endswith(", pairs")}
    scores = {name: one for name, one in scores.items() if name not in twice}
    letters = dict(zip(scores, string.ascii_uppercase + string.ascii_lowercase, strict=False))
    shares = {name: score.by_transform(truth) for name, (score, truth) in scores.items()}
    lines = ["recall by transform", *(f"  {letter}: {name}" for name, letter in letters.items())]
    lines.append(f"{'':<34}" + "".join(f"{letter:>6}" for letter in letters.values()))
    family = ""
    for transform in next(iter(shares.values()), {}):
        if TRANSFORMS[transform].family != family:
            family = TRANSFORMS[transform].family
            row = "".join(f"{score.recall(truth, family):>6.2f}" for score, truth in scores.values())
            lines.append(f"{family:<34}{row}")
        lines.append(f"  {transform:<32}" + "".join(f"{shares[name][transform]:>6.2f}" for name in letters))
    return "\n".join(lines)


def compare_speed(machine: Machine, sources: Sequence[Source], *, repeats: int) -> tuple[str, dict[str, Any]]:
    """Time every contender from its start to its answer on the photos as they are; return a table and figures.

    They take turns within each repeat. fovea runs three times: with an empty cache, again, and after one image in a
    hundred has been added. The others keep nothing between runs, so their second run is like their first.
    """
    folder = machine.out / "speed"
    for number, source in enumerate(sources):
        path = folder / f"class {source.label:02d}" / f"{number}{source.path.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path, path)
    costs: dict[str, list[Cost]] = {}
    for _ in range(repeats):
        for name, cost in one_turn(machine, folder, sources):
            costs.setdefault(name, []).append(cost)
    figures = {
        name: {
            "seconds": statistics.median(cost.seconds for cost in several),
            "cpu_s": statistics.median(cost.cpu_s for cost in several),
            "peak_mb": statistics.median(cost.peak_mb for cost in several),
            "all_seconds": [cost.seconds for cost in several],
        }
        for name, several in costs.items()
    }
    heading = f"{len(sources):,} photos, {machine.cores} cores, medians of {repeats} interleaved repeats"
    return f"{heading}\n\n{render_speed(figures, images=len(sources))}", {"images": len(sources), "contenders": figures}


def one_turn(machine: Machine, folder: Path, sources: Sequence[Source]) -> Iterator[tuple[str, Cost]]:
    """Yield the cost of every contender once."""
    out = machine.out / "speed.npz"
    for peer, script, options in timed_peers(machine.weights):
        if machine.wants(peer):
            try:
                yield peer, machine.peer(f"{peer} speed", script, folder, *options, "--out", out)
            except ContenderFailed as error:
                machine.failures[f"{peer} speed"] = str(error)
    if machine.wants("fovea"):
        cache = machine.out / "caches" / "copies-alone"
        shutil.rmtree(cache, ignore_errors=True)
        command = (sys.executable, BENCH / "copies_alone.py", folder)
        yield "fovea, copies alone", machine.run("copies alone", command, environment={"FOVEA_CACHE": str(cache)})[0]
    for way, options in fovea_ways(machine.weights).items():
        if machine.wants(way):
            added = folder / "class 00" / "added"
            try:
                yield way, machine.fovea(f"{way} speed", folder, *options)[0]
                yield f"{way}, again", machine.fovea(f"{way} speed", folder, *options, warm=True)[0]
                add_images(added, sources[:: max(1, len(sources) // max(1, len(sources) // 100))])
                yield f"{way}, 1 % new", machine.fovea(f"{way} speed", folder, *options, warm=True)[0]
            except ContenderFailed as error:
                machine.failures[f"{way} speed"] = str(error)
            shutil.rmtree(added, ignore_errors=True)


def timed_peers(weights: Path) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Yield each peer with the one setting that its guide has, and cleanvision with all that it looks for."""
    for name, script, options in peers(weights):
        if name.startswith("imagededup"):
            chosen = SIMILARITIES[0] if name.endswith("CNN") else "10"
            options = (*options[: options.index("--settings")], "--settings", chosen)
        yield name, script, options
    yield "cleanvision, all issues", "cleanvision_issues.py", ()


def add_images(folder: Path, sources: Sequence[Source]) -> None:
    """Write mirrored copies of some photos: files that nobody has seen."""
    folder.mkdir()
    for number, source in enumerate(sources):
        with Image.open(source.path) as image:
            apply("mirror", image.convert("RGB"), np.random.default_rng(number)).save(folder / f"{number}.jpg")


def render_speed(figures: Mapping[str, Mapping[str, Any]], *, images: int) -> str:
    """Return the table of images per second, with the ratio to the fastest hash of imagededup."""
    lines = [f"{'contender':<34}{'seconds':>9}{'images/s':>10}{'CPU ms/image':>14}{'MB':>8}   against imagededup PHash"]
    base = figures.get("imagededup PHash")
    for name, values in figures.items():
        seconds = values["seconds"]
        ratio = (
            f"{base['seconds'] / seconds:>6.1f} × the images/s, {base['cpu_s'] / values['cpu_s']:.1f} × by CPU"
            if base
            else ""
        )
        cells = f"{seconds:>9.1f}{images / seconds:>10.0f}{1000 * values['cpu_s'] / images:>14.1f}"
        lines.append(f"{name:<34}{cells}{values['peak_mb']:>8.0f}   {ratio}".rstrip())
    return "\n".join(lines)
