"""The run folder: where a training writes everything a later verb needs, and nothing a reader must guess.

    recipe.yaml manifest.parquet plan.json events.jsonl summary.csv findings.json
    checkpoints/ model/ report.html report.json

Of k-fold training there is a folder of this kind for each fold under folds/, and oof.parquet in place of a model: what
was said of each image by the model that had not seen it.

This module knows the folder's layout and how to append to its logs; what goes into each file is decided elsewhere.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fovea.core.errors import RunError
from fovea.core.files import atomic_open, plain, write_json, write_text
from fovea.core.findings import Finding
from fovea.core.recipe import Recipe
from fovea.core.recipe_io import dump_recipe, load_recipe


class Run:
    """A run folder on disk.

    >>> import tempfile
    >>> run = Run.create(Path(tempfile.mkdtemp()) / "first", Recipe())
    >>> run.recipe().seed
    0
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path | str, recipe: Recipe) -> Run:
        """Make a new run folder that holds the resolved recipe; refuses to write into another run."""
        folder = Path(folder)
        cls.check_free(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise RunError(f"cannot create {folder}: permission denied", hint="choose another --out") from error
        run = cls(folder)
        run.save_recipe(recipe)
        return run

    @staticmethod
    def check_free(folder: Path) -> None:
        """Raise `RunError` if a run lies at `folder`, or a file."""
        if (folder / "recipe.yaml").exists():
            raise RunError(
                f"{folder} already holds a run",
                hint=f"{Run(folder).resume_command}, or choose another folder with --out",
            )
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file, expected a folder", hint="choose another folder with --out")

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open an existing run folder."""
        folder = Path(folder)
        if not folder.exists():
            raise RunError(f"no run folder at {folder}", hint="fovea train DATA --out RUN makes one")
        if not (folder / "recipe.yaml").exists():
            raise RunError(f"{folder} is not a run folder: it has no recipe.yaml", hint="pass the --out of a training")
        return cls(folder)

    @property
    def resume_command(self) -> str:
        """What goes on with the run, as a shell takes it."""
        return f"fovea resume {shlex.quote(str(self.folder))}"

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.parquet"

    @property
    def model_path(self) -> Path:
        return self.folder / "model"

    @property
    def checkpoints_path(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def out_of_fold_path(self) -> Path:
        return self.folder / "oof.parquet"

    def fold_path(self, fold: int) -> Path:
        """Return the run folder of one fold."""
        return self.folder / "folds" / str(fold)

    def fold_paths(self) -> list[Path]:
        """Return the run folders of the folds begun so far, in order; empty unless the run is of k-fold training."""
        begun = (path for path in (self.folder / "folds").glob("*") if path.name.isdecimal())
        return sorted(begun, key=lambda path: int(path.name))

    @property
    def report_path(self) -> Path:
        return self.folder / "report.html"

    def recipe(self) -> Recipe:
        """Return the recipe that the run was made with."""
        return load_recipe(self.folder / "recipe.yaml")

    def save_recipe(self, recipe: Recipe) -> None:
        """Write the recipe."""
        write_text(self.folder / "recipe.yaml", dump_recipe(recipe))

    def write(self, name: str, value: Any) -> None:
        """Write a JSON document such as plan.json or report.json."""
        write_json(self.folder / name, value)

    def read(self, name: str, default: Any = None) -> Any:
        """Read a JSON document, or return `default` when it is absent."""
        path = self.folder / name
        if not path.exists():
            return default
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise RunError(f"{path} is damaged: {error}", hint="delete it and repeat the verb that wrote it") from error

    def findings(self) -> list[Finding]:
        """Return the findings that the run has gathered."""
        return [Finding.from_dict(values) for values in self.read("findings.json", [])]

    def add_findings(self, findings: list[Finding]) -> None:
        """Add findings to those of the run, without repeating one."""
        known = [finding.as_dict() for finding in self.findings()]
        fresh = [plain(finding.as_dict()) for finding in findings]
        self.write("findings.json", known + [values for values in fresh if values not in known])

    def event(self, kind: str, **values: Any) -> None:
        """Append one line to events.jsonl: what happened, when (UTC, ISO 8601), with its numbers."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps(plain({"event": kind, "time": now, **values}), ensure_ascii=False) + "\n"
        with open(self.folder / "events.jsonl", "ab") as file:
            if file.tell() and not _ends_with_newline(self.folder / "events.jsonl"):
                file.write(b"\n")  # a kill tore the last line; keep it from swallowing this one
            file.write(line.encode("utf-8"))

    def events(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the events in order; a line torn by a kill is skipped."""
        path = self.folder / "events.jsonl"
        if not path.exists():
            return
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if kind is None or event.get("event") == kind:
                    yield event

    def write_summary(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write summary.csv whole: one header, one line per epoch, also after any number of resumes."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with atomic_open(self.folder / "summary.csv") as file:
            file.write(text.getvalue().encode("utf-8"))

    def summary(self) -> list[dict[str, Any]]:
        """Return the rows of summary.csv with numbers as numbers."""
        path = self.folder / "summary.csv"
        if not path.exists():
            return []
        with open(path, encoding="utf-8", newline="") as file:
            return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _number(text: str | None) -> Any:
    if text in (None, ""):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
