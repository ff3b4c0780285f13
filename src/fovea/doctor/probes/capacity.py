"""Networks that cannot learn what they are asked: too narrow, or too short-sighted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.galleries import learnable
from fovea.doctor.reading import (
    accuracy_of_steps,
    batches_of,
    label_shares,
    losses_of_steps,
    main_rounds,
    poor,
    smooth,
    training_loss,
)
from fovea.doctor.record import Layer, Network, Record

_WINDOWS = ("Conv2d", "MaxPool2d", "AvgPool2d")
_NEEDLE_EYE = 2  # channels, through which no more than that many features of a place can pass
_LITTLE = 0.6  # accuracy
_FAR_SIGHTED = 0.34  # of the image's side: below it, a mean over places is a bag of small patches


@PROBES.register("receptive-field", summary="a network that sees only small patches")
def receptive_field(record: Record) -> Iterator[Diagnosis]:
    """Before the mean over all places, a place depends on a patch far smaller than the image.

    Networks of patches can do well (BagNet, Brendel & Bethge 2019), so it is a note unless little was learnt.
    """
    for network in record.networks:
        field, last = network_field(network)
        batches = batches_of(record, "train") or batches_of(record, "eval")
        if last is None or not batches or not _is_averaged(network, last):
            continue
        side = min(batches[0].shape[2:])
        if field < _FAR_SIGHTED * side:
            judged = training_loss(record) is not None and len(record.steps) >= 50
            told = [each.accuracy for each in main_rounds(record, least=100) if each.judged]
            shares = [accuracy_of_steps(record, last=20), *told[-1:]]
            weak = poor(record) or (judged and any(share < _LITTLE for share in shares))
            yield Diagnosis(
                code="receptive-field",
                confidence=0.75 if weak else 0.5,
                severity="alarm" if weak else "note",
                message=f"each place of {last.name}, over which the network averages, sees {field} x {field} pixels "
                f"of an image of {side} x {side}: no shape larger than that can be told",
                fix="use 3x3 kernels instead of 1x1, more layers, or a stride or pooling early on",
                confirm="training accuracy rises",
                evidence={"receptive_field": field, "side": side},
                where=last.name,
            )


def network_field(network: Network) -> tuple[int, Layer | None]:
    """Return the side of the patch of pixels that the last layer with places sees, and that layer.

    Layers are taken in the order of the first forward pass, one behind the other; with branches, that is an upper
    bound. Nothing is said of networks with layers that see everything, as attention does.
    """
    field, step, last = 1, 1, None
    for layer in sorted(network.layers.values(), key=lambda each: each.order):
        if "Attention" in layer.kind:
            return 1, None
        if layer.order < 0 or layer.kind not in _WINDOWS or len(layer.out_shape) != 4:
            continue
        kernel, stride, dilation = (_side(layer, name) for name in ("kernel_size", "stride", "dilation"))
        field += (kernel - 1) * dilation * step
        step *= stride
        last = layer
    return field, last


def _side(layer: Layer, name: str) -> int:
    value = layer.settings.get(name) or 1
    return int(max(value) if isinstance(value, tuple) else value)


def _is_averaged(network: Network, last: Layer) -> bool:
    """Whether the next layer with weights takes one number of each channel, though there are several places."""
    behind = [each for each in network.layers.values() if each.order > last.order and each.kind == "Linear"]
    places = math.prod(last.out_shape[2:])
    first = min(behind, key=lambda each: each.order, default=None)
    if first is None or len(first.out_shape) != 2:  # places are kept apart, as tokens that attention lets meet
        return False
    return places > 1 and bool(first.settings.get("in_features") == last.out_shape[1])


@PROBES.register("under-capacity", summary="a network too small for what it is asked")
def under_capacity(record: Record) -> Iterator[Diagnosis]:
    """Training has come to rest at an accuracy that a plain linear classifier of small pictures surpasses.

    Or at a low one behind a convolution of one or two channels, even where that classifier does no better.
    """
    shares = label_shares(record)
    reached = accuracy_of_steps(record, last=50)
    if shares is None or len(record.steps) < 60 or not reached < 0.9 or not _at_rest(record):
        return
    narrow = [(each, network) for network in record.networks for each in _inner(network)]
    if not narrow:
        return
    layer, network = min(narrow, key=lambda item: item[0].out_shape[1])
    weights = sum(math.prod(each.shape) for each in network.parameters.values())
    classes = int((shares > 0).sum())
    if not (layer.out_shape[1] < 0.5 * classes or weights < 50 * classes):
        return
    plain = learnable(record.galleries["train"])
    needle = layer.kind == "Conv2d" and layer.out_shape[1] <= _NEEDLE_EYE < classes / 2 and reached < _LITTLE
    if plain is None or (plain.accuracy < reached + 0.1 and not needle):
        return
    yield Diagnosis(
        code="under-capacity",
        confidence=0.6 if plain.accuracy < reached + 0.1 else 0.86 if weights < 20 * classes else 0.75,
        message=f"training has come to rest at an accuracy of {percent(reached)}, where a plain linear classifier of "
        f"small pictures reaches {percent(plain.accuracy)} on ones it has not seen: the network is too small "
        f"({counted(weights, 'weight')}; {layer.name} has {counted(layer.out_shape[1], 'unit')} for {classes} classes)",
        fix=f"widen {layer.name}, then the others: twice as many units or channels at a time",
        confirm="one batch alone reaches a training error of 0",
        evidence={"accuracy": reached, "plain": plain.accuracy, "weights": weights, "narrowest": layer.out_shape[1]},
        where=layer.name,
    )


def _inner(network: Network) -> list[Layer]:
    """Return the layers with weights that were called, the last one left out."""
    own = [each for each in network.layers.values() if each.kind in ("Conv2d", "Linear") and len(each.out_shape) >= 2]
    own = sorted((each for each in own if each.order >= 0), key=lambda each: each.order)
    return own[:-1]


def _at_rest(record: Record) -> bool:
    """Whether the loss fell by less than a tenth over the last third of the steps, without waves."""
    values = smooth(losses_of_steps(record), 10)
    if len(values) < 30:
        return False
    part = len(values) // 3
    before, after = float(np.median(values[-2 * part : -part])), float(np.median(values[-part:]))
    return after > 0.9 * before and after < 1.1 * before
