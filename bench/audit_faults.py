"""Faults of single images, for bench/audit.py: dark, bright, blurred, empty, odd and tiny images among real photos.

Every fault is made from real photos at two strengths, "mild" and "strong", and put among untouched photos. What is
found on the untouched ones is counted as alarms; a few of those photos are blurred or dark indeed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from audit_contenders import ContenderFailed, Machine, files_of, fovea_ways
from copies import Source, blur, brightness, contrast, rescale
from PIL import Image

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


class Fault(NamedTuple):
    """A kind of fault: how it is made at each strength, and what the contenders call it."""

    mild: Change
    strong: Change
    fovea: str
    cleanvision: tuple[str, ...]


def whiten(image: Image.Image, rng: np.random.Generator, *, share: float) -> Image.Image:
    """Mix white in, as glare and fog do: nothing is clipped, nothing is dark."""
    return Image.blend(image, Image.new("RGB", image.size, "white"), share)


def speck(image: Image.Image, rng: np.random.Generator, *, share: float) -> Image.Image:
    """Put the photo, reduced to a share of each side, somewhere on a plain ground."""
    ground = Image.new("RGB", image.size, tuple(rng.integers(60, 200, 3).tolist()))
    small = rescale(image, rng, factor=share)
    ground.paste(small, tuple(rng.integers(0, np.subtract(image.size, small.size) + 1).tolist()))
    return ground


def strip(image: Image.Image, rng: np.random.Generator, *, aspect: int) -> Image.Image:
    """Cut a strip, lying or standing, out of the middle."""
    width, height = image.size
    if rng.random() < 0.5:
        return image.crop((0, (height - width // aspect) // 2, width, (height + width // aspect) // 2))
    return image.crop(((width - height // aspect) // 2, 0, (width + height // aspect) // 2, height))


def shrink(image: Image.Image, rng: np.random.Generator, *, side: int) -> Image.Image:
    """Reduce until the shorter side has so many pixels."""
    return rescale(image, rng, factor=side / min(image.size))


FAULTS = {
    "dark": Fault(partial(brightness, factor=0.25), partial(brightness, factor=0.1), "dark", ("dark",)),
    "over-exposed": Fault(partial(brightness, factor=4), partial(brightness, factor=10), "bright", ("light",)),
    "washed out": Fault(partial(whiten, share=0.65), partial(whiten, share=0.88), "bright", ("light",)),
    "blurred": Fault(partial(blur, radius=0.015), partial(blur, radius=0.04), "blurry", ("blurry",)),
    "near-constant": Fault(
        partial(contrast, factor=0.1), partial(contrast, factor=0.03), "low-information", ("low_information",)
    ),
    "speck on plain ground": Fault(
        partial(speck, share=0.2), partial(speck, share=0.1), "low-information", ("low_information",)
    ),
    "strip": Fault(partial(strip, aspect=4), partial(strip, aspect=10), "odd-size", ("odd_aspect_ratio", "odd_size")),
    "tiny": Fault(partial(shrink, side=32), partial(shrink, side=12), "odd-size", ("odd_size", "odd_aspect_ratio")),
}
CODES = tuple(dict.fromkeys(fault.fovea for fault in FAULTS.values()))
ISSUES = tuple(dict.fromkeys(issue for fault in FAULTS.values() for issue in fault.cleanvision))


def compare_faults(
    machine: Machine, originals: Sequence[Source], untouched: Sequence[Source], *, seed: int
) -> tuple[str, dict[str, Any]]:
    """Let cleanvision and fovea look at a folder with faults; return tables and figures."""
    folder = machine.out / "faults"
    kinds = make_faults(originals, untouched, folder, seed=seed)
    named: dict[str, dict[str, list[str]]] = {}  # contender, its word for a fault, files
    if machine.wants("cleanvision"):
        try:
            out = machine.out / "faults.npz"
            machine.peer("cleanvision faults", "cleanvision_issues.py", folder, "--out", out)
            issues = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
            named["cleanvision"] = {issue: issues[issue] for issue in ISSUES}
        except ContenderFailed as error:
            machine.failures["cleanvision faults"] = str(error)
    for way, options in fovea_ways(machine.weights).items():
        if machine.wants(way) and machine.weights not in options:
            try:
                _, findings = machine.fovea(f"{way} faults", folder, *options)
                named[way] = {code: files_of(findings, code) for code in CODES}
            except ContenderFailed as error:
                machine.failures[f"{way} faults"] = str(error)
    figures = {name: judge_faults(name, files, kinds) for name, files in named.items()}
    heading = f"{len(originals)} images of each fault and strength among {len(untouched):,} untouched photos"
    return f"{heading}\n\n{render_faults(figures)}", figures


def make_faults(
    originals: Sequence[Source], untouched: Sequence[Source], folder: Path, *, seed: int
) -> dict[str, tuple[str, str]]:
    """Write all images into class folders; return the kind and strength of each path, ("", "") for untouched ones."""
    kinds = {}
    for number, source in enumerate(untouched):
        path = folder / f"class {source.label:02d}" / f"photo {number:04d}{source.path.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.path.read_bytes())
        kinds[str(path.relative_to(folder))] = ("", "")
    for number, source in enumerate(originals):
        with Image.open(source.path) as opened:
            image = opened.convert("RGB")
        for turn, (kind, fault) in enumerate(FAULTS.items()):
            for strength in ("mild", "strong"):
                rng = np.random.default_rng([seed, number, turn, strength == "strong"])
                path = folder / f"class {source.label:02d}" / f"{kind} {strength} {number:04d}.jpg"
                getattr(fault, strength)(image, rng).save(path, quality=90)
                kinds[str(path.relative_to(folder))] = (kind, strength)
    return kinds


def judge_faults(name: str, files: Mapping[str, Sequence[str]], kinds: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the share of each fault that was called by its name, and by any; and the alarms on untouched photos."""
    anything = {path for paths in files.values() for path in paths}
    recall = {}
    for kind, fault in FAULTS.items():
        words = fault.cleanvision if name == "cleanvision" else (fault.fovea,)
        right = {path for word in words for path in files[word]}
        for strength in ("mild", "strong"):
            made = [path for path, what in kinds.items() if what == (kind, strength)]
            shares = [sum(path in found for path in made) / len(made) for found in (right, anything)]
            recall[f"{kind}, {strength}"] = {"named": shares[0], "anything": shares[1]}
    clean = {path for path, what in kinds.items() if what == ("", "")}
    alarms = {word: sorted(clean.intersection(paths)) for word, paths in files.items()}
    return {"recall": recall, "alarms": alarms, "alarm_share": len(clean & anything) / len(clean)}


def render_faults(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of recall and one of alarms."""
    lines = [f"{'share called by its name (by any)':<34}" + "".join(f"{name:>22}" for name in figures)]
    for fault in next(iter(figures.values()), {"recall": {}})["recall"]:
        shares = [values["recall"][fault] for values in figures.values()]
        cells = "".join(f"{share['named']:>14.2f} ({share['anything']:.2f})" for share in shares)
        lines.append(f"{fault:<34}" + cells.replace(" (", "  ("))
    lines.append("")
    for name, values in figures.items():
        counts = ", ".join(f"{word} {len(paths)}" for word, paths in values["alarms"].items())
        lines.append(f"{name}: alarms on {100 * values['alarm_share']:.1f} % of the untouched photos ({counts})")
    return "\n".join(lines)
