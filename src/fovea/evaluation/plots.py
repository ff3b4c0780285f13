"""The drawings of the report, as SVG text: training curves, confusion matrix, calibration, ROC, recall, sizes.

Every function takes plain values and returns an SVG, or None where there is nothing to draw. Colours are those of
`fovea.core.svg`, which follow the page's light or dark. Figures are made without pyplot, so nothing global is touched
but matplotlib's settings while one is written.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.core.svg import BLUE, GREEN, INK, ORANGE, PURPLE, RULE
from fovea.metrics.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELLED_CLASSES = 40
"""Up to this many classes get their names written beside an axis; the table has all of them."""

COUNTED_CLASSES = 16
"""Up to this many classes the cells of a confusion matrix show their counts, and need no marks beside them."""

_SERIES = (BLUE, ORANGE, GREEN, PURPLE)
_HALF_IN = (4.6, 3.2)
_WIDE_IN = 9.4
_PAGE_FONT_PT = 9
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fovea",
    "font.family": "sans-serif",
    "font.size": _PAGE_FONT_PT,
}


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
    figure, axes = _axes(_WIDE_IN, 2.6) if wide else _half()
    rungs = _spans([str(row.get("rung") or "") for row in rows])
    marker = "o" if len(rows) <= 40 else ""
    for (name, values), colour in zip(series.items(), _SERIES, strict=False):
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
        _legend(axes)
    return _svg(figure)


def confusion(
    counts: NDArray[Any], classes: Sequence[str], *, order: Sequence[int], marks: Sequence[tuple[int, int]] = ()
) -> str:
    """Draw a confusion matrix: blue on the diagonal, orange off it, stronger for more.

    Args:
        counts: (C, C), rows are the truth.
        classes: the C names.
        order: the classes from top to bottom, as of `cluster`.
        marks: (truth, predicted) pairs to number 1, 2, … on a drawing without counts.
    """
    width = len(classes)
    position = np.argsort(order)
    side = float(np.clip(3.4 + 0.17 * width, 4.2, 8.4))
    figure, axes = _axes(side, side * 0.96)
    axes.imshow(_matrix_colours(counts[np.ix_(order, order)]), interpolation="none", aspect="equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    if width <= LABELLED_CLASSES:
        names = [_short(classes[index]) for index in order]
        size = _PAGE_FONT_PT if width <= 20 else 7
        axes.set_xticks(range(width), names, rotation=90 if max(map(len, names)) * width > 40 else 0, fontsize=size)
        axes.set_yticks(range(width), names, fontsize=size)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if width <= COUNTED_CLASSES:
        _write_counts(axes, counts[np.ix_(order, order)])
        marks = ()
    for number, (truth, predicted) in enumerate(marks, start=1):
        _number_cell(axes, number, (int(position[predicted]), int(position[truth])), width)
    return _svg(figure)


def cluster(counts: NDArray[Any]) -> list[int]:
    """Return an order of the classes in which those that are taken for each other stand together.

    Up to 40 classes, where names are written beside the axes, the order is left as it is. Above, it is that of the
    leaves of an average-linkage tree over how much two classes are confused (Bar-Joseph et al. 2001 for the leaves).
    """
    width = len(counts)
    if width <= LABELLED_CLASSES:
        return list(range(width))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    closeness = (shares + shares.T) / 2
    distance = 1 - np.clip(closeness, 0, 1)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=width <= 400)
    return [int(index) for index in leaves_list(tree)]


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw how often the model is right at each confidence; the dashed line is a model that knows how sure it is."""
    figure, axes = _half()
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
    return _svg(figure)


def confidence(values: NDArray[Any], correct: NDArray[np.bool_]) -> str:
    """Draw how many predictions were made at each confidence, the right ones below the wrong ones."""
    figure, axes = _half()
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
    _legend(axes)
    return _svg(figure)


