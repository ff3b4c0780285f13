"""Drawings of what is within a network, put together from small pictures: kernels, feature maps, spreads of values.

Kernels come as PNG, the others as SVG with small pictures in it; None where there is nothing to draw.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.core.canvas import WIDE_IN, axes_of, short_name, to_svg
from fovea.core.svg import BLUE, INK, PURPLE, RULE
from fovea.doctor.magnitudes import LOWEST
from fovea.doctor.record import FeatureMap, Features, Spread

Array = NDArray[Any]

MOST_PANELS = 32
"""At most so many layers are shown by one drawing."""
_PANELS_A_ROW = 8
_MOST_COLUMNS = 24  # of a panel
_WIDTH = 0.95  # of a panel, as a share of the distance to the next
_STRIP = 0.14  # of the height of the magnitudes: the strip of zeros below them, with the gap between
_RARE = 0.005  # share of the values that is not worth a bin
_FULL = 0.35  # share of the values in one bin from which a colour is full
_NAMED_STEPS = 12  # that are written out
_KEY = (0.01, 0.05, 0.15, _FULL)
_KERNEL_PX, _TILE_PX, _SHEET_PX, _GAP_PX = 24, 64, 320, 3
_WHITE = 0.995  # of the weights are at most so large that they have a tone of their own


def kernel_tiles(kernels: Array) -> bytes:
    """Draw kernels (n, C, h, w) as tiles on a PNG: in colour for three channels, else the mean of the channels in grey.

    Grey is zero; the scale is that of all kernels together.
    """
    from PIL import Image

    tones = kernel_tones(kernels)
    height, width = tones.shape[1:3]
    columns = math.ceil(math.sqrt(len(tones)))
    times = max(1, min(_TILE_PX, _SHEET_PX // columns) // max(height, width))
    rows = math.ceil(len(tones) / columns)
    tall, wide = height * times + _GAP_PX, width * times + _GAP_PX
    sheet = np.zeros((rows * tall - _GAP_PX, columns * wide - _GAP_PX, 4), np.uint8)
    for number, tile in enumerate(tones):
        top, left = number // columns * tall, number % columns * wide
        large = tile.repeat(times, axis=0).repeat(times, axis=1)
        sheet[top : top + tall - _GAP_PX, left : left + wide - _GAP_PX] = np.dstack(
            [large, np.full(large.shape[:2], 255)]
        )
    data = io.BytesIO()
    Image.fromarray(sheet).save(data, "PNG", optimize=True)
    return data.getvalue()


def kernel_tones(kernels: Array) -> Array:
    """Return kernels (n, C, h, w) as pictures (n, h, w, 3) uint8, in which 128 is zero; large ones made smaller."""
    values = np.nan_to_num(kernels.astype(np.float64))
    square = -(-max(values.shape[2:]) // _KERNEL_PX)
    if square > 1:
        height, width = (side // square * square for side in values.shape[2:])
        shape = (*values.shape[:2], height // square, square, width // square, square)
        values = values[:, :, :height, :width].reshape(shape).mean(axis=(3, 5))
    if values.shape[1] != 3:
        values = values.mean(axis=1, keepdims=True).repeat(3, axis=1)
    largest = np.quantile(np.abs(values), _WHITE) or 1.0
    return np.rint(127.5 * (1 + np.clip(values / largest, -1, 1))).astype(np.uint8).transpose(0, 2, 3, 1)


def feature_maps(features: Features) -> str | None:
    """Draw the image, and below it a row of maps for each layer, from the lowest value of the row to its highest."""
    if not features.maps:
        return None
    from matplotlib import colormaps

    most = max(len(each.values) for each in features.maps)
    side_in = min(0.82, (WIDE_IN - 2.3) / most)
    rows = len(features.maps) + 1
    tall = float(np.clip(features.image.shape[1] / features.image.shape[2], 0.4, 2.5))
    figure, axes = axes_of(2.3 + most * side_in, 0.2 + rows * (tall * side_in + 0.06))
    axes.set_xlim(0, most)
    axes.set_ylim(rows - 0.04, -0.04)
    axes.imshow(_image(features.image), interpolation="none", extent=_place(0, 0), aspect="auto")
    for row, each in enumerate(features.maps, start=1):
        finite = each.values[np.isfinite(each.values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        shown = (each.values - low) / max(high - low, 1e-12)
        for column, values in enumerate(shown):
            tints = np.rint(colormaps["viridis"](values)[..., :3] * 255).astype(np.uint8)
            axes.imshow(tints, interpolation="none", extent=_place(row, column), aspect="auto")
    names = ["the image", *(f"{short_name(each.layer, limit=26)}\n{_size(each)}" for each in features.maps)]
    axes.set_xlim(0, most)
    axes.set_ylim(rows - 0.04, -0.04)
    axes.set_yticks(np.arange(rows) + 0.48, names, fontsize=8)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return to_svg(figure)


def _place(row: int, column: int) -> tuple[float, float, float, float]:
    return column + 0.02, column + 0.96, row + 0.94, row


def _size(each: FeatureMap) -> str:
    channels, height, width = each.shape
    return f"{each.kind}, {channels} × {height} × {width}"


def _image(image: Array) -> Array:
    """(C, H, W) of whatever range -> (H, W, 3) uint8, in grey unless there are three channels."""
    values = np.nan_to_num(image)
    values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    values = values if len(values) == 3 else values.mean(axis=0, keepdims=True).repeat(3, axis=0)
    return np.rint(values * 255).astype(np.uint8).transpose(1, 2, 0)


def spread_panels(named: Mapping[str, Spread], *, label: str) -> str | None:
    """Draw how values are spread over magnitudes: a panel for each layer, time to the right, magnitude upwards.

    Args:
        named: name -> spread, from the first layer to the last.
        label: what the values are.
    """
    known = [(name, spread) for name, spread in named.items() if spread.steps]
    known = [known[place] for place in _evenly(len(known), MOST_PANELS)]
    if not known:
        return None
    from matplotlib.patches import Patch, Rectangle

    stacks = [np.stack([spread.shares[at] for at in _evenly(len(spread.steps), _MOST_COLUMNS)], axis=1)
              for _, spread in known]  # (BINS, columns) each  # fmt: skip
    low, high = _used(np.concatenate(stacks, axis=1))
    broken = any(stack[-1].any() for stack in stacks)
    strip = max(3.0, _STRIP * (high + 1 - low))  # in bins, a third of it the gap
    floor, top = low - strip, high + 1 + strip * broken
    pitch = 1.2 * (top - floor)
    rows = math.ceil(len(known) / _PANELS_A_ROW)
    across = math.ceil(len(known) / rows)
    figure, axes = axes_of(WIDE_IN, (1.0 if rows > 1 else 1.3) + 1.45 * rows)
    for number, ((name, _), stack) in enumerate(zip(known, stacks, strict=True)):
        left, down = number % across, number // across * pitch
        parts = [(stack[1 + low : 2 + high], low, high + 1, BLUE), (stack[:1], floor, floor + 2 / 3 * strip, BLUE)]
        if broken:
            parts.append((stack[-1:], top - 2 / 3 * strip, top, PURPLE))
        for shares, bottom, ceiling, colour in parts:
            place = (left, left + _WIDTH, bottom - down, ceiling - down)
            tints = _tints(shares, colour) if len(shares) > 1 else _shades(shares, colour)
            axes.imshow(tints, interpolation="none", aspect="auto", origin="lower", extent=place)
            axes.add_patch(Rectangle((left, bottom - down), _WIDTH, ceiling - bottom, fill=False, edgecolor=RULE))
        axes.text(
            left, top - down + 0.02 * pitch, short_name(name, limit=max(20, 140 // across)), color=INK, fontsize=7
        )
    ticks = _ticks(low, high, strip=strip, broken=broken)
    axes.set_yticks(
        [at - row * pitch for row in range(rows) for at, _ in ticks], [told for _ in range(rows) for _, told in ticks]
    )
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xticks([])
    axes.set_xlim(-0.01, across)
    axes.set_ylim(floor - (rows - 1) * pitch - 0.2, top + 0.14 * pitch)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"in each panel, from left to right: {_steps(known[0][1].steps)}")
    axes.set_ylabel(label)
    key = [
        Patch(color=tuple(_tints(np.array(share), BLUE)), label=f"{100 * share:.0f} %", linewidth=0) for share in _KEY
    ]
    legend = axes.legend(handles=key, title="share of the values", loc="lower right", bbox_to_anchor=(1, 1), ncols=4,
                         frameon=False, fontsize=8, title_fontsize=8, alignment="right")  # fmt: skip
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_color(INK)
    return to_svg(figure)


def _steps(steps: Sequence[int]) -> str:
    if len(steps) > _NAMED_STEPS:
        return f"from step {steps[0]:,} to step {steps[-1]:,}"
    return "steps " + ", ".join(f"{step:,}" for step in steps)


def _used(stack: Array) -> tuple[int, int]:
    """Return the first and the last bin of magnitudes to show of shares (BINS, n): those that anything lies in."""
    used = np.flatnonzero(stack[1:-1].max(axis=1) > _RARE)
    if not len(used):
        return -LOWEST - 8, -LOWEST
    low, high = int(used[0]), int(used[-1])
    return max(0, min(low, high - 6)), high


def _ticks(low: int, high: int, *, strip: float, broken: bool) -> list[tuple[float, str]]:
    """Return where to write which magnitude on an axis of bins; whole powers of ten, at most about six."""
    first, last = (math.log10(2) * (at + LOWEST) for at in (low, high + 1))
    powers = range(math.ceil(first + 0.3), math.floor(last) + 1)  # the lowest not too near to the zeros
    powers = powers[:: -(-len(powers) // 5)] if powers else powers
    ticks = [(power / math.log10(2) - LOWEST, f"{10.0**power:g}") for power in powers]
    ticks.append((low - 2 / 3 * strip, "zero"))
    return [*ticks, (high + 1 + 2 / 3 * strip, "no number")] if broken else ticks


def _tints(shares: Array, colour: str) -> Array:
    """Shares (...) of many bins -> RGBA (..., 4): the more, the less transparent, so any background works."""
    return _shades(np.sqrt(np.clip(shares / _FULL, 0, 1)), colour)


def _shades(opacity: Array, colour: str) -> Array:
    from matplotlib.colors import to_rgba

    shades = np.empty((*opacity.shape, 4))
    shades[:] = to_rgba(colour)
    shades[..., 3] = opacity
    return shades


def _evenly(count: int, most: int) -> list[int]:
    """Return at most so many places of `count`, evenly from first to last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []
