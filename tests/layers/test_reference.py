"""The reference of the layers: its Python runs, and it names every entry in the entry's own words."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fovea import layers
from fovea.core.registry import Entry
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


@pytest.mark.parametrize(
    "entry", [entry for registry in REGISTRIES for entry in registry], ids=lambda entry: entry.name
)
def test_help_has_source_shapes_and_an_example(entry: Entry) -> None:
    said = inspect.getdoc(entry.build) or ""
    assert ">>> " in said
    if entry.build.__module__.startswith("fovea."):  # torch's own say where they come from in their own way
        assert re.search(r"^Sources?: .*(19|20)\d\d", said, re.MULTILINE)
    if entry not in list(INITIALISATION):
        assert "Shape:" in said


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_its_python_runs(block: str) -> None:
    exec(compile(block, "layers.md", "exec"), {})


def test_the_door_lists_what_it_opens_and_brings_in_no_torch_by_itself() -> None:
    listing = "import sys, fovea.layers as door; names = dir(door); print('torch' in sys.modules, *names)"
    without_torch, *names = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    ).stdout.split()
    assert without_torch == "False"
    assert {"POOLING", "create", "swap", "recalibrate", "fully_convolutional", "pretrain_layerwise"} <= set(names)
    assert [name for name in layers._MODULES if not hasattr(layers, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'pool'"):
        layers.pool  # noqa: B018