def curves(named: Mapping[str, Curve], *, kind: str) -> str | None:
    """Draw ROC ("roc") or precision-recall ("pr") curves with their areas in the legend."""
    if not named:
        return None
    figure, axes = _half()
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for (name, curve), colour in zip(named.items(), _SERIES, strict=False):
        style = "steps-post" if kind == "pr" and len(curve.x) < 60 else "default"
        axes.plot(curve.x, curve.y, color=colour, linewidth=1.8, drawstyle=style, label=f"{name} ({curve.area:.3f})")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_xlabel("false positive rate" if kind == "roc" else "recall")
    axes.set_ylabel("true positive rate" if kind == "roc" else "precision")
    _legend(axes, place="lower right" if kind == "roc" else "lower left")
    return _svg(figure)


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
    for values, name, colour in zip(table, counts, _SERIES, strict=False):
        if labelled:
            axes.barh(places, values[order], 0.78, left=start, color=colour, label=name, linewidth=0)
        else:
            axes.bar(places, values[order], 0.82, bottom=start, color=colour, label=name, linewidth=0)
        start += values[order]
    _name_classes(axes, [classes[index] for index in order], "images")
    if len(table) > 1:
        _legend(axes, place="lower right" if labelled else "upper right")
    return _svg(figure)


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
    return _svg(figure)


def _axes(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(RULE)
    axes.tick_params(colors=INK, labelcolor=INK, length=0, labelsize=_PAGE_FONT_PT)
    axes.xaxis.label.set(color=INK, fontsize=_PAGE_FONT_PT)
    axes.yaxis.label.set(color=INK, fontsize=_PAGE_FONT_PT)
    axes.grid(visible=True, color=RULE, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.set_prop_cycle(linewidth=[1.8])
    return figure, axes


def _half() -> tuple[Figure, Axes]:
    return _axes(*_HALF_IN)


def _ranked(count: int, *, labelled: bool) -> tuple[Figure, Axes]:
    """Axes for one mark a class: names down the side while they fit, else ranks along the bottom."""
    figure, axes = _axes(6.6, 0.9 + 0.2 * count) if labelled else _axes(_WIDE_IN, 2.9)
    axes.grid(visible=False, axis="y" if labelled else "x")
    return figure, axes


def _name_classes(axes: Axes, names: Sequence[str], what: str) -> None:
    if len(names) <= LABELLED_CLASSES:
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(what)
    else:
        axes.set_xlim(-1, len(names))
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names)} classes")
        axes.set_ylabel(what)


def _matrix_colours(counts: NDArray[Any]) -> NDArray[np.uint8]:
    """(C, C) counts -> RGBA (C, C, 4): the hue says right or wrong, the opacity how many, so any background works."""
    from matplotlib.colors import to_rgb

    width = len(counts)
    diagonal = np.eye(width, dtype=bool)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = np.where(diagonal, 0, counts)
    strength = np.log1p(wrong) / max(np.log1p(wrong.max()), 1e-9)
    colours = np.empty((width, width, 4))
    colours[..., :3] = np.where(diagonal[..., None], to_rgb(BLUE), to_rgb(ORANGE))
    colours[..., 3] = np.where(
        diagonal, np.where(share > 0, 0.12 + 0.88 * share, 0), 0.15 * (wrong > 0) + 0.8 * strength
    )
    return np.rint(colours * 255).astype(np.uint8)


def _write_counts(axes: Axes, counts: NDArray[Any]) -> None:
    strong = _matrix_colours(counts)[..., 3] > 140
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if strong[row, column] else INK
            axes.text(column, row, f"{count:d}", ha="center", va="center", color=colour, fontsize=8)


def _number_cell(axes: Axes, number: int, place: tuple[int, int], width: int) -> None:
    reach = max(0.75, width / 75)
    axes.plot(
        *place,
        "o",
        markersize=11 if width > 20 else 16,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=1.1,
    )
    away = reach if place[0] < width * 0.9 else -reach
    axes.annotate(
        f"{number}",
        place,
        xytext=(place[0] + 1.4 * away, place[1] - 1.2 * reach),
        color=INK,
        fontsize=8,
        fontweight="bold",
        ha="center",
        va="center",
    )


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


def _legend(axes: Axes, *, place: Any = "best") -> None:
    legend = axes.legend(loc=place, frameon=False, fontsize=_PAGE_FONT_PT, handlelength=1.4)
    for text in legend.get_texts():
        text.set_color(INK)


def _short(name: str, *, limit: int = 24) -> str:
    """Cut a long class name in the middle, where it tells least; a dollar sign would start a formula."""
    short = name if len(name) <= limit else f"{name[: limit - 9]}…{name[-8:]}"
    return short.replace("$", r"\$")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def _svg(figure: Figure) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # Text stays text and the reader's browser has the glyphs, whatever matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return text.getvalue()
