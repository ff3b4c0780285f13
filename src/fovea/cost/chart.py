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
            places = [point.macs or none_at for point in chosen]
            times = [point.milliseconds for point in chosen]
            axes.plot(places, times, "o", color=colour, markersize=5, alpha=0.7, markeredgewidth=0, label=family)
    lowest, highest = min(point.milliseconds for point in points), max(point.milliseconds for point in points)
    ends = [max(min(counted), lowest * flops_per_s / 2000), max(counted) * 2]
    axes.plot(ends, [2000 * macs / flops_per_s for macs in ends], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "the machine's best", (ends[1], 2000 * ends[1] / flops_per_s), xytext=(-6, -12), textcoords="offset points",
        ha="right", color=INK, fontsize=PAGE_FONT_PT,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(lowest / 1.6, highest * 1.6)
    if any(not point.macs for point in points):
        axes.axvline(none_at * 10**0.25, color=RULE, linewidth=1)
        axes.text(none_at, highest * 1.3, "no MACs", ha="center", va="center", color=INK, fontsize=PAGE_FONT_PT)
        axes.set_xlim(left=none_at / 10**0.3)
    axes.set_xlabel("MACs of the layer")
    axes.set_ylabel("measured time, ms")
    legend_on(axes, place="lower right")
    return to_svg(figure)
