"""The page of a comparison: the answer, the differences with their intervals, every training as a dot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fovea.core.canvas import WIDE_IN, axes_of, short_name, to_svg
from fovea.core.report import Block, Column, Fact, Facts, Figure, Prose, Report, Section, Table
from fovea.core.svg import BLUE, GREEN, INK, ORANGE
from fovea.core.wording import counted, percent
from fovea.evaluation.comparison import Comparison, Trained, level_in_words
from fovea.metrics.paired import PairedDifference

_TONES = {"better": GREEN, "worse": ORANGE, "no difference shown": INK}


def build_page(comparison: Comparison, *, environment: Mapping[str, Any]) -> Report:
    """Return the report of a comparison.

    Args:
        environment: of the machine, as `environment.environment` tells it.
    """
    terms = comparison.terms
    subtitle = (
        f"{counted(len(comparison.trained), 'variant')} trained with {counted(comparison.seeds, 'seed')} each on "
        f"{terms.source}, judged on {counted(terms.images, 'image')} of {terms.split}"
    )
    drawn = Figure(
        image=_differences(comparison),
        caption=f"Difference to {comparison.trained[0].name}: {level_in_words(comparison)}. Where a line crosses zero "
        "no difference is shown, which does not mean that there is none.",
        alt="differences of the variants to the first one, with intervals",
    )
    dots = Figure(
        image=_accuracies(comparison.trained),
        caption="Accuracy after each training, a dot a seed, and their mean.",
        alt="accuracy of each training",
    )
    blocks: list[Block] = [Prose("\n\n".join(comparison.answer.splitlines())), drawn, dots, _table(comparison)]
    return Report(
        title="Comparison",
        subtitle=subtitle,
        sections=[Section("The answer", blocks), Section("On equal terms", _terms(comparison, environment))],
    )


def _table(comparison: Comparison) -> Table:
    columns = [
        Column("variant"),
        Column("accuracy", kind="share", help="mean over seeds"),
        Column("lowest", kind="number", help="per cent, of the seeds"),
        Column("highest", kind="number", help="per cent, of the seeds"),
        Column("seconds an epoch", kind="number", help="with its validation, on this machine"),
        Column("parameters", kind="count"),
        Column("MACs", kind="count", help="multiply-accumulates for one image"),
    ]
    rows = [[one.name, one.accuracy, *_ends(one), one.epoch_s, one.parameters, one.macs] for one in comparison.trained]
    return Table(columns, rows, whole=True)


def _ends(one: Trained) -> list[float]:
    return [100 * min(one.accuracies), 100 * max(one.accuracies)]


def _terms(comparison: Comparison, environment: Mapping[str, Any]) -> list[Block]:
    terms = comparison.terms
    facts = [
        Fact("same images", f"{terms.images:,} of {terms.split}", "read and split once, for all"),
        Fact("same seeds", str(comparison.seeds), _fewer(comparison)),
        *(Fact("same choice", choice, "by the first training") for choice in terms.choices),
        Fact("torch", str(environment.get("torch", "–"))),
    ]
    if terms.unread:
        facts.append(Fact("left out", counted(terms.unread, "image"), "could not be read after one of the trainings"))
    told = (
        f"The level of each interval is {percent(next(iter(comparison.against.values())).level, digits=1)}. Images and "
        "seeds are both taken as samples (Dorfman, Berbaum & Metz 1992; Hillis 2007): the interval says what to expect "
        "of other images like these and of other trainings."
        if comparison.seeds > 1
        else "With one seed the interval speaks of other images, not of other trainings."
    )
    if terms.split == "val":
        told += (
            " The images judged are those that each training chose its epoch by, so that accuracies are a little "
            "flattered, all alike; data with a test split has them judged on that."
        )
    return [Facts(facts), Prose(told)]


def _fewer(comparison: Comparison) -> str:
    asked = comparison.terms.asked_seeds
    return f"{asked} were asked for; the budget allowed no more" if comparison.seeds < asked else ""


def _differences(comparison: Comparison) -> str:
    names = list(comparison.against)
    figure, axes = axes_of(WIDE_IN, 0.8 + 0.42 * len(names))
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for row, found in enumerate(comparison.against.values()):
        _interval(axes, row, found)
    _names(axes, names)
    axes.set_xlabel(f"points of accuracy more than {short_name(comparison.trained[0].name)}")
    return to_svg(figure)


def _interval(axes: Any, row: int, found: PairedDifference) -> None:
    colour = _TONES[found.verdict]
    axes.plot([100 * found.low, 100 * found.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot([100 * found.difference], [row], "o", color=colour, markersize=6)


def _accuracies(trained: Sequence[Trained]) -> str:
    figure, axes = axes_of(WIDE_IN, 0.8 + 0.42 * len(trained))
    for row, one in enumerate(trained):
        values = 100 * np.array(one.accuracies)
        axes.plot(values, np.full(len(values), row), "o", color=BLUE, alpha=0.55, markersize=5)
        axes.plot([100 * one.accuracy], [row], "|", color=INK, markersize=16, markeredgewidth=2)
    _names(axes, [one.name for one in trained])
    axes.set_xlabel("accuracy, per cent")
    return to_svg(figure)


def _names(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [short_name(name, limit=32) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
