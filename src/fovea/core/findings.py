"""One thing learnt about data or a training: what, how sure, shown by what, and what to do about it.

The terminal, the report and (later) the web show the same findings; audit and doctor both speak in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A named fact with its evidence and a fix.

    Args:
        severity: "error" (results cannot be trusted), "warning" (results suffer) or "note" (worth knowing).
        code: a stable kebab-case name such as "unreadable" or "class-map".
        message: one sentence in plain words, with the numbers in it.
        fix: what the reader can do about it.
        evidence: plain JSON values that show it.
        files: paths relative to the data's root that it concerns; ranked, where the message says so.
        groups: files that belong together, such as copies of one image, where the finding is about groups.

    >>> Finding(severity="note", code="split-made", message="a split was made", fix="none needed").as_dict()["code"]
    'split-made'
    """

    severity: Severity
    code: str
    message: str
    fix: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity is {self.severity!r}; expected one of {SEVERITIES}")

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-ready values; `groups` only where there are any."""
        groups = {"groups": [list(group) for group in self.groups]} if self.groups else {}
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "fix": self.fix,
            "evidence": dict(self.evidence),
            "files": list(self.files),
            **groups,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Rebuild a finding from `as_dict`."""
        groups = tuple(tuple(group) for group in values.get("groups", ()))
        return cls(**{**values, "files": tuple(values.get("files", ())), "groups": groups})


def by_severity(findings: list[Finding]) -> list[Finding]:
    """Return the findings with errors first and notes last, otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def tally(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity.

    >>> tally([Finding(severity="error", code="x", message="", fix="")] * 2)
    '2 errors'
    """
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES}
    return ", ".join(f"{count:,} {name}{'s' if count != 1 else ''}" for name, count in counts.items() if count)
