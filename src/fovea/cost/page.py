"""The page of `fovea cost --html`: in sum, where the time goes, layer by layer, and how it was counted."""

from __future__ import annotations

import fovea
from fovea.core.report import Block, Cell, Column, Fact, Facts, Figure, FindingList, Prose, Report, Section, Table
from fovea.core.wording import counted
from fovea.cost.chart import Point, macs_against_time
from fovea.cost.costs import Costs
from fovea.cost.counting import Layer
from fovea.cost.wordings import bound_text, described, family, layer_name, reach_text, short, size_text, summary

_HEADLINE = ("parameters", "MACs", "latency", "memory, inference", "receptive field")
_METHOD = (
    "Counted are the operators that PyTorch dispatches when the network runs, by a formula for each. One MAC is a "
    "multiplication and an addition, which makes two FLOPs. MACs are those of convolutions, linear layers and matrix "
    "products; all other arithmetic is given as other FLOPs. Bytes are what operators read and write, one after the "
    "other, as if no cache lay between them.\n\n"
    "A receptive field is what one position of a feature map sees of the image, through all branches. Attention, "
    "gates and pooling over the whole map make it the whole image.\n\n"
    "Memory is that of tensors: weights, images and what is made from them; in training also gradients and the state "
    "of AdamW. Times are medians on this machine, in float32, channels-last and without gradients."
)


def build_page(costs: Costs, *, name: str, source: str) -> Report:
    """Put the page together.

    Args:
        name: of the network.
        source: where it came from, in words.
    """
    rows = [Fact(*row) for row in summary(costs)]
    headline = [_shortened(fact, costs) for fact in rows if fact.name in _HEADLINE]
    others = [fact for fact in rows if fact.name not in _HEADLINE]
    sections = [
        Section("In sum", [Facts(headline, headline=True), Facts(others)]),
        Section("Where it goes", _where(costs)),
        Section("Layer by layer", [_layers(costs)], lead="In the order in which they run; a click on a heading sorts."),
        Section("How it was counted", [Prose(_METHOD), *_machine(costs)]),
    ]
    return Report(f"What {name} costs", f"{source}; {described(costs)}", sections, footer=f"fovea {fovea.__version__}")


def _where(costs: Costs) -> list[Block]:
    blocks: list[Block] = []
    points = [
        Point(family(layer), layer.macs, measured_ms)
        for layer in costs.count.layers
        if (measured_ms := costs.layer_ms(layer.name)[0])
    ]
    peak = max(costs.machine.convolution, costs.machine.matmul) if costs.machine else 0.0
    if points and (drawing := macs_against_time(points, flops_per_s=peak)):
        caption = (
            "Every layer: how many MACs it does and how long it takes. Layers on the dashed line use all the "
            "arithmetic that this machine has; far above it, the time goes into moving data and starting operators."
        )
        blocks.append(Figure(drawing, caption, "Scatter plot of the layers' MACs against their measured time."))
    return [*blocks, FindingList(costs.findings, empty="Nothing stands out.")]


def _shortened(fact: Fact, costs: Costs) -> Fact:
    """The numbers that stand large have few digits, and all of them below."""
    total = costs.count.total
    if fact.name == "parameters":
        return Fact(fact.name, short(total["params"]), f"{fact.value}, {fact.note}")
    if fact.name == "MACs":
        return Fact(fact.name, fact.value, f"{total['macs']:,}, two FLOPs each")
    return fact


def _layers(costs: Costs) -> Table:
    columns = [Column("layer"), Column("kind"), Column("output", help="of one pass, without the number of images")]
    columns += [Column("MACs, M", kind="number", digits=2, help="millions of multiply-accumulates")]
    if costs.measured:
        columns += [
            Column("time, ms", kind="number", digits=3, help="measured; median"),
            Column("share of time", kind="share"),
            Column("limited by"),
            Column("predicted, ms", kind="number", digits=3),
        ]
    columns += [
        Column("kB moved", kind="count", help="read and written by its operators"),
        Column("sees", help="receptive field"),
        Column("parameters", kind="count"),
    ]
    return Table(columns, [_layer(layer, costs) for layer in costs.count.layers], sortable=True)


def _layer(layer: Layer, costs: Costs) -> list[Cell]:
    output = "×".join(map(str, layer.output[1:])) if layer.output else ""
    cells: list[Cell] = [layer_name(layer), layer.kind, output, layer.macs / 1e6]
    if costs.measured and costs.prediction:
        taken, predicted = costs.layer_ms(layer.name)
        share = taken / (1000 * sum(costs.measured.by_layer.values())) if taken else None
        bound = costs.prediction[layer.name].bound if layer.operations else None
        cells += [taken, share, bound_text(bound), predicted]
    return [*cells, round(layer.bytes / 1000), reach_text(costs.reaches.get(layer.name))[0], layer.params]


def _machine(costs: Costs) -> list[Block]:
    if costs.machine is None or costs.measured is None:
        return []
    machine = costs.machine
    rates = (
        ("matrix product", machine.matmul),
        ("dense convolution", machine.convolution),
        ("grouped convolution", machine.grouped),
        ("depthwise convolution", machine.depthwise),
        ("element-wise functions", machine.elementwise),
    )
    facts = [Fact("machine", machine.name, f"{counted(costs.measured.repeats, 'pass', 'passes')} timed")]
    facts += [Fact(f"best {name}", f"{short(rate)}FLOP/s") for name, rate in rates]
    facts += [
        Fact(f"bandwidth, {size_text(size)} at a time", f"{size_text(int(rate))}/s") for size, rate in machine.bandwidth
    ]
    facts.append(
        Fact(
            "starting an operator",
            f"{machine.start_s * 1e6:.1f} µs",
            f"a convolution {machine.start_convolution_s * 1e6:.1f} µs",
        )
    )
    return [Facts(facts)]
