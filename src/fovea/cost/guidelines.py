"""What makes a network slower than its MACs suggest, as findings that name the layers.

The four guidelines are those of Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
ECCV 2018, §2; they are judged by the bytes that operators move. `why_slow` puts the time into words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from fovea.core.findings import Finding
from fovea.core.wording import counted, listed, percent
from fovea.cost.counting import Count, Operation
from fovea.cost.formulas import BATCH_NORMS, COPIES, ELEMENTWISE
from fovea.cost.latency import Measured, Prediction
from fovea.cost.watching import faked
from fovea.models.folding import pairs

_NAMED = 3  # layers in a sentence; the evidence has them all
_EXCESS_SHARE = 0.02  # G1 is worth saying from this share of all bytes on
_SMALL_OPERATORS = frozenset(f"aten.{name}" for name in (*ELEMENTWISE, *COPIES)) | BATCH_NORMS
_SMALL_SHARE = 0.25  # G4 likewise
_BRANCHES = 3
_FLOAT32_BYTES = 4
_QUIET = 0.95  # share of the time that a program runs on a machine of its own
_EXPLAINED = 0.6  # of the measured time, below which the ceilings say little of what limits it


def judge(count: Count) -> list[Finding]:
    """Return what the guidelines have to say about a network, those that hold left out."""
    found = (_unequal_widths(count), _groups(count), _fragments(count), _element_wise(count))
    return [finding for finding in found if finding is not None]


def foldable(model: nn.Module, count: Count) -> Finding | None:
    """Return which BatchNorms could be part of the convolution before them, and what they take as they are."""
    with faked(model, count.shape) as (twin, images):
        found = [norm for _, norm in pairs(twin, example=images)]
    if not found:
        return None
    moved = sum(one.bytes for one in count.operations if one.path in set(found))
    return Finding(
        severity="note",
        code="foldable-batchnorm",
        message=f"{counted(len(found), 'BatchNorm')} could be part of the convolution before, and "
        f"{percent(moved / count.total['bytes'])} of the bytes moved would be saved",
        fix="fovea.models.folding.fold(model, example=images) gives the network without them, for prediction",
        evidence={"layers": found, "bytes": moved},
    )


def why_slow(seconds: Mapping[str, float], prediction: Prediction, count: Count, *, running: float = 1.0) -> Finding:
    """Return where the time of a pass goes, in plain words.

    Args:
        seconds: module path → measured time.
        prediction: of the whole pass.
        running: share of the time in which this program had a processor; the rest says nothing of the network.
    """
    order = sorted(seconds, key=lambda name: seconds[name], reverse=True)
    whole = sum(seconds.values())
    half, so_far = [], 0.0
    for name in order:
        half.append(name)
        so_far += seconds[name]
        if so_far >= whole / 2:
            break
    kinds = {layer.name: layer.kind for layer in count.layers}
    macs = {layer.name: layer.macs for layer in count.layers}
    share = sum(macs.get(name, 0) for name in half) / max(1, count.total["macs"])
    reasons = {
        "compute": "arithmetic is what limits it: fewer MACs, or a lower precision, make it faster",
        "memory": "moving data is what limits it: fewer or narrower feature maps, or fused operators, make it faster",
        "overhead": "starting operators is what limits it: fewer operators, or larger batches, make it faster",
    }
    explained = min(1.0, prediction.seconds / (whole * running)) if whole else 1.0
    why = reasons[prediction.bound]
    if explained < _EXPLAINED:
        why = (
            f"what this machine can do at best explains {percent(explained)} of that time: the operators run far below "
            "it, being small or oddly shaped. Larger batches, or one compiled graph in place of single operators "
            "(torch.compile, OpenVINO), come nearer"
        )
    names = listed([f"{name or 'the network itself'} ({kinds.get(name, '?')})" for name in half], limit=_NAMED)
    do = "does" if len(half) == 1 else "do"
    return Finding(
        severity="note",
        code="where-time-goes",
        message=f"half of the time goes into {len(half)} of "
        f"{counted(len(seconds), 'layer')}, which {do} {percent(share)} of the MACs: {names}",
        fix=why,
        evidence={
            "layers": half,
            "bound": prediction.bound,
            "explained": explained,
            "shares": [seconds[name] / whole for name in half],
        },
    )


def noisy(measured: Measured) -> Finding | None:
    """Return that other programs kept the machine busy, where it shows."""
    if measured.running >= _QUIET:
        return None
    return Finding(
        severity="warning",
        code="noisy-timing",
        message=f"other programs had the processor for {percent(1 - measured.running)} of the time that was measured, "
        "which is too long by as much",
        fix="measure again when the machine has nothing else to do",
        evidence={"running": measured.running, "repeats": measured.repeats},
    )


def _unequal_widths(count: Count) -> Finding | None:
    """G1: for given MACs, a 1×1 convolution moves least where it has as many channels coming in as going out."""
    excess: Counter[str] = Counter()
    for one in _convolutions(count):
        weight, result = one.shapes[0][1], one.shapes[1][0]
        if one.groups == 1 and math.prod(weight[2:]) == 1 and math.prod(result[2:]) > 1:
            wide, narrow = max(weight[:2]), min(weight[:2])
            if wide >= 2 * narrow:
                places = result[0] * math.prod(result[2:])
                spared = wide + narrow - 2 * math.sqrt(wide * narrow)  # channels, at the geometric mean of the two
                excess[one.path] += int(_FLOAT32_BYTES * places * spared)
    if not excess or sum(excess.values()) < _EXCESS_SHARE * count.total["bytes"]:
        return None
    return _finding(
        "unequal-widths",
        f"G1: {counted(len(excess), '1×1 convolution')} of unequal widths; equal ones of as many MACs would move "
        f"{percent(sum(excess.values()) / count.total['bytes'])} fewer bytes in all",
        "where the design is yours, keep the channels in and out of 1×1 convolutions close to each other",
        excess,
    )


def _groups(count: Count) -> Finding | None:
    """G2: groups save MACs, not bytes, so grouped convolutions are bound by memory."""
    grouped = [one for one in _convolutions(count) if one.groups > 1]
    if not grouped:
        return None
    depthwise = sum(one.shapes[0][1][1] == 1 for one in grouped)
    what = "depthwise" if depthwise == len(grouped) else "grouped" if not depthwise else "grouped or depthwise"
    macs = sum(one.work.macs for one in grouped) / count.total["macs"]
    moved = sum(one.bytes for one in grouped) / count.total["bytes"]
    do, move = ("does", "moves") if len(grouped) == 1 else ("do", "move")
    return _finding(
        "many-groups",
        f"G2: {counted(len(grouped), f'{what} convolution')} {do} {percent(macs)} of the MACs and {move} "
        f"{percent(moved)} of the bytes",
        "fewer groups, or dense convolutions with fewer channels, use the processor better for the same time",
        _bytes_by_path(grouped),
    )


def _fragments(count: Count) -> Finding | None:
    """G3: many small branches side by side keep a parallel processor waiting."""
    joins = [one for one in count.operations if one.name == "aten.cat" and len(one.shapes[0]) >= _BRANCHES]
    if not joins:
        return None
    return _finding(
        "fragmented",
        f"G3: {counted(len(joins), 'place')} where {_BRANCHES} or more feature maps, at most "
        f"{max(len(one.shapes[0]) for one in joins)}, are put together",
        "fewer, larger operators in sequence run faster than many small ones side by side",
        _bytes_by_path(joins),
    )


def _element_wise(count: Count) -> Finding | None:
    """G4: what treats each element alone does few FLOPs and moves much."""
    small = [one for one in count.operations if one.name in _SMALL_OPERATORS]
    moved = sum(one.bytes for one in small) / max(1, count.total["bytes"])
    if moved < _SMALL_SHARE:
        return None
    kinds = Counter(one.name.removeprefix("aten.").strip("_") for one in small)
    do, move = ("does", "moves") if len(small) == 1 else ("do", "move")
    return _finding(
        "element-wise",
        f"G4: {counted(len(small), 'element-wise operator')} ({listed([name for name, _ in kinds.most_common(4)])}) "
        f"{do} none of the MACs and {move} {percent(moved)} of the bytes",
        "fold BatchNorm, fuse activations (a compiler such as OpenVINO does both), and leave out what does not help",
        _bytes_by_path(small),
    )


def _finding(code: str, message: str, fix: str, by_path: Mapping[str, int]) -> Finding:
    order = sorted(by_path, key=lambda path: by_path[path], reverse=True)
    named = listed([path or "the network itself" for path in order], limit=_NAMED)
    evidence = {"layers": order, "bytes": [by_path[path] for path in order]}
    return Finding(severity="note", code=code, message=f"{message}: {named}", fix=fix, evidence=evidence)


def _convolutions(count: Count) -> Sequence[Operation]:
    return [one for one in count.operations if one.name == "aten.convolution"]


def _bytes_by_path(operations: Sequence[Operation]) -> Mapping[str, int]:
    moved: Counter[str] = Counter()
    for one in operations:
        moved[one.path] += one.bytes
    return moved
