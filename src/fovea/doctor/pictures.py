"""The drawings of the doctor's page: curves over steps, layers over samples, units, channels, labels.

As in the reports of evaluation, every function takes plain values or a record and returns an SVG, or None where there
is nothing to draw. What a drawing means is said by whoever shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fovea.core.canvas import LABELLED_CLASSES, SERIES, WIDE_IN, axes_of, half_axes, legend_on, short_name, to_svg
from fovea.core.svg import BLUE, GREEN, INK, ORANGE, PURPLE
from fovea.doctor.reading import losses_of_steps, main_rounds
from fovea.doctor.record import Layer, Loader, Network, Optimiser, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]
Item = TypeVar("Item")

RECTIFIERS = ("ReLU", "ReLU6", "BatchNormAct2d", "Hardswish")
"""Kinds of layers whose units can fall silent for good."""

_PHASES = (BLUE, GREEN)  # training, evaluation
_MOST_POINTS = 400  # of a curve: more only make the page larger
_MOST_ROWS, _MOST_COLUMNS = 40, 200  # of a map
_TINTS = 25  # of a map's scale; fewer than what matplotlib would write as a picture
_DASHED: Any = (0, (4, 3))
_RARE = 40  # steps up to which single ones are marked


def loss_curve(
    record: Record,
    *,
    marks: Mapping[str, int] | None = None,
    levels: Mapping[str, float] | None = None,
    wide: bool = False,
) -> str | None:
    """Draw the loss of training and evaluation over the steps.

    Args:
        record: of the training.
        marks: what to write at which step.
        levels: what to write at which loss, such as that of guessing.
        wide: whether it takes the whole width of the page.
    """
    values = losses_of_steps(record)
    rounds = [each for each in main_rounds(record) if math.isfinite(each.loss)]
    if not np.isfinite(values).any() and not rounds:
        return None
    figure, axes = axes_of(WIDE_IN, 2.9) if wide else half_axes()
    _draw_steps(axes, values, "training")
    points = [(each.step, each.loss) for each in rounds]
    _draw_rounds(axes, points)
    finite = np.array([*values[np.isfinite(values)], *(loss for _, loss in points)])
    lost = np.flatnonzero(~np.isfinite(values))
    if len(lost) and len(finite):
        axes.plot(lost[:1], [finite.max()], "x", color=PURPLE, markersize=7, label="no longer a number")
    if len(finite) and finite.min() > 0 and finite.max() > 50 * finite.min():
        axes.set_yscale("log")
    for name, level in (levels or {}).items():
        axes.axhline(level, color=INK, linewidth=1, linestyle=_DASHED)
        axes.annotate(name, (0.99, level), xycoords=("axes fraction", "data"), xytext=(0, 3),
                      textcoords="offset points", color=INK, fontsize=8, ha="right")  # fmt: skip
    _mark(axes, marks)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    legend_on(axes)
    return to_svg(figure)


def accuracy_curve(record: Record, *, marks: Mapping[str, int] | None = None, wide: bool = False) -> str | None:
    """Draw the share of images told right in training (in its own mode) and in evaluation over the steps."""
    known = [step.right / step.images if step.right >= 0 and step.images else math.nan for step in record.steps]
    points = [(each.step, each.accuracy) for each in main_rounds(record) if each.judged]
    if not np.isfinite(known).any() and not points:
        return None
    figure, axes = axes_of(WIDE_IN, 2.6) if wide else half_axes()
    _draw_steps(axes, np.array(known), "training")
    _draw_rounds(axes, points)
    _mark(axes, marks)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("step")
    axes.set_ylabel("accuracy")
    legend_on(axes)
    return to_svg(figure)


def rate_curve(optimisers: Sequence[Optimiser], *, wide: bool = False) -> str | None:
    """Draw the learning rate of the first group of each optimiser over its steps."""
    known = [each for each in optimisers if each.lr]
    if not known:
        return None
    figure, axes = axes_of(WIDE_IN, 2.2) if wide else half_axes()
    for number, (each, colour) in enumerate(zip(known, SERIES, strict=False), start=1):
        rates, kept = np.array(each.lr), _thinned(len(each.lr))
        name = f"{each.kind}, {number}" if len(known) > 1 else each.kind
        axes.plot(kept, rates[kept], color=colour, drawstyle="steps-post", label=name)
    rates = np.concatenate([each.lr for each in known])
    if rates.min() > 0 and rates.max() > 30 * rates.min():
        axes.set_yscale("log")
    elif rates.max() > 0:
        axes.set_ylim(0, 1.15 * rates.max())
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    legend_on(axes)
    return to_svg(figure)


def gradient_norm(network: Network) -> str | None:
    """Draw the norm of the whole gradient at each sample."""
    own = [each for each in network.parameters.values() if each.steps]
    count = min((len(each.steps) for each in own), default=0)
    if count < 2:
        return None
    squares = np.nan_to_num([each.gradient[:count] for each in own], nan=0.0, posinf=np.nan) ** 2  # (P, samples)
    norms = np.sqrt(squares.sum(axis=0))
    known = np.isfinite(norms) & (norms > 0)
    if not known.any():
        return None
    figure, axes = half_axes()
    steps = np.array(own[0].steps[:count])
    axes.plot(steps[known], norms[known], color=BLUE, marker="o", markersize=3.5)
    for step in steps[~np.isfinite(norms)][:1]:
        axes.plot([step], [norms[known].max()], "x", color=PURPLE, markersize=7, label="no longer a number")
        legend_on(axes)
    if norms[known].max() > 30 * norms[known].min():
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("norm of the gradient")
    return to_svg(figure)


def layer_map(
    rows: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    *,
    usual: float | None,
    decades: float,
    label: str,
) -> str | None:
    """Draw one value of each layer at each sample: blue below what is usual, orange above, purple where no number.

    Args:
        rows: name -> (steps, values), from the first layer to the last.
        usual: the value that stays pale; the median of all when None.
        decades: how many powers of ten away from it a colour is full.
        label: what the values are.
    """
    kept = _spread([name for name, (steps, _) in rows.items() if steps])
    steps = sorted({step for name in kept for step in rows[name][0]})
    if not kept or not steps:
        return None
    steps = [steps[number] for number in np.unique(np.linspace(0, len(steps) - 1, _MOST_COLUMNS).round().astype(int))]
    place = {step: number for number, step in enumerate(steps)}
    values = np.full((len(kept), len(steps)), np.nan)  # (layers, samples)
    broken = np.zeros(values.shape, dtype=bool)
    for row, name in enumerate(kept):
        for step, value in zip(*rows[name], strict=True):
            if step not in place:
                continue
            values[row, place[step]] = value
            broken[row, place[step]] = not math.isfinite(value)
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return None
    middle = float(np.median(positive)) if usual is None else usual
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.clip(np.log10(values / middle) / decades, -1, 1)  # zero is as far below as can be
    colours = _diverging(far)
    colours[np.isnan(far)] = 0
    colours[broken & np.isinf(values)] = _colour(PURPLE, 1.0)
    figure, axes = axes_of(WIDE_IN, max(1.7, 0.9 + 0.19 * len(kept)))  # room for the name of the scale
    axes.imshow(colours, interpolation="none", aspect="auto")
    _name_rows(axes, kept)
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 14)).round().astype(int))
    axes.set_xticks(shown, [f"{steps[column]}" for column in shown])
    axes.set_xlabel("step looked at")
    _scale(axes, middle, decades, label)
    return to_svg(figure)


def unit_map(layers: Sequence[Layer]) -> str | None:
    """Draw each unit of the layers: blue if it fired at the last sample, pale orange if once, orange if never."""
    known = [layer for layer in layers if layer.fired_at is not None and layer.steps]
    known = [known[row] for row in _spread(list(range(len(known))))]
    if not known:
        return None
    from matplotlib.patches import Patch

    tones = {"fires": _colour(BLUE, 0.55), "no longer": _colour(ORANGE, 0.45), "never fired": _colour(ORANGE, 1.0)}
    figure, axes = axes_of(WIDE_IN, 1.0 + 0.22 * len(known))
    for row, layer in enumerate(known):
        assert layer.fired_at is not None
        states = np.where(layer.fired_at < 0, 2, np.where(layer.fired_at < layer.steps[-1], 1, 0))  # (units,)
        strip = np.array(list(tones.values()))[states][None]  # (1, units, 4)
        axes.imshow(strip, interpolation="none", aspect="auto", extent=(0, 100, row + 0.42, row - 0.42))
    axes.set_xlim(0, 100)
    _name_rows(axes, [f"{layer.name or layer.kind} ({len(layer.fired_at)})" for layer in known])  # type: ignore[arg-type]
    axes.set_xlabel("units of the layer, in their order, in per cent")
    axes.grid(visible=False)
    legend = axes.legend(
        handles=[Patch(color=tuple(tone), label=name, linewidth=0) for name, tone in tones.items()],
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_color(INK)
    return to_svg(figure)


def layer_bars(named: Mapping[str, float], *, label: str, log: bool = False, limit: float | None = None) -> str | None:
    """Draw one value for each layer, from the first to the last.

    Args:
        named: layer -> value.
        label: what the values are.
        log: whether the axis is logarithmic.
        limit: a value to mark.
    """
    kept = _spread([name for name, value in named.items() if math.isfinite(value) and (value > 0 or not log)])
    if not kept:
        return None
    figure, axes = axes_of(4.6, max(1.6, 0.8 + 0.19 * len(kept)))
    axes.barh(range(len(kept)), [named[name] for name in kept], 0.76, color=BLUE, linewidth=0)
    if log:
        axes.set_xscale("log")
    if limit is not None:
        axes.axvline(limit, color=ORANGE, linewidth=1.2, linestyle=_DASHED)
    _name_rows(axes, kept)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
    return to_svg(figure)


def channels(named: Mapping[str, tuple[Array, Array]]) -> str | None:
    """Draw mean and spread of each channel of what the network was given, one colour a phase.

    Args:
        named: phase -> means (C,), standard deviations (C,).
    """
    count = max((len(mean) for mean, _ in named.values()), default=0)
    if not 0 < count <= 8:
        return None
    figure, axes = half_axes()
    for number, ((name, (mean, std)), colour) in enumerate(zip(named.items(), _PHASES, strict=False)):
        places = np.arange(len(mean)) + 0.24 * (number - (len(named) - 1) / 2)
        axes.errorbar(places, mean, yerr=std, fmt="o", color=colour, markersize=5, elinewidth=2.2, label=name)
    axes.set_xticks(range(count), ["red", "green", "blue"] if count == 3 else [f"{place}" for place in range(count)])
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_ylim(top=axes.get_ylim()[1] + 0.25 * np.ptp(axes.get_ylim()))  # room for the legend
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("channel" + " (if they come as RGB)" * (count == 3))
    axes.set_ylabel("mean, with one spread to each side")
    legend_on(axes)
    return to_svg(figure)


def label_bars(named: Mapping[str, Array], classes: Sequence[str]) -> str | None:
    """Draw the share of each class among the labels that were seen, one colour a phase.

    Args:
        named: phase -> counts of labels (at most C,).
        classes: the C names.
    """
    seen = {name: counts for name, counts in named.items() if counts.sum()}
    if not seen or not classes:
        return None
    width = len(classes)
    labelled = width <= LABELLED_CLASSES
    figure, axes = axes_of(WIDE_IN, 2.6)
    each = 0.84 / len(seen)
    for number, ((name, counts), colour) in enumerate(zip(seen.items(), _PHASES, strict=False)):
        shares = 100 * np.pad(counts, (0, max(0, width - len(counts))))[:width] / counts.sum()
        axes.bar(np.arange(width) + each * (number - (len(seen) - 1) / 2), shares, each, color=colour, label=name)
    if labelled:
        names = [short_name(name, limit=14) for name in classes]
        axes.set_xticks(range(width), names, rotation=90 if sum(map(len, names)) > 90 else 0, fontsize=8)
    else:
        axes.set_xticks([])
    axes.set_xlim(-0.7, width - 0.3)
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("class" if labelled else f"{width} classes")
    axes.set_ylabel("% of the labels")
    legend_on(axes)
    return to_svg(figure)


def label_order(loader: Loader) -> str | None:
    """Draw the labels in the order in which a loader hands them out."""
    if not loader.label_batches:
        return None
    labels = np.concatenate(loader.label_batches)[:2000]
    figure, axes = half_axes()
    axes.plot(labels, ".", color=BLUE, markersize=2.5, alpha=0.6)
    axes.set_xlabel("image, in the order of the loader")
    axes.set_ylabel("label")
    return to_svg(figure)


def evaluations_by_mode(record: Record) -> str | None:
    """Draw which share of the batches of each evaluation a network in training mode was given."""
    rounds = [each for each in record.rounds if each.batches]
    if not rounds:
        return None
    figure, axes = half_axes()
    shares = [100 * each.training_mode / each.batches for each in rounds]
    axes.plot([each.step for each in rounds], shares, "o", color=ORANGE, markersize=5)
    axes.set_xlim(left=0)
    axes.set_ylim(-4, 104)
    axes.set_xlabel("step")
    axes.set_ylabel("% of the batches in training mode")
    return to_svg(figure)


def _draw_steps(axes: Axes, values: Array, name: str) -> None:
    """Draw values of single steps (N,), and of many a running mean over them, which is what the eye follows."""
    steps = np.arange(len(values))
    known = np.isfinite(values)
    if not known.any():
        return
    if len(values) <= _RARE:
        axes.plot(steps[known], values[known], color=BLUE, marker="o", markersize=3, label=name)
        return
    kept = _thinned(len(values))
    axes.plot(steps[kept], np.where(known, values, np.nan)[kept], color=BLUE, linewidth=0.8, alpha=0.35)
    window = max(5, len(values) // 40)
    kernel = np.ones(window)
    sums = np.convolve(np.where(known, values, 0), kernel, mode="valid")
    counts = np.convolve(known, kernel, mode="valid")
    middle = np.arange(len(sums)) + (window - 1) // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts > 0, sums / counts, np.nan)
    kept = _thinned(len(means))
    axes.plot(middle[kept], means[kept], color=BLUE, label=name)


def _draw_rounds(axes: Axes, points: Sequence[tuple[int, float]]) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), color=GREEN, marker="o", markersize=4.5, label="evaluation")


def _mark(axes: Axes, marks: Mapping[str, int] | None) -> None:
    """Draw a line at each step that something is said of; what is said of one step stands together."""
    together: dict[int, list[str]] = {}
    for name, step in (marks or {}).items():
        together.setdefault(step, []).append(name)
    for step, names in together.items():
        axes.axvline(step, color=ORANGE, linewidth=1.2, linestyle=_DASHED)
        axes.annotate(", ".join(names), (step, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2),
                      textcoords="offset points", color=ORANGE, fontsize=8, ha="center", va="bottom")  # fmt: skip


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [short_name(name, limit=34) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False)


def _scale(axes: Axes, middle: float, decades: float, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    tints = _diverging(np.linspace(-1, 1, _TINTS))
    shown = ScalarMappable(norm=Normalize(-decades, decades), cmap=ListedColormap([tuple(tint) for tint in tints]))
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01, aspect=12)
    ticks = [-decades, 0.0, decades]
    ends = [middle * 10**tick for tick in ticks]
    bar.set_ticks(ticks, labels=[f"{end:.1g}" if end < 10 else f"{end:,.0f}" for end in ends])
    bar.ax.tick_params(colors=INK, labelsize=8, length=0)
    bar.outline.set_visible(False)
    bar.ax.patch.set_visible(False)
    bar.set_label(label, color=INK, fontsize=8)


def _diverging(far: Array) -> Array:
    """(...) from -1 to 1 -> RGBA (..., 4): blue below 0, orange above, pale near it, so any background works."""
    colours = np.where((far < 0)[..., None], _colour(BLUE, 1.0), _colour(ORANGE, 1.0))
    colours[..., 3] = 0.06 + 0.94 * np.abs(np.nan_to_num(far))
    return colours


def _colour(name: str, opacity: float) -> Array:
    from matplotlib.colors import to_rgba

    return np.array(to_rgba(name, opacity))


def _spread(items: Sequence[Item]) -> list[Item]:
    """Return at most as many items as a map has rows, evenly from first to last."""
    if len(items) <= _MOST_ROWS:
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, _MOST_ROWS).round().astype(int)]


def _thinned(count: int) -> Array:
    """Return at most `_MOST_POINTS` places of `count`, evenly from first to last."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(int))
