"""`fovea resume`: continue an interrupted training, bit for bit."""

from __future__ import annotations

import time

from fovea.cli.options import Plain, RunFolder
from fovea.cli.outcome import print_outcome
from fovea.cli.progress import progress_shown


def resume(run: RunFolder, plain: Plain = False) -> None:
    """Continue the training in RUN where it stopped.

    On CPU the result equals that of an uninterrupted training, bit for bit.
    """
    started = time.monotonic()
    from fovea.core.run import Run

    budget_s = Run.open(run).recipe().train.budget_s

    from fovea.workflows import training

    with progress_shown(plain=plain, budget_s=budget_s, started=started) as progress:
        resumed = training.resume(run, console=progress)
    print_outcome(resumed)
