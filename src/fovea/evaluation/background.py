"""The parts of the report about what came before the judgement: the data, the training, how to repeat it.

Reads what a run folder holds and leaves out what it does not.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fovea.core.findings import Finding, by_severity
from fovea.core.recipe_io import dump_recipe
from fovea.core.report import Block, Code, Column, Fact, Facts, Figure, FindingList, Prose, Section, Table
from fovea.core.run import Run
from fovea.core.wording import counted, duration, listed
from fovea.data.manifest import SPLITS, Manifest
from fovea.evaluation import plots
from fovea.evaluation.environment import environment
from fovea.evaluation.findingdetail import BRIEF, shown
from fovea.evaluation.thumbnails import Thumbnails

EXCLUDED_NAMED = 200
_PICTURE_BYTES = 1_500_000  # of the findings' pictures together


def data_section(
    manifest: Manifest, findings: Sequence[Finding], unreadable: Sequence[Mapping[str, str]] = ()
) -> Section:
    """Return the section on the images: how many, of what, which were left out, what was found.

    Args:
        findings: of reading the data and of the run.
        unreadable: `path` and `error` of files that could no longer be read when they were to be judged.
    """
    left_out = [
        *manifest.excluded().select("path", "excluded").iter_rows(),
        *((item["path"], item["error"]) for item in unreadable),
    ]
    counts = manifest.counts()
    splits = [name for name in counts.columns if name != "class"]
    blocks: list[Block] = [Facts(data_facts(manifest, left_out=len(left_out)))]
    drawing = plots.class_sizes(list(counts["class"]), {name: counts[name].to_list() for name in splits})
    if drawing:
        total = [sum(row) for row in counts.select(splits).iter_rows()]
        caption = f"Images per class: from {min(total)} to {max(total):,}."
        blocks.append(Figure(drawing, caption, f"Images per class and split. {caption}"))
    thumbnails = Thumbnails(manifest, budget_bytes=_PICTURE_BYTES)
    details = [shown(finding, thumbnails, limits=BRIEF) for finding in by_severity(list(findings))]
    blocks.append(FindingList(details, empty="Reading the data brought nothing to light that needs attention."))
    blocks += left_out_blocks(left_out)
    return Section("Data", blocks)


def data_facts(manifest: Manifest, *, left_out: int = 0) -> list[Fact]:
    """Return what the data is, as facts; `left_out` counts the files that are not used."""
    usable = manifest.usable()
    counts = dict(usable["split"].drop_nulls().value_counts().iter_rows())
    held = [f"{counts[name]:,} {name}" for name in SPLITS if name in counts]
    return [
        Fact("Source", manifest.source or str(manifest.root)),
        Fact("Images", f"{usable.height:,}", f"({', '.join(held)})" if held else ""),
        Fact("Classes", f"{len(manifest.classes):,}", "an image may have several" if manifest.multilabel else ""),
        *_sizes(manifest),
        Fact("Left out", counted(left_out, "file") if left_out else "nothing"),
        Fact("Fingerprint", manifest.fingerprint, "equal for equal images, labels and splits"),
    ]


def left_out_blocks(files: Sequence[tuple[str, str]]) -> list[Block]:
    """Return a table of files and why each is left out, nothing without files."""
    if not files:
        return []
    named, reasons = files[:EXCLUDED_NAMED], Counter(reason for _, reason in files)
    blocks: list[Block] = []
    caption = f"Left out: {counted(len(files), 'file')}"
    if len(files) > len(named):
        caption += f"; the first {len(named)} named"
        blocks.append(Prose("Reasons: " + listed([f"{reason} ({n})" for reason, n in reasons.most_common()], limit=8)))
    return [*blocks, Table([Column("File"), Column("Why it is left out")], named, caption=caption, sortable=True)]


def training_section(run: Run, findings: Sequence[Finding] = ()) -> Section | None:
    """Return the section on what was trained and why, or None for a run that says nothing of it.

    Args:
        findings: what the doctor said of the training.
    """
    plan = run.read("plan.json", {}) or {}
    rows = run.summary()
    blocks: list[Block] = []
    if findings:
        blocks.append(FindingList(by_severity(list(findings))))
    elif watched := {event["rung"]: event["steps"] for event in run.events("doctor")}:
        steps = counted(sum(watched.values()), "step")
        blocks.append(Prose(f"The doctor watched {steps} of {listed(list(watched))} and found nothing that harms it."))
    if choices := plan.get("choices"):
        cells = [(str(choice.get("what", "")), str(choice.get("why", ""))) for choice in choices]
        blocks.append(Table([Column("Choice"), Column("Reason")], cells, caption="What fovea chose, and why"))
    if rungs := plan.get("rungs"):
        blocks.append(_rungs(rungs))
    blocks += _histories(rows)
    if not blocks:
        return None
    recipe = run.recipe()
    budget = (
        f"within a budget of {duration(recipe.train.budget_s)}" if recipe.train.budget_s else "without a time limit"
    )
    return Section("Training", blocks, lead=f"Seed {recipe.seed}, {budget}.")


def repeat_section(run: Run, manifest: Manifest) -> Section:
    """Return the section on what it was made with and how to make it again."""
    started = [event["environment"] for event in run.events("started") if event.get("environment")]
    recorded = started[-1] if started else environment()
    recipe = run.recipe()
    source = recipe.data.source or manifest.source
    command = shlex.join(["fovea", "train", source, "--recipe", str(run.folder / "recipe.yaml"), "--out", "again"])
    machine = ("system", "cpu")
    versions = ", ".join(f"{name} {value}" for name, value in recorded.items() if name not in machine)
    facts = [
        Fact("Versions", versions),
        *(Fact(_NAMES[name], str(recorded[name])) for name in machine if name in recorded),
    ]
    return Section(
        "How to repeat it",
        [
            Code(command + "\n" + shlex.join(["fovea", "evaluate", "again"])),
            Code(dump_recipe(recipe), summary="recipe.yaml: every setting, resolved"),
            Facts(facts),
        ],
        lead="A budget in seconds reaches further on a faster machine; the recipe and the seed fix everything else.",
    )


_NAMES = {"system": "System", "cpu": "Processor"}


def _sizes(manifest: Manifest) -> list[Fact]:
    known = manifest.usable().select("width", "height").drop_nulls().to_numpy()  # (N, 2)
    if not len(known):
        return []
    (width, height), low, high = np.median(known, axis=0), known.min(axis=0), known.max(axis=0)
    extent = f"(widths {low[0]} to {high[0]}, heights {low[1]} to {high[1]})"
    return [Fact("Typical size", f"{width:.0f} × {height:.0f} px", extent)]


def _rungs(rungs: Sequence[Mapping[str, Any]]) -> Table:
    """Rungs as a table of whatever plain values they recorded."""
    keys = [key for key in dict.fromkeys(key for rung in rungs for key in rung) if _plain(rungs, key)]
    columns = [
        Column(_heading(key), kind="number" if _numeric(rungs, key) else "text", digits=_digits(key)) for key in keys
    ]
    cells = [[_cell(rung.get(key)) for key in keys] for rung in rungs]
    return Table(columns, cells, caption="Rungs climbed, in order")


def _heading(key: str) -> str:
    words = f"{key[:-2]} (s)" if key.endswith("_s") else key
    return words.replace("_", " ").capitalize()


def _plain(rungs: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(isinstance(rung.get(key), (str, int, float, bool, type(None))) for rung in rungs)


def _numeric(rungs: Sequence[Mapping[str, Any]], key: str) -> bool:
    values = [rung[key] for rung in rungs if rung.get(key) is not None]
    return bool(values) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _digits(key: str) -> int:
    return 1 if key.endswith("_s") else 0 if key in ("epochs", "views", "images", "steps") else 4


def _cell(value: Any) -> str | float | None:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _histories(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not rows:
        return []
    drawings = (
        ("Loss", {"train_loss": "training", "val_loss": "validation"}, False),
        ("Accuracy", {"val_accuracy": "validation"}, False),
        ("Learning rate", {"lr": "learning rate"}, True),
    )
    blocks: list[Block] = []
    for title, columns, log in drawings:
        drawing = plots.history(rows, columns, label=title.lower(), log=log, wide=log)
        if drawing:
            last = {name: row[key] for key, name in columns.items() for row in rows if _known(row.get(key))}
            ends = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
            alt = f"{title} over {counted(len(rows), 'epoch')}; at the end: {ends}."
            blocks.append(Figure(drawing, f"{title} per epoch", alt, half=not log))
    return blocks


def _known(value: object) -> bool:
    return isinstance(value, (int, float))
