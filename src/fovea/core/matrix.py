"""The drawing of a confusion matrix, for any number of classes, and the order that shows most in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.core.canvas import LABELLED_CLASSES, PAGE_FONT_PT, axes_of, short_name, to_svg
from fovea.core.svg import BLUE, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COUNTED_CLASSES = 16
"""Up to this many classes the cells of a confusion matrix show their counts, and need no marks beside them."""


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
    figure, axes = axes_of(side, side * 0.96)
    axes.imshow(_matrix_colours(counts[np.ix_(order, order)]), interpolation="none", aspect="equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    if width <= LABELLED_CLASSES:
        names = [short_name(classes[index]) for index in order]
        size = PAGE_FONT_PT if width <= 20 else 7
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
    return to_svg(figure)


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
