"""`fovea audit`: what is wrong with this data, before a training and beside it.

The fast form works on looks alone and is part of every training; the whole audit also judges labels and outliers on
features. Nothing in the data's folder is changed; a proposal of what to leave out is a new table.
"""

from __future__ import annotations

import dataclasses
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from fovea.core.errors import DataError, RecipeError
from fovea.core.files import write_bytes, write_json, write_text
from fovea.core.findings import Finding, by_severity
from fovea.core.html import render
from fovea.core.progress import Progress, Silent
from fovea.core.recipe import Recipe
from fovea.data.audit.base import Subject
from fovea.data.audit.checks import CHECKS, FEATURE_CHECKS
from fovea.data.audit.grouped import Copies
from fovea.data.audit.proposal import check_target, propose, write_proposal
from fovea.data.audit.remembered import remembered_copies
from fovea.data.decoding import decode
from fovea.data.looks import Looks
from fovea.data.manifest import Manifest
from fovea.data.reading import read_with_looks
from fovea.workflows.beforehand import check_apart, check_folder, check_network
from fovea.workflows.machine import keep_memory, prepare
from fovea.workflows.stopping import stoppable

GRID_IMAGES, GRID_VIEWS, GRID_PX = 6, 7, 160


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        findings: worst first, those of reading included.
        subject: the material: the manifest, looks, groups of copies, and features unless it was the fast form.
        elapsed_s: how long it took.
        page: the page with pictures, where one was asked for.
        proposal: the table of `write_clean`, where one was asked for.
    """

    findings: tuple[Finding, ...]
    subject: Subject
    elapsed_s: float
    page: Path | None = None
    proposal: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as JSON-ready values; paths in findings start from the folder that was audited."""
        return {
            "data": self.subject.manifest.source,
            "images": len(self.subject),
            "left_out": self.subject.manifest.excluded().height,
            "classes": len(self.subject.manifest.classes),
            "features_from": self.subject.features_from or None,
            "elapsed_s": round(self.elapsed_s, 2),
            "page": self.page,
            "proposal": self.proposal,
            "findings": [_below_source(finding, self._prefix()).as_dict() for finding in self.findings],
        }

    def _prefix(self) -> str:
        """What leads from the folder that was named to the one that paths start from, such as `images/`."""
        source, root = Path(self.subject.manifest.source).absolute(), self.subject.manifest.root.absolute()
        below = root.relative_to(source).as_posix() if source in root.parents else ""
        return f"{below}/" if below else ""


def audit(
    source: Path | str,
    *,
    recipe: Recipe | None = None,
    fast: bool = False,
    out: Path | str | None = None,
    write_clean: Path | str | None = None,
    augment: bool = False,
    console: Progress | None = None,
) -> Audit:
    """Find out what is wrong with the images at `source`.

    Args:
        source: a folder, table or list file; see `fovea.read`.
        recipe: `data` says how it is read and augmented, `model` which network gives the features (weights "plain":
            none), `seed` what is random.
        fast: only what needs no features: no doubtful labels, no outliers.
        out: a folder for audit.html and audit.json; none is written when None.
        write_clean: a table (CSV, TSV, Parquet) to make, with a proposal for each image; `fovea train` reads it.
        augment: also show, on the page, what a network will see with the recipe's augmentation.
        console: shown to the user.

    Raises:
        DataError: the data cannot be read.
        ModelError: the weights that were asked for cannot be loaded.
        FoveaError: `out` or `write_clean` cannot be written; like wrong weights, said before the first file is opened.
        Interrupted: the user stopped it; the same call goes on from what is remembered.

    Example (a folder `photos` with one folder per class):
        for finding in fovea.audit("photos").findings:
            print(finding.severity, finding.code, finding.message)
    """
    if augment and out is None:
        raise RecipeError("the view of a network is part of the page", hint="name a folder for it with --out DIR")
    started = time.monotonic()
    recipe = recipe or Recipe()
    if out is not None:
        check_apart(source, out)
        check_folder(out, hint="choose another --out")
    if write_clean is not None:
        target = Path(write_clean).expanduser()
        check_target(target, Path(source).expanduser())
        check_folder(target.parent, hint="choose another --write-clean")
    keep_memory()
    with stoppable(console or Silent()) as progress:
        subject, findings = _examine(source, recipe, fast=fast, progress=progress)
    page = None
    if out is not None:
        view = network_view(subject, recipe) if augment else None
        from fovea.evaluation.auditpage import build_audit_report

        report = build_audit_report(
            subject=subject, findings=findings, network_view=view, elapsed_s=time.monotonic() - started
        )
        page = Path(out) / "audit.html"
        write_text(page, render(report))
        if view is not None:
            write_bytes(page.with_name("augment.png"), view)
    if write_clean is not None:
        write_proposal(write_clean, propose(subject, findings), manifest=subject.manifest)
    result = Audit(
        tuple(findings),
        subject,
        time.monotonic() - started,
        page,
        None if write_clean is None else Path(write_clean),
    )
    if page is not None:
        write_json(page.with_suffix(".json"), result.as_dict())
    return result


