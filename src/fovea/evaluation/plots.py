"""The drawings of the report, as SVG text: training curves, calibration, ROC, recall, sizes.

Every function takes plain values and returns an SVG, or None where there is nothing to draw. Colours are those of
`fovea.core.svg`, which follow the page's light or dark. The confusion matrix is in `fovea.core.matrix`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.core.canvas import LABELLED_CLASSES, SERIES, WIDE_IN, axes_of, half_axes, legend_on, short_name, to_svg
from fovea.core.svg import BLUE, INK, ORANGE
from fovea.metrics.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def history(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, label: str, log: bool = False, wide: bool = False
) -> str | None:
    """Draw columns of summary.csv over epochs, with a line where a new rung begins.

    Args:
        rows: of `Run.summary`.
        columns: which columns to draw, and what to call each.
        label: of the vertical axis.
        log: whether that axis is logarithmic.
        wide: whether it takes the whole width of the page.
    """
    series = {
        name: np.array([np.nan if not _is_number(row.get(key)) else row[key] for row in rows], dtype=float)
        for key, name in columns.items()
    }
    series = {name: values for name, values in series.items() if np.isfinite(values).any()}
    if not series:
        return None
    epochs = np.arange(1, len(rows) + 1)
    figure, axes = axes_of(WIDE_IN, 2.6) if wide else half_axes()
    rungs = _spans([str(row.get("rung") or "") for row in rows])
    marker = "o" if len(rows) <= 40 else ""
    for (name, values), colour in zip(series.items(), SERIES, strict=False):
        for number, (start, stop, _) in enumerate(rungs):  # a line from one rung to the next would mean nothing
            shown = start + np.flatnonzero(np.isfinite(values[start:stop]))
            label_once = name if number == 0 else None
            axes.plot(epochs[shown], values[shown], color=colour, marker=marker, markersize=3.5, label=label_once)
    _mark_rungs(axes, rungs)
    if log and all((values[np.isfinite(values)] > 0).all() for values in series.values()):
        axes.set_yscale("log")
    axes.set_xlim(0.5, len(rows) + 0.5)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    if len(series) > 1:
        legend_on(axes)
    return to_svg(figure)


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw how often the model is right at each confidence; the dashed line is a model that knows how sure it is."""
    figure, axes = half_axes()
    filled = [bin for bin in bins if bin["count"]]
    most = max(bin["count"] for bin in filled)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for bin in filled:
        middle, wide = (bin["low"] + bin["high"]) / 2, bin["high"] - bin["low"]
        strength = 0.25 + 0.75 * bin["count"] / most
        axes.bar(middle, bin["accuracy"], wide * 0.88, color=BLUE, alpha=strength, linewidth=0)
        axes.plot([middle, middle], [bin["accuracy"], bin["confidence"]], color=ORANGE, linewidth=2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    return to_svg(figure)


def confidence(values: NDArray[Any], correct: NDArray[np.bool_]) -> str:
    """Draw how many predictions were made at each confidence, the right ones below the wrong ones."""
    figure, axes = half_axes()
    edges = np.linspace(0, 1, 21)
    right, _ = np.histogram(values[correct], edges)
    wrong, _ = np.histogram(values[~correct], edges)
    middle = (edges[:-1] + edges[1:]) / 2
    axes.bar(middle, right, 0.045, color=BLUE, linewidth=0, label="right")
    axes.bar(middle, wrong, 0.045, bottom=right, color=ORANGE, linewidth=0, label="wrong")
    axes.grid(visible=False, axis="x")
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("images")
    legend_on(axes)
    return to_svg(figure)


def curves(named: Mapping[str, Curve], *, kind: str) -> str | None:
    """Draw ROC ("roc") or precision-recall ("pr") curves with their areas in the legend."""
    if not named:
        return None
    figure, axes = half_axes()
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for (name, curve), colour in zip(named.items(), SERIES, strict=False):
        style = "steps-post" if kind == "pr" and len(curve.x) < 60 else "default"
        axes.plot(curve.x, curve.y, color=colour, linewidth=1.8, drawstyle=style, label=f"{name} ({curve.area:.3f})")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_xlabel("false positive rate" if kind == "roc" else "recall")
    axes.set_ylabel("true positive rate" if kind == "roc" else "precision")
    legend_on(axes, place="lower right" if kind == "roc" else "lower left")
    return to_svg(figure)


def class_sizes(classes: Sequence[str], counts: Mapping[str, Sequence[int]]) -> str | None:
    """Draw how many images each class has, stacked by split, largest first.

    Args:
        classes: the C names.
        counts: split name -> (C,) images.
    """
    table = np.array([counts[name] for name in counts], dtype=float)  # (splits, C)
    if not table.size or not table.sum():
        return None
    order = np.argsort(-table.sum(axis=0), kind="stable")
    labelled = len(classes) <= LABELLED_CLASSES
    figure, axes = _ranked(len(classes), labelled=labelled)
    places, start = np.arange(len(classes)), np.zeros(len(classes))
    for values, name, colour in zip(table, counts, SERIES, strict=False):
        if labelled:
            axes.barh(places, values[order], 0.78, left=start, color=colour, label=name, linewidth=0)
        else:
            axes.bar(places, values[order], 0.82, bottom=start, color=colour, label=name, linewidth=0)
        start += values[order]
    _name_classes(axes, [classes[index] for index in order], "images")
    if len(table) > 1:
        legend_on(axes, place="lower right" if labelled else "upper right")
    return to_svg(figure)


def class_recall(per_class: Sequence[Mapping[str, Any]]) -> str | None:
    """Draw each class's recall with its 95 % interval, worst first."""
    rows = sorted((row for row in per_class if row["recall"] is not None), key=lambda row: row["recall"])
    if not rows:
        return None
    labelled = len(rows) <= LABELLED_CLASSES
    figure, axes = _ranked(len(rows), labelled=labelled)
    places, recall = np.arange(len(rows)), np.array([row["recall"] for row in rows])
    low, high = np.array([row["recall_interval"] for row in rows]).T
    if labelled:
        axes.hlines(places, low, high, color=BLUE, alpha=0.4, linewidth=3)
        axes.plot(recall, places, "o", color=BLUE, markersize=5)
        axes.set_xlim(-0.02, 1.02)
    else:
        axes.vlines(places, low, high, color=BLUE, alpha=0.4, linewidth=3)
        axes.plot(places, recall, "o", color=BLUE, markersize=4)
        axes.set_ylim(-0.02, 1.02)
    _name_classes(axes, [row["class"] for row in rows], "recall")
    return to_svg(figure)


def _ranked(count: int, *, labelled: bool) -> tuple[Figure, Axes]:
    """Axes for one mark a class: names down the side while they fit, else ranks along the bottom."""
    figure, axes = axes_of(6.6, 0.9 + 0.2 * count) if labelled else axes_of(WIDE_IN, 2.9)
    axes.grid(visible=False, axis="y" if labelled else "x")
    return figure, axes


def _name_classes(axes: Axes, names: Sequence[str], what: str) -> None:
    if len(names) <= LABELLED_CLASSES:
        axes.set_yticks(range(len(names)), [short_name(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(what)
    else:
        axes.set_xlim(-1, len(names))
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names)} classes")
        axes.set_ylabel(what)


def _spans(names: Sequence[str]) -> list[tuple[int, int, str]]:
    """Runs of equal names as (start, stop, name): a a b -> (0, 2, a), (2, 3, b)."""
    starts = [index for index in range(len(names)) if index == 0 or names[index] != names[index - 1]]
    return [(start, stop, names[start]) for start, stop in zip(starts, [*starts[1:], len(names)], strict=True)]


def _mark_rungs(axes: Axes, rungs: Sequence[tuple[int, int, str]]) -> None:
    if len(rungs) < 2:
        return
    for start, stop, name in rungs:
        if start:
            axes.axvline(start + 0.5, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        if stop - start >= 0.02 * len(name) * rungs[-1][1]:  # else it would run into its neighbours
            middle = ((start + stop + 1) / 2, 1.03)
            axes.annotate(name, middle, xycoords=("data", "axes fraction"), color=INK, fontsize=8, ha="center")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
