"""`watch`: listen to a training from here to there, then say what is the matter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from fovea.core.files import write_text
from fovea.core.wording import counted, duration
from fovea.doctor.diagnosis import diagnose
from fovea.doctor.finding import Diagnosis
from fovea.doctor.record import Phase, Record
from fovea.doctor.senses.comparing import Comparing
from fovea.doctor.senses.cutting import Cutting
from fovea.doctor.senses.dropping import Dropping
from fovea.doctor.senses.files import Files
from fovea.doctor.senses.loaders import Loaders
from fovea.doctor.senses.losses import Losses
from fovea.doctor.senses.modules import Modules
from fovea.doctor.senses.patching import Sense
from fovea.doctor.senses.printing import Printing
from fovea.doctor.senses.sigmoids import Sigmoids
from fovea.doctor.senses.steps import Steps
from fovea.doctor.watcher import Watcher

_SURE = 0.94


class Doctor:
    """Watches every training in this process between `start` and `stop`.

    Args:
        strict: let faults of the doctor itself through instead of noting them.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._watcher = Watcher(strict=strict)
        kinds = (Files, Cutting, Loaders, Modules, Losses, Dropping, Comparing, Sigmoids, Printing, Steps)
        self._senses: list[Sense] = [kind(self._watcher) for kind in kinds]
        self._running = False
        self._findings: list[Diagnosis] | None = None

    @property
    def record(self) -> Record:
        """What was seen so far."""
        return self._watcher.record

    def expect(
        self,
        model: nn.Module | None,
        optimizers: Iterable[Optimizer],
        loaders: Mapping[Phase, DataLoader[Any] | None],
    ) -> Doctor:
        """Describe what will take part before it does, for `watch`."""
        self._watcher.expect(model, optimizers, loaders)
        return self

    def start(self) -> Doctor:
        """Begin to listen."""
        for sense in self._senses:
            sense.install()
        self._running = True
        return self

    def stop(self) -> Doctor:
        """Leave PyTorch as it was, and settle what was seen."""
        if self._running:
            for sense in reversed(self._senses):
                sense.remove()
            self._running = False
            self._watcher.finish()
            with self._watcher.looking():
                self.record.files = self._watcher.files.finish(seconds=self.record.seconds)
        return self

    def __enter__(self) -> Doctor:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.record.error = f"{type(error).__name__}: {error}"
        self.stop()

    def limit(self, steps: int, stop: type[BaseException]) -> None:
        """Raise `stop` within the training when so many steps were taken."""
        self._watcher.when(lambda taken: taken >= steps, stop)

    def stop_when_sure(self, stop: type[BaseException]) -> None:
        """Raise `stop` within the training once an alarm is nearly certain; judged ever more seldom."""

        def sure(taken: int) -> bool:
            if taken < 8 or taken & (taken - 1):  # at 8, 16, 32 ... steps
                return False
            return any(each.severity == "alarm" and each.confidence >= _SURE for each in diagnose(self.record))

        self._watcher.when(sure, stop)

    @property
    def findings(self) -> list[Diagnosis]:
        """What is the matter, best guess first; what was seen until now."""
        if self._running or self._findings is None:
            self._findings = diagnose(self.record)
        return self._findings

    @property
    def healthy(self) -> bool:
        """Whether there is no alarm."""
        return not any(finding.severity == "alarm" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return everything that is said as JSON-ready values."""
        record = self.record
        return {
            "healthy": self.healthy,
            "findings": [finding.as_dict() for finding in self.findings],
            "steps": len(record.steps),
            "evaluations": len(record.rounds),
            "seconds": round(record.seconds, 2),
            "overhead_s": round(record.overhead_s, 3),
            "unseen": record.unseen,
            "error": record.error or None,
        }

    def to_json(self) -> str:
        """Return `as_dict` as indented JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)

    def write_html(self, path: Path | str, *, title: str | None = None, classes: Sequence[str] | None = None) -> None:
        """Write the doctor's page: one file that needs nothing else.

        Args:
            path: of the file.
            title: of the page.
            classes: names of the classes; their numbers when None.

        Raises:
            OSError: it cannot be written there.
        """
        from fovea.core.html import render
        from fovea.doctor.page import TITLE, build_page

        page = build_page(self.record, self.findings, title=title or TITLE, classes=classes)
        write_text(Path(path), render(page))

    def text(self) -> str:
        """Return what is said, for a terminal."""
        record = self.record
        seen = f"{counted(len(record.steps), 'step')} and {counted(len(record.rounds), 'evaluation')}"
        if not record.steps:
            lines = [f"doctor: no training was seen: no optimiser took a step ({seen})"]
        else:
            lines = [f"doctor: {seen} in {duration(record.seconds)}"]
            if self.healthy:
                lines.append("healthy: nothing was found that harms the training")
            lines += [line for finding in self.findings for line in finding.lines()]
        lines += [f"not seen: {what}" for what in record.unseen]
        return "\n".join(lines)


def watch(
    model: nn.Module | None = None,
    optimizer: Optimizer | Iterable[Optimizer] | None = None,
    *,
    loader: DataLoader[Any] | None = None,
    val_loader: DataLoader[Any] | None = None,
    strict: bool = False,
) -> Doctor:
    """Return a doctor that listens within a `with` block.

    Whatever trains in the block is watched, named here or not. What is named is described before the block begins, and
    a loader's part need not be inferred. Results are those of an unwatched training, bit for bit.

    Args:
        model: the network that will be trained.
        optimizer: of the training; several where it has several.
        loader: hands out training batches.
        val_loader: hands out batches for evaluation.
        strict: let faults of the doctor itself through instead of noting them.

    Raises:
        TypeError: a loader is no DataLoader: what other things hand out is seen at the network only, so leave it out.

    Example:
        with fovea.doctor.watch(model, optimizer, loader=train_loader, val_loader=val_loader) as doctor:
            train()
        print(doctor.text())
    """
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer or ())
    loaders: dict[Phase, DataLoader[Any] | None] = {"train": loader, "eval": val_loader}
    for given in loaders.values():
        if given is not None and not isinstance(given, DataLoader):
            raise TypeError(
                f"a loader must be a torch.utils.data.DataLoader, not {type(given).__name__}; leave it out: batches "
                "are seen where the network is given them"
            )
    return Doctor(strict=strict).expect(model, optimizers, loaders)
