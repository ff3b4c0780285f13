"""The drawing of the cost page: every layer's MACs against its measured time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fovea.core.canvas import PAGE_FONT_PT, SERIES, WIDE_IN, axes_of, legend_on, to_svg
from fovea.core.svg import INK, RULE

FAMILIES = ("dense convolution", "grouped or depthwise", "linear, matrix product", "no MACs")


@dataclass(frozen=True)
class Point:
    """One layer of the chart.

    Attributes:
        family: one of `FAMILIES`.
        milliseconds: above zero.
    """

    family: str
    macs: int
    milliseconds: float


def macs_against_time(points: Sequence[Point], *, flops_per_s: float) -> str | None:
    """Draw layers as points, MACs to the right and time upwards, both logarithmic; None without any layer with MACs.

    Args:
        flops_per_s: the machine's best; the line that no layer should lie below.
    """
    counted = [point.macs for point in points if point.macs]
    if not counted:
        return None
    none_at = 10 ** (math.floor(math.log10(min(counted))) - 0.5)  # where layers without MACs stand, left of all others
    figure, axes = axes_of(WIDE_IN, 4.4)
    for family, colour in zip(FAMILIES, SERIES, strict=True):
        chosen = [point for point in points if point.family == family]
        if chosen:
            places = [point.macs or none_at * 10 ** (0.06 * (turn % 7 - 3)) for turn, point in enumerate(chosen)]
            times = [point.milliseconds for point in chosen]
            axes.plot(places, times, "o", color=colour, markersize=5, alpha=0.7, markeredgewidth=0, label=family)
    lowest = min(point.milliseconds for point in points) / 1.6
    highest = max(point.milliseconds for point in points) * 1.6
    per_ms = flops_per_s / 2000  # MACs
    ends = [max(min(counted), lowest * per_ms), min(max(counted) * 2, highest * per_ms)]
    axes.plot(ends, [macs / per_ms for macs in ends], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    middle = math.sqrt(ends[0] * ends[1])  # below it, where no point should lie, the name is in nobody's way
    place = (middle, middle / per_ms)
    name = axes.annotate("the machine's best", place, xytext=(8, -4), textcoords="offset points", va="top")
    name.set(color=INK, fontsize=PAGE_FONT_PT)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(lowest, highest)
    if any(not point.macs for point in points):
        axes.axvline(none_at * 10**0.3, color=RULE, linewidth=1)
        axes.text(none_at, highest / 1.3, "no MACs", ha="center", va="center", color=INK, fontsize=PAGE_FONT_PT)
        axes.set_xlim(left=none_at / 10**0.3)
    axes.set_xlabel("MACs of the layer")
    axes.set_ylabel("measured time, ms")
    legend_on(axes, place="lower right")
    return to_svg(figure)
