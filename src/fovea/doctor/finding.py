"""One thing that the doctor says of a training, and the contract of probes, which say them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fovea.core.files import plain
from fovea.core.findings import Finding
from fovea.core.registry import Registry
from fovea.doctor.record import Place, Record

Severity = Literal["alarm", "note"]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A fault by name.

    Args:
        code: of the catalogue, such as "softmax-before-loss".
        confidence: 0 to 1: how often this is right when it is said.
        message: what is the matter, in a sentence with the numbers in it.
        fix: what to change.
        confirm: what would confirm it.
        severity: an alarm for what harms the training; a note for what is worth knowing.
        evidence: plain values that show it.
        where: module, parameter group, or line of code.
        chain: what else followed from it, in words.

    >>> Diagnosis(code="nan", confidence=0.99, message="", fix="").severity
    'alarm'
    """

    code: str
    confidence: float
    message: str
    fix: str
    confirm: str = ""
    severity: Severity = "alarm"
    evidence: Mapping[str, Any] = field(default_factory=dict)
    where: str | Place | None = None
    chain: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON-ready values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "confidence": round(self.confidence, 2),
            "message": self.message,
            "evidence": plain(dict(self.evidence)),
            "where": None if self.where is None else str(self.where),
            "fix": self.fix,
            "confirm": self.confirm,
            "chain": list(self.chain),
        }

    def lines(self) -> list[str]:
        """Return what is said, for a terminal: the finding, what follows from it, and what to do."""
        where = "" if self.where is None else f" at {self.where}"
        lines = [f"{self.severity}: {self.message} [{self.code}, {100 * self.confidence:.0f} %{where}]"]
        lines += [f"  from it follows {told}" for told in self.chain]
        lines.append(f"  fix: {self.fix}")
        if self.confirm and self.severity == "alarm":
            lines.append(f"  confirmed if {self.confirm}")
        return lines

    def as_finding(self) -> Finding:
        """Return it as the finding that reports and logs show."""
        place = {} if self.where is None else {"where": str(self.where)}
        return Finding(
            severity="warning" if self.severity == "alarm" else "note",
            code=self.code,
            message=self.message,
            fix=self.fix,
            evidence={**plain(dict(self.evidence)), **place, "confidence": round(self.confidence, 2)},
        )


Probe = Callable[[Record], Iterable[Diagnosis]]
PROBES: Registry[Probe] = Registry("doctor probe")
