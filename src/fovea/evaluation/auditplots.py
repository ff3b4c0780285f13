"""The drawings of the audit's page: sizes, brightness and sharpness, and how two splits differ.

As in `plots`, every function takes plain values and returns an SVG, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fovea.core.canvas import SERIES, half_axes, legend_on, to_svg
from fovea.core.svg import BLUE, INK, ORANGE

_MOST_BINS = 40
_DOTS = 3000  # more dots than this would only make the page larger


def histogram(
    values: NDArray[np.floating], *, label: str, limits: Mapping[str, float] | None = None, log: bool = False
) -> str | None:
    """Draw how many images have each value.

    Args:
        values: (N,); what is not a number is left out.
        label: of the horizontal axis.
        limits: name -> value of thresholds to mark.
        log: whether that axis is logarithmic; values must then be positive.
    """
    known = _known(values, log)
    if not len(known):
        return None
    figure, axes = half_axes()
    edges = _edges(known, log)
    counts, _ = np.histogram(known, edges)
    axes.stairs(counts, edges, fill=True, color=BLUE, linewidth=0)
    if log:
        axes.set_xscale("log")
    for name, value in (limits or {}).items():
        axes.axvline(value, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            name, (value, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -9), textcoords="offset points",
            color=INK, fontsize=8,
        )  # fmt: skip
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(label)
    axes.set_ylabel("images")
    return to_svg(figure)


def distributions(named: Mapping[str, NDArray[np.floating]], *, label: str, log: bool = False) -> str | None:
    """Draw the values of several sets over each other, each scaled to the same area.

    Args:
        named: name of the set -> its values.
        label: of the horizontal axis.
        log: whether that axis is logarithmic.
    """
    known = {name: kept for name, values in named.items() if len(kept := _known(values, log))}
    if len(known) < 2:
        return None
    figure, axes = half_axes()
    edges = _edges(np.concatenate(list(known.values())), log)
    for (name, values), colour in zip(known.items(), SERIES, strict=False):
        counts, _ = np.histogram(values, edges)
        axes.stairs(100 * counts / counts.sum(), edges, color=colour, linewidth=1.8, label=name)
    if log:
        axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("% of the images")
    legend_on(axes)
    return to_svg(figure)


def sizes(width: NDArray[np.integer], height: NDArray[np.integer], *, suggested: int | None = None) -> str | None:
    """Draw each image as a dot at its width and height, with the suggested input size as a square.

    Args:
        width, height: (N,) pixels.
        suggested: side of the square, px.
    """
    if not len(width):
        return None
    pairs, counts = np.unique(np.stack([width, height], axis=1), axis=0, return_counts=True)  # (sizes, 2)
    order = np.argsort(-counts, kind="stable")[:_DOTS]
    figure, axes = half_axes()
    area = 8 + 120 * counts[order] / counts.max()
    axes.scatter(pairs[order, 0], pairs[order, 1], s=area, color=BLUE, alpha=0.45, linewidths=0)
    if suggested:
        axes.plot([0, suggested, suggested], [suggested, suggested, 0], color=ORANGE, linewidth=1.4)
        axes.annotate(f"input {suggested} px", (suggested, 0), xytext=(4, 5), textcoords="offset points",
                      color=INK, fontsize=8)  # fmt: skip
    axes.set_xlim(0, float(pairs[:, 0].max()) * 1.08)
    axes.set_ylim(0, float(pairs[:, 1].max()) * 1.08)
    axes.set_xlabel("width, px")
    axes.set_ylabel("height, px")
    return to_svg(figure)


def _known(values: NDArray[np.floating], log: bool) -> NDArray[np.floating]:
    known = np.asarray(values, dtype=float)
    return known[np.isfinite(known) & ((known > 0) | (not log))]


def _edges(values: NDArray[np.floating], log: bool) -> NDArray[np.floating]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = (low / 1.1, high * 1.1) if log else (low - 0.5, high + 0.5)
    bins = int(np.clip(2 * len(values) ** (1 / 3), 5, _MOST_BINS))  # Rice's rule
    return np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
