"""What a network costs, in words and short numbers: the terminal and the page say the same."""

from __future__ import annotations

from fovea.core.wording import counted
from fovea.cost.chart import FAMILIES
from fovea.cost.costs import Costs
from fovea.cost.counting import Layer
from fovea.cost.receptive import Reach

_BOUND = {"compute": "arithmetic", "memory": "moving data", "overhead": "starting operators"}


def short(value: float | None, *, digits: int = 3) -> str:
    """Return a number with its thousands as a letter.

    >>> short(4_089_184_256), short(11_114_984), short(999), short(None)
    ('4.09 G', '11.1 M', '999', '–')
    """
    if value is None:
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{_significant(value / size, digits)} {letter}"
    return _significant(value, digits)


def size_text(count: int | None) -> str:
    """Return bytes as people say them: in thousands, as disks and bandwidths are."""
    return "–" if count is None else f"{short(count)}B" if count >= 1000 else f"{count} B"


def milliseconds(value: float | None) -> str:
    """Return milliseconds.

    >>> milliseconds(31.234), milliseconds(0.0123)
    ('31.2 ms', '0.0123 ms')
    """
    return "–" if value is None else f"{_significant(value, 3)} ms"


def reach_text(reach: Reach | None) -> tuple[str, str]:
    """Return a receptive field, and what more there is to say about it."""
    if reach is None:
        return "–", ""
    about = f"stride {reach.stride_px:g}, padding {reach.padding_px:g} px"
    if reach.gap:
        return "not known", f"{reach.gap}; {reach.local_px:,} px by convolution and pooling alone"
    if reach.whole:
        return "whole image", f"{reach.local_px:,} px by convolution and pooling alone, {about}"
    return f"{reach.size_px:,} px", about


def summary(costs: Costs) -> list[tuple[str, str, str]]:
    """Return (name, value, note) of everything in sum."""
    total = costs.total
    frozen = total["params"] - total["trainable"]
    intensity = total["arithmetic_intensity"]
    rows = [
        ("parameters", f"{total['params']:,}", f"{frozen:,} of them frozen" if frozen else "all trainable"),
        ("MACs", short(total["macs"]), f"{total['macs']:,} multiply-accumulates of convolutions and matrix products"),
        ("FLOPs", short(total["flops"]), f"two a MAC; {short(total['other_flops'])} others beside"),
        ("activations", short(total["activations"]), "elements that convolutions and matrix products write"),
        ("bytes moved", size_text(total["bytes"]), f"{intensity:.1f} FLOPs a byte" if intensity else ""),
        ("receptive field", *reach_text(costs.reach)),
    ]
    for kind in ("inference", "training"):
        predicted, measured = total[f"predicted_peak_{kind}_bytes"], total[f"peak_{kind}_bytes"]
        shown = measured if costs.peak else predicted
        note = f"predicted {size_text(predicted)}" if costs.peak else "predicted"
        rows.append(
            (f"memory, {kind}", size_text(shown), note if shown is not None else "not possible with this input")
        )
    if costs.measured and costs.prediction:
        note = f"predicted {milliseconds(total['predicted_latency_ms'])}; mostly {_BOUND[total['bound']]}"
        rows.append(("latency", milliseconds(total["latency_ms"]), note))
    return rows


def bound_text(bound: str | None) -> str:
    """Return what limits a layer, in words."""
    return "" if bound is None else _BOUND[bound]


def family(layer: Layer) -> str:
    """Return to which of the chart's families a layer belongs."""
    if not layer.macs:
        return FAMILIES[3]
    main = max(layer.operations, key=lambda one: one.work.macs)
    if "convol" not in main.name and "conv2d" not in main.name:
        return FAMILIES[2]
    return FAMILIES[1] if main.groups > 1 else FAMILIES[0]


def layer_name(layer: Layer) -> str:
    """Return what a layer is called; the network itself has no path."""
    return layer.name or f"({layer.kind})"


def described(costs: Costs) -> str:
    """Return the input in words."""
    batch, channels, height, width = costs.count.shape
    return f"{counted(batch, 'image')} of {channels} × {height} × {width}"


def _significant(value: float, digits: int) -> str:
    """Return a number with so many significant digits, and no exponent.

    >>> _significant(427.6, 3), _significant(31.234, 3), _significant(0.01234, 3), _significant(12345.0, 3)
    ('428', '31.2', '0.0123', '12345')
    """
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text if "e" not in text else f"{value:.1e}"
