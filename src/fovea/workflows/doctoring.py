"""The doctor in every training: watches each rung that takes steps, and says in fovea's words what is wrong.

Watching changes no result. A healthy rung is one event and no word; what is wrong goes to the terminal, to
events.jsonl, to the run's findings (and so into the report), and to a page of its own, `doctor-<rung>.html`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fovea.core.files import plain, write_text
from fovea.core.findings import Finding
from fovea.core.html import render
from fovea.core.progress import Progress
from fovea.core.run import Run
from fovea.doctor.finding import Diagnosis
from fovea.doctor.page import build_page
from fovea.doctor.watching import Doctor

_FIXES = {  # what to change here, where the doctor's advice is for code that somebody wrote
    "amp-underflow": "set train.precision=bf16 or fp32",
    "batchnorm-small-batch": "set train.batch_size to 16 or more, or train.bn=frozen to keep the weights' statistics",
    "dropout-misuse": "set model.drop_rate to 0.5 or less",
    "exploding-gradient": "set a lower train.lr, or train.clip_norm to 1",
    "imbalance": "set train.class_weights=balanced or train.sampler=balanced, and judge by balanced accuracy",
    "init-scale": "look at the images as the network sees them (fovea audit shows them)",
    "learning-rate-high": "leave train.lr empty, or set a tenth of it",
    "learning-rate-low": "leave train.lr empty, or set ten times as much",
    "momentum-high": "set train.momentum to 0.9",
    "nan": "set a lower train.lr, or train.precision=fp32",
    "overfitting": "set train.early_stop, a higher train.weight_decay, or stronger augmentation; or add images",
    "split-leakage": "let fovea make the split, which keeps copies together (fovea audit names them)",
    "underfitting": "give it more time (train.budget_s) or more epochs (train.epochs)",
    "weight-decay-high": "set train.weight_decay to 0.02 or less",
}
_LEFT_OUT = (  # what is no fault here, or said better elsewhere
    "constant-init",  # branches that begin at zero, once their BatchNorm is folded away
    "validation-too-small",  # the report gives the interval of each number
)
_WRAPPER = "_forward_module."  # the name that Lightning Fabric gives to what it wraps


@contextmanager
def watched(rung: str, *, run: Run, classes: Sequence[str], audited: bool, progress: Progress) -> Iterator[None]:
    """Watch what is trained within the block and tell what is wrong with it, also when it ends with an error.

    Args:
        rung: its name in the logs.
        run: gets an event, findings and, where something is wrong, a page.
        classes: their names.
        audited: whether the audit has looked for copies across splits.
        progress: is told of alarms.
    """
    doctor = Doctor()
    doctor.record.audited = audited
    try:
        with doctor:
            yield
    finally:
        try:
            _tell(doctor, rung, run=run, classes=classes, progress=progress)
        except Exception as error:  # what was trained is worth more than what is said of it
            progress.say(f"doctor: {rung} is not judged ({type(error).__name__}: {error})")


def _tell(doctor: Doctor, rung: str, *, run: Run, classes: Sequence[str], progress: Progress) -> None:
    record = doctor.record
    if not record.steps:
        return
    known = {*_LEFT_OUT, *(finding.code for finding in run.findings())}
    findings = [in_our_words(each) for each in doctor.findings if each.code not in known]
    alarms = [each for each in findings if each.severity == "alarm"]
    run.event(
        "doctor",
        rung=rung,
        healthy=not alarms,
        steps=len(record.steps),
        seconds=round(record.seconds, 3),
        overhead_s=round(record.overhead_s, 3),
        findings=[each.as_dict() for each in findings],
        unseen=record.unseen,
    )
    if not alarms:
        return
    said = [as_finding(each, rung) for each in alarms]
    run.add_findings(said)
    page = run.folder / f"doctor-{rung}.html"
    write_text(page, render(build_page(record, findings, title=f"What the doctor saw of {rung}", classes=classes)))
    for each in said:
        progress.say(f"doctor: {each.message} [{each.code}]; {each.fix}")
    progress.say(f"doctor: {page} shows it")


def in_our_words(diagnosis: Diagnosis) -> Diagnosis:
    """Return a diagnosis with the fix that a recipe allows, and names as they are in the model that is saved.

    A place in code is left out: the loop is fovea's own, and nobody is to change it.
    """
    where = diagnosis.where if isinstance(diagnosis.where, str) and ".py" not in diagnosis.where else None
    return dataclasses.replace(
        diagnosis,
        message=diagnosis.message.replace(_WRAPPER, ""),
        fix=_FIXES.get(diagnosis.code, diagnosis.fix),
        where=where and where.replace(_WRAPPER, ""),
        evidence=json.loads(json.dumps(plain(dict(diagnosis.evidence))).replace(_WRAPPER, "")),
        chain=tuple(told.replace(_WRAPPER, "") for told in diagnosis.chain),
    )


def as_finding(diagnosis: Diagnosis, rung: str) -> Finding:
    """Return a diagnosis that is in our words as a finding of a rung."""
    told = diagnosis.as_finding()
    return dataclasses.replace(told, message=f"{rung}: {told.message}", evidence={"rung": rung, **told.evidence})
