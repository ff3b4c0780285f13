"""The doctor's page: is the training healthy, what was found and what shows it, and what it looked like inside.

Puts sections together from a record and what was said of it; drawings are in `pictures`, what shows a single finding in
`showing`, a network from within in `inside`, and the page itself is made by `fovea.core.html`.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from fovea.core.evidence import evidence_blocks, heading
from fovea.core.files import plain
from fovea.core.report import (
    Block,
    Column,
    Detail,
    Fact,
    Facts,
    Figure,
    FindingList,
    Gallery,
    Link,
    Prose,
    Report,
    Section,
    Table,
)
from fovea.core.wording import counted, duration, listed, percent
from fovea.doctor import pictures
from fovea.doctor.finding import Diagnosis
from fovea.doctor.inside import sections_of
from fovea.doctor.reading import main_rounds, training_loss
from fovea.doctor.record import Network, Phase, Record
from fovea.doctor.showing import blocks_for, channel_drawing, confusion, labels_seen, moment, shown_pictures

TITLE = "What the doctor saw"
_NAMES = {
    "amp-underflow": "Underflow under AMP",
    "batchnorm-mode": "BatchNorm in the wrong mode",
    "batchnorm-momentum": "BatchNorm momentum",
    "batchnorm-small-batch": "BatchNorm over small batches",
    "bias-before-norm": "Bias before a normalisation",
    "dead-relu": "Dead ReLUs",
    "nan": "Not a number",
    "not-normalised": "Pixels not normalised",
    "normalised-twice": "Pixels normalised twice",
    "not-shuffled": "Data not shuffled",
    "learning-rate-high": "Learning rate too high",
    "learning-rate-low": "Learning rate too low",
    "missing-zero-grad": "Gradients never cleared",
    "train-eval-transform": "Training and evaluation are prepared differently",
    "eval-in-train-mode": "Evaluated in training mode",
}
_PHASES: dict[Phase, str] = {"train": "training", "eval": "evaluation"}
_EVIDENCE = 3  # blocks of it that a finding shows
_SURE = 0.5  # confidence from which a finding is called likely


def build_page(
    record: Record,
    findings: Sequence[Diagnosis],
    *,
    title: str = TITLE,
    classes: Sequence[str] | None = None,
) -> Report:
    """Put the doctor's page together.

    Args:
        record: what was seen.
        findings: what is said of it, best guess first.
        title: of the page.
        classes: names of the classes; their numbers when None.
    """
    names = classes or _numbers(record)
    anchors = [f"finding-{number}-{each.code}" for number, each in enumerate(findings, start=1)]
    sections = [
        _overview(record, findings, anchors),
        _findings(record, findings, anchors, names),
        _curves(record, findings),
        *(
            part
            for network in record.networks
            if _was_trained(network)
            for part in sections_of(network, several=len(record.networks) > 1)
        ),
        _inputs(record, names),
        _answers(record, names),
        _unseen(record),
    ]
    return Report(
        title,
        _subtitle(record),
        [section for section in sections if section is not None],
        footer=f"Written by fovea on {datetime.date.today():%d %B %Y}. This file needs nothing else: keep it, send it.",
    )


def verdict(record: Record, findings: Sequence[Diagnosis]) -> str:
    """Return in plain words what is the matter with a training.

    >>> verdict(Record(), [])
    'No training was seen: no optimiser took a step.'
    """
    if not record.steps:
        return "No training was seen: no optimiser took a step."
    alarms = [each for each in findings if each.severity == "alarm"]
    ended = f" It ended with an error: {record.error}." if record.error else ""
    if not alarms:
        notes = f" {counted(len(findings), 'note')} below may be worth reading." if findings else ""
        return f"Healthy: nothing was found that harms the training.{notes}{ended}"
    first = alarms[0]
    told = "Something harms this training" if first.confidence >= _SURE else "Something may harm this training"
    text = f"{told}. {_capital(first.message)}.{ended}\n\nWhat to do: {first.fix}."
    if len(alarms) > 1:
        text += f"\n\nAfter that: {listed([named(each.code).lower() for each in alarms[1:]])}."
    return text


def named(code: str) -> str:
    """Return a code as a heading.

    >>> named("dead-relu"), named("loss-sign")
    ('Dead ReLUs', 'Loss sign')
    """
    return _NAMES.get(code, heading(code))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _numbers(record: Record) -> list[str]:
    """Return the numbers of the classes as their names, empty where none were seen."""
    widths = [len(counts) for counts in labels_seen(record).values()]
    loss = training_loss(record)
    return [str(number) for number in range(max([*widths, 0 if loss is None else loss.classes or 0]))]


def _subtitle(record: Record) -> str:
    kinds = [network.kind for network in record.networks if _was_trained(network)]
    seen = f"{counted(len(record.steps), 'step')}, {counted(len(record.rounds), 'evaluation')}"
    return f"{listed(kinds, limit=2)}: {seen}" if kinds else seen


def _was_trained(network: Network) -> bool:
    return any(parameter.steps for parameter in network.parameters.values())


def _overview(record: Record, findings: Sequence[Diagnosis], anchors: Sequence[str]) -> Section:
    alarms = sum(each.severity == "alarm" for each in findings)
    judged = [each for each in main_rounds(record) if each.judged]
    tiles = [
        Fact("Alarms", f"{alarms}", f"and {counted(len(findings) - alarms, 'note')}"),
        Fact("Steps", f"{len(record.steps):,}", f"{sum(step.images for step in record.steps):,} images"),
        *([Fact("Accuracy", percent(judged[-1].accuracy), f"{judged[-1].judged:,} evaluated")] if judged else []),
        Fact("Time", duration(record.seconds), f"{duration(record.overhead_s)} of it for watching"),
    ]
    blocks: list[Block] = [Facts(tiles, headline=True), Prose(verdict(record, findings))]
    if findings:
        columns = [
            Column("Severity", kind="severity"),
            Column("Finding"),
            Column("How sure", kind="share", digits=0),
            Column("In a sentence"),
        ]
        rows = [
            (
                each.as_finding().severity,
                Link(f"{number}. {named(each.code)}", anchor),
                each.confidence,
                each.message,
            )
            for number, (each, anchor) in enumerate(zip(findings, anchors, strict=True), start=1)
        ]
        blocks.append(Table(columns, rows, whole=True))
    return Section("Is the training healthy?", blocks)


def _findings(
    record: Record, findings: Sequence[Diagnosis], anchors: Sequence[str], classes: Sequence[str]
) -> Section | None:
    if not findings:
        return None
    details = [
        Detail(
            each.as_finding(),
            _finding_blocks(record, each, classes),
            title=f"{number}. {named(each.code)}",
            anchor=anchor,
        )
        for number, (each, anchor) in enumerate(zip(findings, anchors, strict=True), start=1)
    ]
    lead = "Best guess first. What follows from a cause stands with it, and needs no care of its own."
    return Section("What was found", [FindingList(details)], lead=lead)


def _finding_blocks(record: Record, each: Diagnosis, classes: Sequence[str]) -> list[Block]:
    when = moment(record, each)
    facts = [Fact("How sure", percent(each.confidence))]
    if each.where is not None:
        facts.append(Fact("Where", str(each.where)))
    if when is not None:
        facts.append(Fact("Since", "the start" if when == 0 else f"step {when:,}"))
    if each.confirm:
        facts.append(Fact("Confirmed if", each.confirm))
    blocks: list[Block] = [Facts(facts), *blocks_for(record, each, classes)]
    if each.chain:
        rows = [(named(code), told) for code, _, told in (link.partition(": ") for link in each.chain)]
        blocks.append(Table([Column("From it follows"), Column("What was seen")], rows, whole=True))
    return blocks + evidence_blocks(plain(dict(each.evidence)))[:_EVIDENCE]


def _curves(record: Record, findings: Sequence[Diagnosis]) -> Section | None:
    marks, told = {}, []
    for number, each in enumerate(findings, start=1):
        if (when := moment(record, each)) is not None:
            marks[f"{number}"] = when
            told.append(f"{number} {named(each.code).lower()}")
    dashed = f" Dashed, when a finding arose: {listed(told)}." if told else ""
    drawings = [
        (pictures.loss_curve(record, marks=marks, wide=True), f"The loss of training and of evaluation.{dashed}"),
        (
            pictures.accuracy_curve(record, marks=marks, wide=True),
            "The share of images told right: of training batches as they were trained on, and of each evaluation.",
        ),
        (pictures.rate_curve(record.optimisers, wide=True), "The learning rate of the first parameter group."),
    ]
    blocks: list[Block] = [Figure(drawing, caption, caption) for drawing, caption in drawings if drawing]
    return Section("How it went", blocks) if blocks else None


def _inputs(record: Record, classes: Sequence[str]) -> Section | None:
    blocks: list[Block] = []
    for phase, told in _PHASES.items():
        shown = record.galleries[phase]
        if not shown.pictures:
            continue
        items = shown_pictures(shown, range(len(shown.pictures)), classes)
        tones = "as RGB" if shown.colours else "in grey"
        note = f"After all preprocessing, {tones}, each from its darkest value to its brightest."
        blocks.append(Gallery(items, title=f"The first images of {told}", note=note, strip=True))
    drawings = [
        (
            channel_drawing(record),
            "Mean and spread of each channel as the network is given them; the two should agree.",
        ),
        (pictures.label_bars(labels_seen(record), classes), "How often each class occurred among the labels seen."),
    ]
    blocks += [Figure(drawing, caption, caption) for drawing, caption in drawings if drawing]
    blocks += _batch_table(record)
    lead = "The batches as they reach the network: what is wrong here cannot be learnt away."
    return Section("What the network is given", blocks, lead=lead) if blocks else None


def _batch_table(record: Record) -> list[Block]:
    rows = []
    for phase, told in _PHASES.items():
        own = [batch for batch in record.batches if batch.phase == phase]
        if own:
            last = own[-1]
            lowest, highest = min(batch.lowest for batch in own), max(batch.highest for batch in own)
            shape = " x ".join(f"{side}" for side in last.shape)
            mean, std = (float(np.mean([getattr(batch, name).mean() for batch in own])) for name in ("mean", "std"))
            rows.append((told, shape, last.dtype, mean, std, lowest, highest))
    columns = [
        Column("Phase"),
        Column("Shape", help="of the last batch looked at"),
        Column("Type"),
        *(Column(name, kind="number", digits=3) for name in ("Mean", "Spread", "Lowest", "Highest")),
    ]
    return [Table(columns, rows)] if rows else []


def _answers(record: Record, classes: Sequence[str]) -> Section | None:
    shown = confusion(record, classes)
    return None if shown is None else Section("What it answers", [shown])


def _unseen(record: Record) -> Section | None:
    if not record.unseen:
        return None
    return Section("What could not be seen", [Table([Column("Not seen")], [(what,) for what in record.unseen])])