def _examine(source: Path | str, recipe: Recipe, *, fast: bool, progress: Progress) -> tuple[Subject, list[Finding]]:
    """Read the data and run the checks; return the material and what they found, worst first."""

    def check_weights() -> None:
        from fovea.workflows.features import PLAIN

        if recipe.model.weights not in (None, PLAIN):
            check_network(recipe)

    manifest, looks = read_with_looks(
        source,
        label_column=recipe.data.label_column,
        classes=recipe.data.classes,
        unlabelled=True,
        max_pixels=recipe.data.max_pixels,
        ready=None if fast else check_weights,
        progress=lambda done, total: progress.advance("reading images", done, total),
    )
    looks, copies = group(manifest, looks, seed=recipe.seed, progress=progress)
    subject = as_subject(manifest, looks, copies, seed=recipe.seed)
    findings = check(subject, progress=progress)
    if not fast:
        from fovea.workflows.features import with_features  # the networks' libraries take seconds to import

        prepare(recipe.train)
        judged = with_features(subject, recipe, progress=progress)
        findings += check(judged, progress=progress, features=True)
        subject = judged if len(judged) == len(subject) else subject
    return subject, by_severity([*manifest.findings, *findings])


def _below_source(finding: Finding, prefix: str) -> Finding:
    def below(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [below(item) for item in value]
        return {**value, "path": prefix + value["path"]} if isinstance(value, dict) and "path" in value else value

    files = tuple(prefix + path for path in finding.files)
    groups = tuple(tuple(prefix + path for path in members) for members in finding.groups)
    evidence = {name: below(value) for name, value in finding.evidence.items()}
    return dataclasses.replace(finding, files=files, groups=groups, evidence=evidence)


def group(manifest: Manifest, looks: Looks, *, seed: int, progress: Progress) -> tuple[Looks, Copies]:
    """Return the looks at the usable images, and which of these are copies or show one scene.

    Args:
        looks: row by row of the manifest's table, as from `read_with_looks`.
    """
    usable = np.flatnonzero(manifest.table["excluded"].is_null().to_numpy())
    looks = looks if len(usable) == len(looks) else looks.take(usable)
    rows = manifest.usable()
    sides_px = rows.select(pl.min_horizontal("width", "height")).to_series().to_numpy()
    copies = remembered_copies(looks, rows["digest"].to_list(), sides_px, seed=seed, advance=progress.advance)
    return looks, copies


def as_subject(manifest: Manifest, looks: Looks, copies: Copies, *, seed: int) -> Subject:
    """Return the material of the fast checks."""
    rows = manifest.usable()
    return Subject(manifest=manifest, rows=rows, looks=looks, copies=copies.near, scenes=copies.scene, seed=seed)


def scenes_of(manifest: Manifest, copies: Copies) -> np.ndarray:
    """Return the scene of each row of the manifest's table, -1 where it is alone or left out: no split may part one."""
    scenes = np.full(manifest.table.height, -1, np.int64)
    scenes[manifest.table["excluded"].is_null().to_numpy()] = copies.scene
    return scenes


def check(subject: Subject, *, progress: Progress, features: bool = False) -> list[Finding]:
    """Run every check that needs no features, or every check that does."""
    entries = list(FEATURE_CHECKS if features else CHECKS)
    findings: list[Finding] = []
    for number, entry in enumerate(entries, start=1):
        findings += entry.build(subject)
        progress.advance("judging labels" if features else "checking", number, len(entries))
    return findings


def network_view(subject: Subject, recipe: Recipe) -> bytes:
    """Return a PNG of some training images, plain and as the recipe's augmentation shows them to a network."""
    from fovea.data.augment import Augment
    from fovea.data.augment.grid import augmented_grid

    wanted = np.flatnonzero(np.isin(subject.splits, ("train", "")))
    some = np.random.default_rng(subject.seed).permutation(wanted)[:GRID_IMAGES]
    images = []
    for path in subject.manifest.paths(subject.rows[some]):
        try:
            images.append(decode(path, at_least=2 * GRID_PX))
        except DataError:
            continue
    if not images:
        raise DataError("no training image can be read", hint="check the disk or the network folder")
    augment = Augment.from_recipe(recipe.data, interpolation="bicubic")
    grid = augmented_grid(images, augment=augment, size=GRID_PX, views=GRID_VIEWS, seed=recipe.seed)
    content = io.BytesIO()
    Image.fromarray(grid).save(content, "PNG")
    return content.getvalue()
