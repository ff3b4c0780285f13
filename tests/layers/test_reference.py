"""The reference of the layers: its Python runs, and it names every entry in the entry's own words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fovea.layers import FAMILIES, INITIALISATION

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "layers.md").read_text(encoding="utf-8")
REGISTRIES = (*FAMILIES.values(), INITIALISATION)


def test_the_reference_names_every_entry() -> None:
    missing = [
        each.name for registry in REGISTRIES for each in registry if f"| `{each.name}` | {each.summary} |" not in PAGE
    ]
    assert missing == []


def test_every_entry_says_where_it_comes_from() -> None:
    entries = [entry for registry in REGISTRIES for entry in registry]
    assert [entry.name for entry in entries if not re.search(r"\b(19|20)\d\d\b", entry.summary)] == []


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_its_python_runs(block: str) -> None:
    exec(compile(block, "layers.md", "exec"), {})
