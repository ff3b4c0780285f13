"""Every probe is in the documentation, under the code that it says."""

from __future__ import annotations

from pathlib import Path

from fovea.doctor.finding import PROBES
from fovea.doctor.probes import all_probes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "doctor.md"


def test_the_reference_names_every_probe() -> None:
    assert all_probes.__doc__
    page = PAGE.read_text(encoding="utf-8")
    assert len(PROBES.names()) >= 42
    for entry in PROBES:
        assert f"| `{entry.name}` | {entry.summary} |" in page
