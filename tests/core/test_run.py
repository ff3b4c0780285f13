"""The run folder and atomic files: torn lines, other runs, permissions, full disks."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from fovea.core.cores import usable_cores
from fovea.core.errors import FoveaError, MissingExtra, RunError, UnknownName, require
from fovea.core.files import atomic_open, cache_root, digest, plain, write_json, write_text
from fovea.core.findings import Finding, by_severity
from fovea.core.recipe import Recipe
from fovea.core.recipe_io import build_recipe
from fovea.core.registry import Registry
from fovea.core.run import Run


def test_a_run_keeps_its_recipe_and_is_not_overwritten(tmp_path: Path) -> None:
    recipe = build_recipe(overrides=["seed=7"])
    run = Run.create(tmp_path / "ein Lauf ü", recipe)
    assert Run.open(run.folder).recipe() == recipe
    with pytest.raises(RunError, match="already holds a run") as error:
        Run.create(run.folder, recipe)
    assert error.value.hint == f"fovea resume '{run.folder}', or choose another folder with --out"


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder at"):
        Run.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"it has no recipe\.yaml"):
        Run.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file, expected a folder"):
        Run.create(tmp_path / "file", Recipe())


def test_a_line_torn_by_a_kill_spoils_neither_neighbour(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Recipe())
    run.event("one", value=1)
    with open(run.folder / "events.jsonl", "ab") as file:
        file.write(b'{"event": "torn", "va')
    run.event("two", value=float("nan"))
    assert [(event["event"], event.get("value")) for event in run.events()] == [("one", 1), ("two", None)]
    assert [event["event"] for event in run.events("two")] == ["two"]


def test_the_summary_is_written_whole_with_one_header(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Recipe())
    rows = [{"epoch": 1, "rung": "head", "val_loss": ""}, {"epoch": 2, "rung": "full", "val_loss": 0.5}]
    run.write_summary(rows[:1])
    run.write_summary(rows)
    assert run.summary() == [
        {"epoch": 1, "rung": "head", "val_loss": None},
        {"epoch": 2, "rung": "full", "val_loss": 0.5},
    ]


def test_findings_are_kept_once(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Recipe())
    finding = Finding(severity="warning", code="x", message="m", fix="f", evidence={"n": (1, 2)}, files=("a b.jpg",))
    run.add_findings([finding])
    run.add_findings([finding])
    (kept,) = run.findings()
    assert kept.files == ("a b.jpg",)
    assert kept.evidence == {"n": [1, 2]}


def test_a_damaged_document_says_which(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Recipe())
    (run.folder / "plan.json").write_text("{")
    with pytest.raises(RunError, match=r"plan\.json is damaged"):
        run.read("plan.json")
    assert run.read("absent.json", {"a": 1}) == {"a": 1}


def test_an_atomic_write_leaves_the_old_content_on_any_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})

    def interrupted() -> None:
        with atomic_open(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(FoveaError, match="no space left while writing"):
        write_text(path, "new")
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_plain_values_for_json() -> None:
    import numpy as np

    value = {"a": np.float32(0.5), 2: (np.arange(2), Path("x")), "n": float("inf")}
    assert plain(value) == {"a": 0.5, "2": [[0, 1], "x"], "n": None}


def test_digests_keep_parts_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(b"ab") == digest("ab")
    assert len(digest("x")) == 32


def test_the_cache_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("FOVEA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_root() == Path("/x/fovea")


def test_registries_refuse_duplicates_and_suggest() -> None:
    registry: Registry = Registry("pooling")
    registry.register("max", summary="the largest")(lambda: 1)
    with pytest.raises(ValueError, match="pooling 'max' is registered twice"):
        registry.register("max", summary="again")(lambda: 2)
    with pytest.raises(UnknownName, match="unknown pooling 'mx'") as error:
        registry["mx"]
    assert error.value.hint == "did you mean 'max'? known: max"
    assert [entry.name for entry in registry] == ["max"]
    assert "max" in registry


def test_a_missing_extra_names_the_command() -> None:
    with pytest.raises(MissingExtra, match="the events need no_such_module, which is not installed") as error:
        require("no_such_module", extra="tensorboard", purpose="the events")
    assert error.value.hint == "pip install 'fovea[tensorboard]'"


def test_findings_sort_by_severity_and_refuse_others() -> None:
    note = Finding(severity="note", code="a", message="", fix="")
    error = Finding(severity="error", code="b", message="", fix="")
    assert by_severity([note, error]) == [error, note]
    with pytest.raises(ValueError, match="severity is 'fatal'"):
        Finding(severity="fatal", code="c", message="", fix="")  # type: ignore[arg-type]


def test_usable_cores_are_those_of_this_process() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
