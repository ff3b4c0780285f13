"""What stands in the documentation runs: tutorials are executed, commands parse, settings exist, Python compiles."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fovea.cli.shell import app
from fovea.core.recipe_io import build_recipe
from fovea.models.listing import search

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorials" / "first-model.md"
QUESTIONS = ROOT / "docs" / "questions.md"


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Return (language, text) of the fenced blocks of a page, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, text) for language, text in found if language in languages]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every fovea command line of every page as (where, arguments)."""
    for page in PAGES:
        for _, text in blocks(page, "shell", "console"):
            for line in text.splitlines():
                words = shlex.split(line.removeprefix("$ ").partition(" > ")[0], comments=True)
                if words[:1] == ["torchrun"]:
                    words = words[words.index("-m") + 1 :]
                if words[:1] == ["fovea"]:
                    yield f"{page.relative_to(ROOT)}: {line}", words[1:]


def execute(language: str, text: str, folder: Path) -> str:
    """Run a block the way a reader would, with this environment active."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "shell" else [sys.executable, "-c", text]
    environment = os.environ | {"PATH": path, "FOVEA_CACHE": str(folder / "cache")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every block of the tutorial has been run, with what each printed in `printed.json`."""
    folder = tmp_path_factory.mktemp("erste Schritte")
    printed = [execute(language, text, folder) for language, text in blocks(TUTORIAL, "shell", "python")]
    (folder / "printed.json").write_text(json.dumps(printed), encoding="utf-8")
    return folder


def test_the_tutorial_runs_and_makes_what_it_says(tutorial: Path) -> None:
    printed = json.loads((tutorial / "printed.json").read_text(encoding="utf-8"))
    (promised,) = (text for _, text in blocks(TUTORIAL, "text"))
    assert any(text.startswith(promised) for text in printed)
    judged = json.loads((tutorial / "judged.json").read_text(encoding="utf-8"))
    assert judged["accuracy"] > 0.8  # ten classes: guessing gives 0.1
    assert printed[-1] == "10\n"  # timm's own loading
    threes = (tutorial / "threes.csv").read_text(encoding="utf-8").splitlines()
    assert len(threes) == 1 + 183
    assert "<html" in (tutorial / "run" / "report.html").read_text(encoding="utf-8")


def test_the_files_that_the_tutorial_lists_are_the_files_of_a_run(tutorial: Path) -> None:
    listed = set(
        re.findall(r"`([\w.]+)/?`", "\n".join(re.findall(r"^\| (`.*?) \|", TUTORIAL.read_text(), re.MULTILINE)))
    )
    assert listed <= {path.name for path in (tutorial / "run").iterdir()}
    assert {"recipe.yaml", "model", "report.html"} <= listed


def test_the_python_that_answers_questions_runs_on_a_run(tutorial: Path) -> None:
    (tutorial / "photos").symlink_to("digits")
    snippets = [text for _, text in blocks(QUESTIONS, "python")]
    assert len(snippets) > 5
    execute("python", "\n".join(f"exec(compile({text!r}, {text!r}, 'exec'), {{}})" for text in snippets), tutorial)


def test_the_table_of_networks_has_the_figures_of_the_catalogue() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d{4}) \| .* \| ([\d,]+) \| ([\d,]+) \|$", QUESTIONS.read_text("utf-8"), re.MULTILINE
    )
    told = {name: tuple(int(number.replace(",", "")) for number in numbers) for name, *numbers in rows}
    listed = {network.name: network for network in search() if network.name in told}
    assert len(told) > 15
    assert told == {
        name: (network.paper.year, network.parameters, network.macs)
        for name, network in listed.items()
        if network.paper
    }


def test_every_command_in_the_pages_parses_and_its_settings_exist() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    seen = 0
    for where, arguments in commands():
        verb, *rest = arguments
        context = verbs[verb].make_context(verb, list(rest))  # raises on an unknown option
        build_recipe(overrides=context.params.get("settings") or [])  # raises on an unknown setting
        seen += 1
        assert verb in verbs, where
    assert seen > 20


def test_the_readme_names_the_two_commands() -> None:
    lines = [
        line.split("#")[0].strip() for _, text in blocks(ROOT / "README.md", "shell") for line in text.splitlines()
    ]
    assert lines[:2] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in ("demo", "test"))
