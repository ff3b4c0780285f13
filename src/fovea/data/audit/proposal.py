"""What to do with each image, proposed from an audit's findings: keep, review or leave out, with the reason in words.

The proposal is a new table beside the data. Nothing of the data is changed, no label is corrected in silence, and the
table is read like any other (`formats.actions`), so that training can start from it once somebody has looked at it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fovea.core.errors import DataError
from fovea.core.files import write_bytes
from fovea.core.findings import Finding
from fovea.data.audit.base import Subject
from fovea.data.audit.evidence import per_file
from fovea.data.formats.actions import KEEP, LEAVE_OUT, LEFT_OUT, REVIEW, guarded
from fovea.data.formats.table import TABLE_SUFFIXES
from fovea.data.manifest import Manifest

COLUMNS = ("path", "label", "split", "group", "action", "reason")
_RULES = {  # code of a finding -> what becomes of the files it names, and why
    "low-information": (LEAVE_OUT, "shows next to nothing"),
    "label-suspect": (REVIEW, "its label is doubtful"),
    "outlier": (REVIEW, "is unlike the other images"),
    "dark": (REVIEW, "is very dark"),
    "bright": (REVIEW, "is very bright"),
    "blurry": (REVIEW, "is blurred"),
    "odd-size": (REVIEW, "has an unusual size or shape"),
    "wrong-extension": (KEEP, "its name ends in another format's suffix, which does not matter here"),
}
_TOGETHER_CODES = ("torn-group",)  # groups that a split may not part; those of copies are in `Subject.copies`
_NEXT_TO_NOTHING = 0.5  # `low-information` with a score above that shows a little: somebody should look first
_HARDNESS = {KEEP: 0, REVIEW: 1, LEAVE_OUT: 2}
_CLEAN = "nothing found"
_SUGGESTED = ("suggested", "suggestion", "predicted")
_CAREFUL = {"test": 0, "val": 1}  # copies across splits stay where they are evaluated, as `reading` keeps them
_PATH_RISKS = ("=", "+", "-", "@", " ", "\t", "\r", "\n")


def propose(subject: Subject, findings: Iterable[Finding]) -> pl.DataFrame:
    """Return what to do with every image of the data, also with those that reading left out.

    Of copies with one label the best stays (the largest, then the least compressed), in the split that is evaluated
    where they lie in several; copies whose labels differ are all left out, since nothing tells which label is right.
    What a finding doubts is kept and marked for review.

    Args:
        subject: the material of the audit; its `copies` say which images are copies.
        findings: of the audit; those in `_RULES` decide about the files they name.

    Returns:
        A row for each of the manifest's, in order, with the columns `path` (as in the manifest), `label` (the class;
        with several labels an image a list), `class_id` (likewise; only where the source has ids beside names),
        `split`, `group` (also set for copies and other images that belong together, so that a later split keeps them
        on one side), `action` and `reason`.
    """
    verdicts = _Verdicts(len(subject))
    scenes = subject.rows["together"].fill_null(-1) if subject.scenes is None else pl.Series(subject.scenes)
    scene = pl.when(scenes >= 0).then(pl.format("scene {}", scenes))  # photos of one scene, their copies included
    groups: list[str | None] = subject.rows.select(group=pl.coalesce("group", scene))["group"].to_list()
    _judge_copies(subject, verdicts, groups)
    place = {path: row for row, path in enumerate(subject.paths)}
    for finding in findings:
        if finding.code in _RULES:
            for path, action, reason in _ruled(finding):
                if path in place:
                    verdicts.add(place[path], action, reason)
        elif finding.code in _TOGETHER_CODES:
            for number, members in enumerate(finding.groups, start=1):
                for row in (place[path] for path in members if path in place):
                    groups[row] = groups[row] or f"{finding.code} {number}"
    return _table(subject, verdicts, groups)


def write_proposal(path: Path | str, proposal: pl.DataFrame, *, manifest: Manifest) -> None:
    """Write a proposal that `fovea.read` reads: CSV, TSV or Parquet by the suffix, whole or not at all.

    Paths are relative to the table's folder where the images lie below it, else absolute. In CSV and TSV no cell starts
    a formula in a spreadsheet: such paths get a leading `./`, such labels an apostrophe that reading takes off again.

    Args:
        path: replaced only where an earlier proposal lies there, and never when it is what was audited.
        proposal: of `propose`.
        manifest: of the same data.

    Raises:
        DataError: another suffix, another file at `path`, or a class name that holds `|`, which parts labels.
    """
    path = Path(path).expanduser()
    check_target(path, manifest.source)
    table = proposal.with_columns(path=_paths_from(path.parent.resolve(), manifest))
    content = io.BytesIO()
    if path.suffix.casefold() in (".parquet", ".pq"):
        table.write_parquet(content)
    else:
        _check_names(manifest)
        separator = "," if path.suffix.casefold() == ".csv" else "\t"
        _as_text(table, multilabel=manifest.multilabel).write_csv(content, separator=separator)
    write_bytes(path, content.getvalue())


class _Verdicts:
    """What was decided about each of N images, and why; the hardest decision counts."""

    def __init__(self, count: int) -> None:
        self.actions = [KEEP] * count
        self.reasons: list[list[tuple[str, str]]] = [[] for _ in range(count)]

    def add(self, row: int, action: str, reason: str) -> None:
        self.reasons[row].append((action, reason))
        if _HARDNESS[action] > _HARDNESS[self.actions[row]]:
            self.actions[row] = action

    def reason(self, row: int) -> str:
        """The reasons of the decision first, then what else was found."""
        ordered = sorted(self.reasons[row], key=lambda item: -_HARDNESS[item[0]])
        return "; ".join(dict.fromkeys(text for _, text in ordered)) or _CLEAN


def _judge_copies(subject: Subject, verdicts: _Verdicts, groups: list[str | None]) -> None:
    """Decide about each group of copies, and note that its images belong together."""
    together = np.flatnonzero(subject.copies >= 0)
    order = together[np.argsort(subject.copies[together], kind="stable")]
    for members in np.split(order, np.flatnonzero(np.diff(subject.copies[order])) + 1):
        if len(members) < 2:
            continue
        for row in members.tolist():
            groups[row] = groups[row] or f"copies {subject.copies[row]}"
        labels = {_label(subject, row) for row in members.tolist()}
        if len(labels) > 1:
            said = f"{len(members)} copies of this image are labelled {' and '.join(sorted(labels)[:4])}"
            for row in members.tolist():
                verdicts.add(row, LEAVE_OUT, f"{said}; nothing tells which is right")
        else:
            _keep_best(subject, members.tolist(), verdicts)


def _keep_best(subject: Subject, members: list[int], verdicts: _Verdicts) -> None:
    facts = subject.rows.select("width", "height", "bytes", "digest", "split")
    known = {row: facts.row(row, named=True) for row in members}
    quality = subject.looks.facts["quality"]

    def worth(row: int) -> tuple:
        fact = known[row]
        pixels = (fact["width"] or 0) * (fact["height"] or 0)
        lossless = 101 if quality[row] is None else quality[row]
        return -_CAREFUL.get(fact["split"], 2), pixels, lossless, fact["bytes"] or 0, -row

    best = max(members, key=worth)
    for row in members:
        if row != best:
            verdicts.add(row, LEAVE_OUT, _why(known[row], known[best], subject.paths[best]))
    across = len({known[row]["split"] for row in members}) > 1
    where = f"is the one of {len(members)} copies that stays, in {known[best]['split']}"
    verdicts.add(best, KEEP, where if across else f"is the best of {len(members)} copies")


def _why(copy: Mapping[str, Any], kept: Mapping[str, Any], path: str) -> str:
    """Say what a copy is left out for."""
    same = copy["digest"] is not None and copy["digest"] == kept["digest"]
    what = f"is the same file as {path}" if same else f"is a copy of {path}"
    if copy["split"] != kept["split"]:
        return f"{what}, which is in {kept['split']}; to have seen it before would flatter the result"
    sizes = [(fact["width"] or 0) * (fact["height"] or 0) for fact in (copy, kept)]
    larger = f", which is larger ({kept['width']} × {kept['height']} px)" if sizes[1] > sizes[0] else ", which is kept"
    return what + larger


def _label(subject: Subject, row: int) -> str:
    target = subject.targets[row]
    if subject.manifest.multilabel:
        return "|".join(subject.manifest.classes[index] for index in np.flatnonzero(target)) or "nothing"
    return subject.manifest.classes[int(target)]


def _ruled(finding: Finding) -> Iterator[tuple[str, str, str]]:
    """Yield path, action and reason of the files that a finding decides about."""
    action, reason = _RULES[finding.code]
    if finding.code == "label-suspect" and finding.severity == "note":
        action = KEEP  # they fit badly, which hard images do too
    suspected = finding.evidence.get("suspected", len(finding.files))  # a ranking goes on beyond its cut
    told = per_file(finding)
    for path in finding.files[:suspected]:
        suggested = next((told[path][name] for name in _SUGGESTED if told.get(path, {}).get(name)), None)
        if finding.code == "low-information" and told.get(path, {}).get("score", 0) > _NEXT_TO_NOTHING:
            yield path, REVIEW, "shows little"
        else:
            yield path, action, f"{reason}; suggested: {suggested}" if suggested else reason


def _table(subject: Subject, verdicts: _Verdicts, groups: Sequence[str | None]) -> pl.DataFrame:
    manifest = subject.manifest
    usable = manifest.table["excluded"].is_null()
    judged = pl.DataFrame(
        {
            "row": usable.arg_true(),
            "group": groups,
            "action": verdicts.actions,
            "reason": [verdicts.reason(row) for row in range(len(subject))],
        },
        schema={"row": pl.UInt32, "group": pl.String, "action": pl.String, "reason": pl.String},
    )
    table = manifest.table.with_row_index("row").select("row", "path", "target", "split", "excluded", own="group")
    table = table.join(judged, on="row", how="left", maintain_order="left")
    target = pl.col("target")

    def named(names: Sequence[str]) -> pl.Expr:
        listed = pl.lit(pl.Series(list(names), dtype=pl.String))
        if not manifest.multilabel:
            return listed.gather(target)
        return target.list.eval(pl.lit(pl.Series(list(names), dtype=pl.String)).gather(pl.element()))

    ids = manifest.class_ids
    return table.select(
        "path",
        label=named(manifest.classes),
        **({"class_id": named(ids)} if ids is not None and ids != manifest.classes else {}),
        split="split",
        group=pl.coalesce("group", "own"),
        action=pl.col("action").fill_null(LEAVE_OUT),
        reason=pl.coalesce("reason", pl.col("excluded").str.strip_prefix(f"{LEFT_OUT}: ")),
    )


def check_target(path: Path, source: Path | str) -> None:
    """Raise `DataError` if a proposal about the data at `source` may not be written to `path`."""
    if path.suffix.casefold() not in TABLE_SUFFIXES:
        raise DataError(
            f"{path} has the suffix {path.suffix!r}, which is no table",
            hint=f"end its name in one of {', '.join(TABLE_SUFFIXES)}",
        )
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise DataError(f"{path} is the table that was audited", hint="write the proposal to another file")
    if path.exists() and not _is_ours(path):
        raise DataError(f"{path} exists and is no proposal of fovea, so it stays as it is", hint="write to a new file")


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        if path.suffix.casefold() in (".parquet", ".pq"):
            names = list(pl.read_parquet_schema(path))
        else:
            with path.open(encoding="utf-8-sig") as file:
                names = file.readline().rstrip("\r\n").replace("\t", ",").split(",")
    except (OSError, ValueError, pl.exceptions.PolarsError):
        return False
    return tuple(name for name in names if name != "class_id") == COLUMNS


def _check_names(manifest: Manifest) -> None:
    if held := [name for name in manifest.classes if "|" in name]:
        raise DataError(
            f"the class {held[0]!r} holds a |, which parts several labels in a text table",
            hint="write a .parquet file" if manifest.multilabel else "rename the class",
        )


def _paths_from(folder: Path, manifest: Manifest) -> pl.Expr:
    """The paths of a manifest, relative to a folder where they lie below it, else absolute."""
    root, below = str(manifest.root.resolve()).rstrip("/"), f"{folder}/".replace("//", "/")
    path = pl.col("path")
    absolute = pl.when(path.str.starts_with("/")).then(path).otherwise(pl.concat_str(pl.lit(f"{root}/"), path))
    return absolute.str.strip_prefix(below)


def _as_text(table: pl.DataFrame, *, multilabel: bool) -> pl.DataFrame:
    """Labels as `a|b`, and every cell guarded; what reading trims or runs is written so that it does not."""
    names = [name for name in ("label", "class_id") if name in table.columns]
    if multilabel:
        # A lone label is written `a|` and none `|`, so that a table without a pair is still read as multi-label.
        ended = pl.when(pl.col("label").list.len() < 2).then(pl.lit("|")).otherwise(pl.lit(""))
        table = table.with_columns(pl.concat_str(pl.col(name).list.join("|"), ended) for name in names)
    risky = pl.any_horizontal([pl.col("path").str.starts_with(mark) for mark in _PATH_RISKS])
    return table.with_columns(
        path=pl.when(risky).then(pl.concat_str(pl.lit("./"), "path")).otherwise("path"),
        label=guarded(pl.col("label")),
        group=guarded(pl.col("group")),
    )
