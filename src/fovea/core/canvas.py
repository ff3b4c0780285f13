"""The paper of every drawing: axes in the page's colours, a legend, and the way to SVG text.

Figures are made without pyplot, so nothing global is touched but matplotlib's settings while one is written.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

from fovea.core.svg import BLUE, GREEN, INK, ORANGE, PURPLE, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = (BLUE, ORANGE, GREEN, PURPLE)
_HALF_IN = (4.6, 3.2)
WIDE_IN = 9.4
PAGE_FONT_PT = 9
LABELLED_CLASSES = 40
"""Up to this many classes get their names written beside an axis; the table has all of them."""
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fovea",
    "font.family": "sans-serif",
    "font.size": PAGE_FONT_PT,
}


def axes_of(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """Return an empty figure of this size and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(RULE)
    axes.tick_params(colors=INK, labelcolor=INK, length=0, labelsize=PAGE_FONT_PT)
    axes.xaxis.label.set(color=INK, fontsize=PAGE_FONT_PT)
    axes.yaxis.label.set(color=INK, fontsize=PAGE_FONT_PT)
    axes.grid(visible=True, color=RULE, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.set_prop_cycle(linewidth=[1.8])
    return figure, axes


def half_axes() -> tuple[Figure, Axes]:
    """Return a figure that may stand beside another one on a wide page."""
    return axes_of(*_HALF_IN)


def legend_on(axes: Axes, *, place: Any = "best") -> None:
    """Name the lines that have a label."""
    legend = axes.legend(loc=place, frameon=False, fontsize=PAGE_FONT_PT, handlelength=1.4)
    for text in legend.get_texts():
        text.set_color(INK)


def to_svg(figure: Figure) -> str:
    """Return the figure as the text of an SVG, whose text stays text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # Text stays text and the reader's browser has the glyphs, whatever matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return text.getvalue()


def short_name(name: str, *, limit: int = 24) -> str:
    """Cut a long class name in the middle, where it tells least; a dollar sign would start a formula.

    >>> short_name("a class of very many words indeed")
    'a class of very…s indeed'
    """
    short = name if len(name) <= limit else f"{name[: limit - 9]}…{name[-8:]}"
    return short.replace("$", r"\$")
